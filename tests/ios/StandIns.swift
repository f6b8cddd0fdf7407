// What the sample takes of Apple's frameworks and of onnxruntime: the model runs in another program, which takes floats
// and gives floats; the pixels of a picture file are in a PPM file beside it.
import Foundation

let command = Array(CommandLine.arguments.dropFirst(3))

extension Bundle { static var module: Bundle { .main } }

final class OnnxRunner {
    private let program = Process()
    private let given = Pipe()
    private let answered = Pipe()

    init(path: String, input: String, shape: [Int], output: String) throws {
        program.executableURL = URL(fileURLWithPath: command[0])
        program.arguments = command.dropFirst() + [path]
        program.standardInput = given
        program.standardOutput = answered
        try program.run()
    }

    deinit { program.terminate() }

    func run(_ values: [Float]) throws -> [Float] {
        given.fileHandleForWriting.write(values.withUnsafeBytes { Data($0) })
        let logits = answered.fileHandleForReading.availableData
        return logits.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}

extension Picture {
    /// The pixels of a binary PPM file, whatever the other file holds.
    init(file: Data) throws { try self.init(ppm: ProcessInfo.processInfo.environment["PICTURE"] ?? "") }

    init(ppm path: String) throws {
        let content = try Data(contentsOf: URL(fileURLWithPath: path))
        let lines = content.split(separator: 10, maxSplits: 3, omittingEmptySubsequences: false)
        let size = String(decoding: lines[1], as: UTF8.self).split(separator: " ").map { Int($0)! }
        self.init(width: size[0], height: size[1], rgb: Array(lines[3]))
    }
}
