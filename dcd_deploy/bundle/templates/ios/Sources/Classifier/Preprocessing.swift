// From an RGB picture to the model's input: resize the short side (bilinear, averaging when it shrinks, as Pillow does;
// CoreGraphics would do it in its own way), crop the centre, scale to 0..1, normalise.

/// Pixels, three bytes each, row by row.
public struct Picture: Sendable {
    public let width: Int
    public let height: Int
    public let rgb: [UInt8]

    public init(width: Int, height: Int, rgb: [UInt8]) {
        precondition(rgb.count == 3 * width * height)
        self.width = width
        self.height = height
        self.rgb = rgb
    }
}

/// How the model wants pictures; `layout` is "nchw" or "nhwc".
public struct Settings: Decodable, Sendable {
    public let height: Int
    public let width: Int
    public let resize: Int
    public let mean: [Double]
    public let std: [Double]
    public let layout: String
}

/// What a new pixel is made of: pixels of the old line from `first` on, and their shares.
private struct Taps {
    let first: Int
    let shares: [Double]
}

/// The `kept` middle pixels of a line of `size` that is resized to `fresh`.
private func line(size: Int, fresh: Int, kept: Int) -> [Taps] {
    let start = max(0, Int((Double(fresh - kept) / 2).rounded(.toNearestOrEven)))
    let scale = Double(size) / Double(fresh)
    let support = max(scale, 1) // a triangle as wide as a new pixel where it shrinks
    return (start..<min(start + kept, fresh)).map { i in
        let centre = (Double(i) + 0.5) * scale
        let begin = Int((centre - support).rounded(.down))
        let first = max(0, begin)
        let last = min(size - 1, begin + Int((2 * support).rounded(.up)))
        let weights = (first...last).map { max(0, 1 - abs(Double($0) + 0.5 - centre) / support) }
        let sum = weights.reduce(0, +)
        return Taps(first: first, shares: weights.map { $0 / sum })
    }
}

/// The centre crop, RGB values 0...255 row by row.
public func resizedCrop(_ picture: Picture, _ settings: Settings) -> [Double] {
    let short = min(picture.width, picture.height)
    let columns = line(size: picture.width, fresh: settings.resize * picture.width / short, kept: settings.width)
    let rows = line(size: picture.height, fresh: settings.resize * picture.height / short, kept: settings.height)
    let top = rows[0].first
    let bottom = rows[rows.count - 1].first + rows[rows.count - 1].shares.count
    let length = 3 * columns.count
    var narrowed = [Double](repeating: 0, count: (bottom - top) * length)
    for y in top..<bottom {
        for (x, taps) in columns.enumerated() {
            for channel in 0..<3 {
                var sum = 0.0
                for (i, share) in taps.shares.enumerated() {
                    sum += share * Double(picture.rgb[(y * picture.width + taps.first + i) * 3 + channel])
                }
                narrowed[(y - top) * length + 3 * x + channel] = sum.rounded(.toNearestOrEven)
            }
        }
    }
    var crop = [Double](repeating: 0, count: rows.count * length)
    for (y, taps) in rows.enumerated() {
        for x in 0..<length {
            var sum = 0.0
            for (i, share) in taps.shares.enumerated() {
                sum += share * narrowed[(taps.first - top + i) * length + x]
            }
            crop[y * length + x] = sum.rounded(.toNearestOrEven)
        }
    }
    return crop
}

/// The model's input.
public func preprocess(_ picture: Picture, _ settings: Settings) -> [Float] {
    let crop = resizedCrop(picture, settings)
    let plane = settings.width * settings.height
    var input = [Float](repeating: 0, count: 3 * plane)
    for i in 0..<plane {
        for channel in 0..<3 {
            let value = (crop[3 * i + channel] / 255 - settings.mean[channel]) / settings.std[channel]
            input[settings.layout == "nhwc" ? 3 * i + channel : channel * plane + i] = Float(value)
        }
    }
    return input
}
