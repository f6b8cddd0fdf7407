// The plain Swift of the iOS sample, where there is no iPhone.
//
//   pixels PICTURE.ppm SETTINGS    prints the crop's values
//   check FOLDER COMMAND …         checks the bundle, and classifies its picture
import Foundation

do {
    if CommandLine.arguments[1] == "pixels" {
        let settings = try JSONDecoder().decode(Settings.self, from: Data(CommandLine.arguments[3].utf8))
        let crop = resizedCrop(try Picture(ppm: CommandLine.arguments[2]), settings)
        print(crop.map { String(Int($0)) }.joined(separator: " "))
    } else {
        let classifier = try Classifier(folder: URL(fileURLWithPath: CommandLine.arguments[2]))
        print("self-check passed: error \(try await classifier.selfCheck()) of the outputs' range")
        let answer = try await classifier.classify(classifier.ownPicture())
        print(answer.guesses.map { "\($0.label) \((1000 * $0.probability).rounded() / 10)" }.joined(separator: ", "))
    }
} catch {
    FileHandle.standardError.write(Data((error.localizedDescription + "\n").utf8))
    exit(1)
}
