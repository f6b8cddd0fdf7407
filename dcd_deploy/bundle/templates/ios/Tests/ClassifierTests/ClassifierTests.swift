import XCTest

@testable import Classifier

final class ClassifierTests: XCTestCase {
    func testTheBundleComputesWhatWasTrained() async throws {
        let classifier = try Classifier()
        let error = try await classifier.selfCheck()
        XCTAssertLessThanOrEqual(error, 1e-4)
        let answer = try await classifier.classify(classifier.ownPicture())
        print(answer.guesses, answer.preprocessingMs, answer.modelMs)
    }
}
