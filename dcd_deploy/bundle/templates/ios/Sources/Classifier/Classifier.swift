import CryptoKit
import Foundation

/// A class and its probability, 0...1.
public struct Guess: Identifiable, Sendable {
    public let label: String
    public let probability: Double
    public var id: String { label }
}

/// The likeliest classes, the likeliest first, and what they took, in milliseconds.
public struct Answer: Sendable {
    public let guesses: [Guess]
    public let preprocessingMs: Double
    public let modelMs: Double
}

public struct SelfCheckFailed: LocalizedError {
    let reason: String
    public var errorDescription: String? { "self-check failed: \(reason)" }
}

/// The bundle: its files, the model held against its golden outputs, pictures classified. An actor, so that the model is
/// used by one caller at a time.
public actor Classifier {
    private struct Manifest: Decodable {
        struct Tensor: Decodable {
            let name: String
            let shape: [Int]
        }
        struct Output: Decodable {
            let name: String
            let classes: Int
        }
        let model: String
        let picture: String
        let input: Tensor
        let output: Output
        let range: Double
        let tolerance: Double
        let sha256: [String: String]
    }

    private let folder: URL
    private let manifest: Manifest
    private let settings: Settings
    private let labels: [String]
    private let runner: OnnxRunner

    /// Opens the bundle of a folder, and checks that its files are those that were bundled.
    public init(folder: URL? = nil) throws {
        guard let folder = folder ?? Bundle.module.url(forResource: "Bundle", withExtension: nil) else {
            throw SelfCheckFailed(reason: "the bundle is missing")
        }
        let read = { (name: String) in try Data(contentsOf: folder.appendingPathComponent(name)) }
        let manifest = try JSONDecoder().decode(Manifest.self, from: read("manifest.json"))
        for (name, wanted) in manifest.sha256 {
            guard try sha256(read(name)) == wanted else {
                throw SelfCheckFailed(reason: "'\(name)' is not the file that was bundled; write the bundle again")
            }
        }
        self.folder = folder
        self.manifest = manifest
        settings = try JSONDecoder().decode(Settings.self, from: read("preprocessing.json"))
        labels = try String(decoding: read("labels.txt"), as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        guard labels.count == manifest.output.classes else {
            let expected = "expected \(manifest.output.classes), one a class"
            throw SelfCheckFailed(reason: "\(labels.count) lines in 'labels.txt', \(expected)")
        }
        runner = try OnnxRunner(
            path: folder.appendingPathComponent(manifest.model).path,
            input: manifest.input.name,
            shape: manifest.input.shape,
            output: manifest.output.name
        )
    }

    /// The bundle's own picture.
    public func ownPicture() throws -> Picture {
        try Picture(file: file(manifest.picture))
    }

    /// The largest error against the golden outputs, relative to the outputs' range.
    public func selfCheck() throws -> Double {
        let logits = try runner.run(preprocess(ownPicture(), settings))
        let errors = try [
            worst(runner.run(floats("golden-input.bin")), floats("golden-output.bin")),
            worst(logits, floats("picture-logits.bin")),
        ]
        let error = max(errors[0], errors[1]) / manifest.range
        guard errors.allSatisfy({ $0 / manifest.range <= manifest.tolerance }) else { // nor is NaN
            throw SelfCheckFailed(reason: "error \(error) of the outputs' range, allowed \(manifest.tolerance)")
        }
        return error
    }

    public func classify(_ picture: Picture, count: Int = 3) throws -> Answer {
        let clock = ContinuousClock()
        let start = clock.now
        let input = preprocess(picture, settings)
        let ready = clock.now
        let logits = try runner.run(input)
        let end = clock.now
        let guesses = zip(labels, softmax(logits)).map { Guess(label: $0, probability: $1) }
        let best = guesses.sorted { $0.probability > $1.probability }.prefix(count)
        return Answer(
            guesses: Array(best),
            preprocessingMs: milliseconds(ready - start),
            modelMs: milliseconds(end - ready)
        )
    }

    private func file(_ name: String) throws -> Data {
        try Data(contentsOf: folder.appendingPathComponent(name))
    }

    private func floats(_ name: String) throws -> [Float] {
        try file(name).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) } // little endian, as every iPhone is
    }

    private func worst(_ found: [Float], _ wanted: [Float]) throws -> Double {
        guard found.count == wanted.count else {
            throw SelfCheckFailed(reason: "\(found.count) classes, expected \(wanted.count)")
        }
        let distances = zip(found, wanted).map { abs(Double($0) - Double($1)) }
        return distances.contains { $0.isNaN } ? .nan : distances.max() ?? 0
    }
}

func softmax(_ logits: [Float]) -> [Double] {
    let largest = Double(logits.max() ?? 0)
    let powers = logits.map { exp(Double($0) - largest) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
}

func sha256(_ content: Data) -> String {
    SHA256.hash(data: content).map { String(format: "%02x", $0) }.joined()
}

func milliseconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) * 1e3 + Double(duration.components.attoseconds) / 1e15
}
