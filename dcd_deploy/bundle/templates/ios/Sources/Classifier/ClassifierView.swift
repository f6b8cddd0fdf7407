import PhotosUI
import SwiftUI

/// One screen: the result of the self-check, a picture that one chooses, its likeliest classes and the times.
public struct ClassifierView: View {
    @State private var classifier: Classifier?
    @State private var check = "opening the model …"
    @State private var chosen: PhotosPickerItem?
    @State private var answer: Answer?
    @State private var problem = ""

    public init() {}

    public var body: some View {
        List {
            Text(check)
            PhotosPicker("Choose a picture", selection: $chosen, matching: .images)
                .disabled(classifier == nil)
            if !problem.isEmpty { Text(problem).foregroundStyle(.red) }
            if let answer {
                ForEach(answer.guesses) { guess in
                    LabeledContent(guess.label, value: guess.probability, format: .percent.precision(.fractionLength(1)))
                }
                Text(String(format: "preprocessing %.1f ms, model %.1f ms", answer.preprocessingMs, answer.modelMs))
            }
        }
        .task { await open() }
        .task(id: chosen) { await showChosen() }
    }

    private func open() async {
        do {
            let opened = try Classifier()
            let error = try await opened.selfCheck()
            check = String(format: "self-check passed: error %.1e of the outputs’ range", error)
            classifier = opened
            answer = try await opened.classify(opened.ownPicture())
        } catch {
            check = error.localizedDescription
        }
    }

    private func showChosen() async {
        guard let classifier, let chosen else { return }
        problem = ""
        do {
            guard let file = try await chosen.loadTransferable(type: Data.self) else { return }
            answer = try await classifier.classify(Picture(file: file))
        } catch {
            problem = error.localizedDescription
        }
    }
}
