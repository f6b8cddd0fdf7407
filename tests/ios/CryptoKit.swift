// What the sample takes of Apple's CryptoKit, for a compiler of Swift elsewhere: SHA-256 (FIPS 180-4).
import Foundation

public enum SHA256 {
    /// The digest's 32 bytes.
    public static func hash(data: Data) -> [UInt8] {
        var state = (0..<8).map { fraction(root: 1 / 2, of: primes[$0]) }
        var content = [UInt8](data) + [0x80]
        content += [UInt8](repeating: 0, count: (120 - content.count % 64) % 64)
        content += (0..<8).map { UInt8(truncatingIfNeeded: (8 * data.count) >> (56 - 8 * $0)) }
        for start in stride(from: 0, to: content.count, by: 64) { add(Array(content[start..<start + 64]), to: &state) }
        return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
    }

    private static func add(_ block: [UInt8], to state: inout [UInt32]) {
        var words = (0..<16).map { i in (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(block[4 * i + $1]) } }
        for i in 16..<64 {
            let (a, b) = (words[i - 15], words[i - 2])
            let first = turned(a, 7) ^ turned(a, 18) ^ a >> 3
            let second = turned(b, 17) ^ turned(b, 19) ^ b >> 10
            words.append(words[i - 16] &+ first &+ words[i - 7] &+ second)
        }
        var s = state
        for i in 0..<64 {
            let one = turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)
            let zero = turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)
            let chosen = (s[4] & s[5]) ^ (~s[4] & s[6])
            let most = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2])
            let t1 = s[7] &+ one &+ chosen &+ constants[i] &+ words[i]
            s = [t1 &+ zero &+ most, s[0], s[1], s[2], s[3] &+ t1, s[4], s[5], s[6]]
        }
        for i in 0..<8 { state[i] = state[i] &+ s[i] }
    }

    private static let primes = (2...311).filter { n in !(2..<n).contains { n % $0 == 0 } }
    private static let constants = primes.map { fraction(root: 1 / 3, of: $0) }

    private static func fraction(root: Double, of prime: Int) -> UInt32 {
        let value = root == 1 / 2 ? Double(prime).squareRoot() : cbrt(Double(prime))
        return UInt32((value - value.rounded(.down)) * 4294967296)
    }

    private static func turned(_ x: UInt32, _ n: UInt32) -> UInt32 { x >> n | x << (32 - n) }
}
