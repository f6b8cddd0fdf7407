import Foundation
import OnnxRuntimeBindings

/// The model in onnxruntime, on the processor.
final class OnnxRunner {
    private let environment: ORTEnv
    private let session: ORTSession
    private let input: String
    private let shape: [NSNumber]
    private let output: String

    init(path: String, input: String, shape: [Int], output: String) throws {
        environment = try ORTEnv(loggingLevel: .warning)
        session = try ORTSession(env: environment, modelPath: path, sessionOptions: ORTSessionOptions())
        self.input = input
        self.shape = shape.map(NSNumber.init(value:))
        self.output = output
    }

    func run(_ values: [Float]) throws -> [Float] {
        let data = NSMutableData(bytes: values, length: values.count * MemoryLayout<Float>.stride)
        let tensor = try ORTValue(tensorData: data, elementType: .float, shape: shape)
        let results = try session.run(withInputs: [input: tensor], outputNames: [output], runOptions: nil)
        guard let logits = try results[output]?.tensorData() as Data? else {
            throw SelfCheckFailed(reason: "the model has no output '\(output)'")
        }
        return logits.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}
