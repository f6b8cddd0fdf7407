import CoreGraphics
import Foundation
import ImageIO

extension Picture {
    /// Reads a picture file, turned as its camera says, in sRGB.
    public init(file: Data) throws {
        guard let source = CGImageSourceCreateWithData(file as CFData, nil),
            let image = CGImageSourceCreateThumbnailAtIndex(source, 0, Picture.wholeAndTurned as CFDictionary)
        else {
            throw CocoaError(.fileReadCorruptFile)
        }
        try self.init(image: image)
    }

    /// Takes the pixels of an image.
    public init(image: CGImage) throws {
        let (width, height) = (image.width, image.height)
        var pixels = [UInt8](repeating: 0, count: 4 * width * height)
        let drawn = pixels.withUnsafeMutableBytes { buffer -> Bool in
            guard
                let context = CGContext(
                    data: buffer.baseAddress,
                    width: width,
                    height: height,
                    bitsPerComponent: 8,
                    bytesPerRow: 4 * width,
                    space: CGColorSpace(name: CGColorSpace.sRGB)!,
                    bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
                )
            else { return false }
            context.interpolationQuality = .none
            context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return true
        }
        guard drawn else { throw CocoaError(.fileReadCorruptFile) }
        let rgb = (0..<3 * width * height).map { pixels[$0 / 3 * 4 + $0 % 3] }
        self.init(width: width, height: height, rgb: rgb)
    }

    private static let wholeAndTurned: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true,
        kCGImageSourceCreateThumbnailWithTransform: true,
        kCGImageSourceThumbnailMaxPixelSize: 1 << 20, // larger than any: nothing is resized here
    ]
}
