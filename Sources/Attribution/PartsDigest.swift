internal import AurumCore
internal import Crypto
internal import Foundation

/// A short name in tables for several texts together.
enum PartsDigest {
    /// 32 hex digits: the first half of SHA-256 of the parts, each ended by a zero byte.
    static func hex(_ parts: [String]) -> String {
        var hash = SHA256()
        for part in parts {
            hash.update(data: Data(part.utf8))
            hash.update(data: Data([0]))
        }
        return Hex.encode(hash.finalize().prefix(16))
    }
}
