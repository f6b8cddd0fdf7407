// From an RGB picture to the model's input: resize the short side (bilinear, averaging when it shrinks, as Pillow does),
// crop the centre, scale to 0..1, normalise.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

struct Picture {
    int width = 0, height = 0;
    std::vector<std::uint8_t> rgb;  // row by row
};

struct Preprocessing {
    int height = 0, width = 0, resize = 0;
    double mean[3] = {}, std[3] = {};
};

struct Share {
    int tap;  // a pixel of the old line
    double weight;
};
using Line = std::vector<std::vector<Share>>;

// The `kept` middle pixels of a line of `size` that is resized to `fresh`: what each is made of.
inline Line line_of(int size, int fresh, int kept) {
    const int first = std::max(0, static_cast<int>(std::nearbyint((fresh - kept) / 2.0)));
    const double scale = static_cast<double>(size) / fresh;
    const double support = std::max(scale, 1.0);  // a triangle as wide as a new pixel where it shrinks
    Line line;
    for (int i = first; i < std::min(first + kept, fresh); ++i) {
        const double centre = (i + 0.5) * scale;
        const int start = static_cast<int>(std::floor(centre - support));
        std::vector<Share> shares;
        double sum = 0;
        for (int tap = std::max(start, 0); tap <= std::min(start + static_cast<int>(std::ceil(2 * support)), size - 1); ++tap) {
            const double weight = 1.0 - std::abs(tap + 0.5 - centre) / support;
            if (weight <= 0) continue;
            shares.push_back({tap, weight});
            sum += weight;
        }
        for (auto& share : shares) share.weight /= sum;
        line.push_back(std::move(shares));
    }
    return line;
}

// The centre crop as RGB values 0..255, row by row.
inline std::vector<double> resized_crop(const Picture& picture, const Preprocessing& settings) {
    const std::int64_t shorter = std::min(picture.width, picture.height), side = settings.resize;
    const Line columns = line_of(picture.width, static_cast<int>(side * picture.width / shorter), settings.width);
    const Line rows = line_of(picture.height, static_cast<int>(side * picture.height / shorter), settings.height);
    const int top = rows.front().front().tap, bottom = rows.back().back().tap;
    const std::size_t stride = columns.size() * 3;
    std::vector<double> narrowed;
    narrowed.reserve((bottom - top + 1) * stride);
    for (int y = top; y <= bottom; ++y) {
        const std::uint8_t* row = picture.rgb.data() + static_cast<std::size_t>(y) * picture.width * 3;
        for (const auto& shares : columns) {
            for (int channel = 0; channel < 3; ++channel) {
                double sum = 0;
                for (const auto& [tap, weight] : shares) sum += weight * row[3 * tap + channel];
                narrowed.push_back(std::nearbyint(sum));
            }
        }
    }
    std::vector<double> crop;
    crop.reserve(rows.size() * stride);
    for (const auto& shares : rows) {
        for (std::size_t x = 0; x < stride; ++x) {
            double sum = 0;
            for (const auto& [tap, weight] : shares) sum += weight * narrowed[(tap - top) * stride + x];
            crop.push_back(std::nearbyint(sum));
        }
    }
    return crop;
}

// The input, channels first.
inline std::vector<float> preprocess(const Picture& picture, const Preprocessing& settings) {
    const std::vector<double> crop = resized_crop(picture, settings);
    const std::size_t plane = crop.size() / 3;
    std::vector<float> input(crop.size());
    for (std::size_t i = 0; i < plane; ++i) {
        for (int channel = 0; channel < 3; ++channel) {
            const double value = (crop[3 * i + channel] / 255.0 - settings.mean[channel]) / settings.std[channel];
            input[channel * plane + i] = static_cast<float>(value);
        }
    }
    return input;
}
