// Classify pictures with the model of this folder: C++17 and onnxruntime alone.
//
//   build/predict [PICTURE.ppm …]     checks the bundle, then classifies its picture, or these
#include <onnxruntime_cxx_api.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <numeric>

#include "files.hpp"
#include "preprocessing.hpp"

namespace {

class Model {
public:
    explicit Model(const std::string& folder) : folder_(folder), manifest_(read_file(folder + "/manifest.json")) {
        for (const char* name : {"model.onnx", "labels.txt", "preprocessing.json", "golden-input.bin", "golden-output.bin",
                                 "picture.ppm", "picture-logits.bin"}) {
            const std::string hashes = value_of(manifest_, "sha256");
            if (sha256(read_file(folder + '/' + name)) != text_of(hashes, name)) {
                throw std::runtime_error("self-check failed: '" + std::string(name) +
                                         "' is not the file that was bundled; write the bundle again");
            }
        }
        settings_ = read_preprocessing(folder + "/preprocessing.json");
        input_ = text_of(value_of(manifest_, "input"), "name");
        output_ = text_of(value_of(manifest_, "output"), "name");
        std::istringstream lines(read_file(folder + "/labels.txt"));
        for (std::string label; std::getline(lines, label);) labels_.push_back(label);
        const auto classes = static_cast<std::size_t>(numbers_of(manifest_, "classes").at(0));
        if (labels_.size() != classes) {
            throw std::runtime_error("self-check failed: " + std::to_string(labels_.size()) +
                                     " lines in 'labels.txt', expected " + std::to_string(classes) + ", one a class");
        }
        const std::string content = read_file(folder + "/model.onnx");
        Ort::SessionOptions options;
        options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);  // an error comes as an exception
        session_ = Ort::Session(env_, content.data(), content.size(), options);
    }

    std::vector<float> run(std::vector<float>& values) {
        const std::int64_t shape[] = {1, 3, settings_.height, settings_.width};
        auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        auto tensor = Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape, 4);
        const char *in = input_.c_str(), *out = output_.c_str();
        auto outputs = session_.Run(Ort::RunOptions{nullptr}, &in, &tensor, 1, &out, 1);
        const float* logits = outputs[0].GetTensorData<float>();
        return {logits, logits + outputs[0].GetTensorTypeAndShapeInfo().GetElementCount()};
    }

    // The largest error against the golden outputs, relative to the outputs' range.
    double self_check() {
        auto given = read_floats(folder_ + "/golden-input.bin");
        auto picture = preprocess(read_ppm(folder_ + "/picture.ppm"), settings_);
        const double errors[] = {worst(run(given), "golden-output.bin"), worst(run(picture), "picture-logits.bin")};
        for (const double error : errors) {
            if (!(error <= numbers_of(manifest_, "tolerance").at(0))) {  // nor is NaN
                throw std::runtime_error("self-check failed: error " + std::to_string(error) + " of the outputs' range");
            }
        }
        return std::max(errors[0], errors[1]);
    }

    // Print the three likeliest classes of a picture and how long they took.
    void classify(const Picture& picture) {
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        auto values = preprocess(picture, settings_);
        const auto ready = Clock::now();
        const auto logits = run(values);
        const auto end = Clock::now();
        const float largest = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (const float value : logits) sum += std::exp(value - largest);
        std::vector<std::size_t> order(logits.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
        for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i) {
            const double share = std::exp(logits[order[i]] - largest) / sum;
            std::printf("%s%s %.1f%%", i ? ", " : "", labels_.at(order[i]).c_str(), 100 * share);
        }
        const auto ms = [](auto span) { return std::chrono::duration<double, std::milli>(span).count(); };
        std::printf("  (preprocessing %.1f ms, model %.1f ms)\n", ms(ready - start), ms(end - ready));
    }

private:
    double worst(const std::vector<float>& found, const std::string& name) const {
        const auto wanted = read_floats(folder_ + '/' + name);
        if (found.size() != wanted.size()) throw std::runtime_error("self-check failed: another number of classes");
        double error = 0;
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            const double distance = std::abs(static_cast<double>(found[i]) - wanted[i]);
            if (std::isnan(distance)) return distance;
            error = std::max(error, distance);
        }
        return error / numbers_of(manifest_, "range").at(0);
    }

    std::string folder_, manifest_, input_, output_;
    Preprocessing settings_;
    std::vector<std::string> labels_;
    Ort::Env env_{ORT_LOGGING_LEVEL_FATAL, "predict"};
    Ort::Session session_{nullptr};
};

}  // namespace

int main(int count, char** arguments) {
    try {
        const std::string folder = BUNDLE;
        Model model(folder);
        std::printf("self-check passed: error %.1e of the outputs' range\n", model.self_check());
        if (count < 2) model.classify(read_ppm(folder + "/picture.ppm"));
        for (int i = 1; i < count; ++i) {
            const Picture picture = read_ppm(arguments[i]);
            std::printf("%s: ", arguments[i]);
            model.classify(picture);
        }
    } catch (const Ort::Exception& error) {
        std::fprintf(stderr, "the model cannot be opened or run: %s\n", error.what());
        return 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
