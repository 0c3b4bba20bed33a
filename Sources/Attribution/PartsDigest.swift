internal import AurumCore
internal import Crypto
internal import Foundation

/// A short name in tables for several texts together.
struct PartsDigest {
    private var hash = SHA256()

    /// 32 hex digits: the first half of SHA-256 of the parts, each ended by a zero byte.
    static func hex(_ parts: [String]) -> String {
        var digest = PartsDigest()
        for part in parts { digest.add(part) }
        return digest.hex
    }

    mutating func add(_ part: String) {
        hash.update(data: Data(part.utf8))
        hash.update(data: Data([0]))
    }

    var hex: String { Hex.encode(hash.finalize().prefix(16)) }
}
