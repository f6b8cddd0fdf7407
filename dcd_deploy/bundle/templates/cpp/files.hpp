// Reading the bundle's files: whole files, PPM pictures, the few values of its JSON files, and SHA-256 (FIPS 180-4).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "preprocessing.hpp"

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("'" + path + "' cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<float> read_floats(const std::string& path) {  // little endian, as every machine that onnxruntime knows
    const std::string content = read_file(path);
    std::vector<float> values(content.size() / sizeof(float));
    std::memcpy(values.data(), content.data(), values.size() * sizeof(float));
    return values;
}

// A binary PPM picture; ImageMagick's `convert photo.jpg photo.ppm` makes one.
inline Picture read_ppm(const std::string& path) {
    std::istringstream file(read_file(path));
    std::string magic;
    Picture picture;
    int largest = 0;
    file >> magic >> picture.width >> picture.height >> largest;
    const bool sized = picture.width > 0 && picture.height > 0 && picture.width <= 32768 && picture.height <= 32768;
    if (!file || magic != "P6" || largest != 255 || !sized) throw std::runtime_error("'" + path + "' is no PPM picture");
    file.get();
    picture.rgb.resize(static_cast<std::size_t>(picture.width) * picture.height * 3);
    file.read(reinterpret_cast<char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size()));
    if (!file) throw std::runtime_error("'" + path + "' is cut short");
    return picture;
}

// The text behind a key of the bundle's JSON files, whose keys are all different.
inline std::string value_of(const std::string& json, const std::string& key) {
    const auto at = json.find('"' + key + "\":");
    if (at == std::string::npos) throw std::runtime_error("no '" + key + "' in the bundle's JSON files");
    return json.substr(json.find_first_not_of(" \n", at + key.size() + 3));
}

inline std::vector<double> numbers_of(const std::string& json, const std::string& key) {
    std::string text = value_of(json, key);
    text = text[0] == '[' ? text.substr(1, text.find(']') - 1) : text.substr(0, text.find_first_of(",}\n"));
    std::vector<double> numbers;
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) numbers.push_back(std::stod(part));
    return numbers;
}

inline std::string text_of(const std::string& json, const std::string& key) {
    const std::string text = value_of(json, key);
    return text.substr(1, text.find('"', 1) - 1);
}

inline Preprocessing read_preprocessing(const std::string& path) {
    const std::string json = read_file(path);
    Preprocessing settings;
    settings.height = static_cast<int>(numbers_of(json, "height").at(0));
    settings.width = static_cast<int>(numbers_of(json, "width").at(0));
    settings.resize = static_cast<int>(numbers_of(json, "resize").at(0));
    for (int channel = 0; channel < 3; ++channel) {
        settings.mean[channel] = numbers_of(json, "mean").at(channel);
        settings.std[channel] = numbers_of(json, "std").at(channel);
    }
    return settings;
}

// The first 32 bits of the fractional part of a root of the i-th prime: SHA-256's constants, computed.
inline std::uint32_t prime_root(int i, bool cube) {
    int prime = 2;
    for (int found = 0;; ++prime) {
        bool is_prime = true;
        for (int divisor = 2; divisor * divisor <= prime; ++divisor) is_prime = is_prime && prime % divisor;
        if (is_prime && found++ == i) break;
    }
    const long double root = cube ? std::cbrt(static_cast<long double>(prime)) : std::sqrt(static_cast<long double>(prime));
    return static_cast<std::uint32_t>((root - std::floor(root)) * 4294967296.0L);
}

inline std::string sha256(std::string bytes) {
    std::array<std::uint32_t, 64> k, w;
    std::array<std::uint32_t, 8> h;
    for (int i = 0; i < 64; ++i) k[i] = prime_root(i, true);
    for (int i = 0; i < 8; ++i) h[i] = prime_root(i, false);
    const std::uint64_t bits = 8 * static_cast<std::uint64_t>(bytes.size());
    bytes += '\x80';
    bytes.append((120 - bytes.size() % 64) % 64, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(bits >> shift);
    const auto turned = [](std::uint32_t x, int n) { return x >> n | x << (32 - n); };
    for (std::size_t block = 0; block < bytes.size(); block += 64) {
        for (int i = 0; i < 16; ++i) {
            w[i] = 0;
            for (int j = 0; j < 4; ++j) w[i] = w[i] << 8 | static_cast<std::uint8_t>(bytes[block + 4 * i + j]);
        }
        for (int i = 16; i < 64; ++i) {
            const auto a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] + (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
        }
        auto s = h;
        for (int i = 0; i < 64; ++i) {
            const auto t1 = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) +
                            ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
            const auto t2 = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) +
                            ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
        }
        for (int i = 0; i < 8; ++i) h[i] += s[i];
    }
    std::string hex;
    for (const auto word : h) {
        for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
    }
    return hex;
}
