internal import AurumCore

/// A value as it lies on the server: version, whether there is one, how long it may be served stale, what it cost, the
/// generations of its tags when it was made, then its bytes. How old it is follows from the key's remaining life, by
/// the server's clock.
package struct SharedEntry: Sendable, Equatable {
    static let version: UInt8 = 1
    /// That of an entry whose bytes are compressed: a miss for releases that know none.
    static let compressedVersion: UInt8 = 2
    private static let headerBytes = 20

    package var value: [UInt8]?
    package var staleFor: Duration
    package var cost: Duration
    package var generations: [String]

    package init(value: [UInt8]?, staleFor: Duration, cost: Duration, generations: [String]) {
        self.generations = generations
        self.value = value
        self.staleFor = staleFor
        self.cost = cost
    }

    /// nil for another version, bytes that are too many or too few, and what cannot be decompressed: a miss.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.headerBytes, [Self.version, Self.compressedVersion].contains(bytes[0]) else {
            return nil
        }
        let start = Self.headerBytes + (Int(bytes[18]) << 8 | Int(bytes[19]))
        guard bytes.count >= start, bytes.count - start <= CacheLimits.valueBytesMax else { return nil }
        func number(_ at: Int) -> Int64 { bytes[at..<(at + 8)].reduce(0) { $0 << 8 | Int64($1) } }
        let (stale, cost) = (number(2), number(10))
        guard stale >= 0, cost >= 0 else { return nil }
        staleFor = .milliseconds(stale)
        self.cost = .microseconds(cost)
        let words = String(decoding: bytes[Self.headerBytes..<start], as: UTF8.self)
        generations = words.split(separator: ",").map(String.init)
        guard bytes[1] != 0 else { return }
        guard bytes[0] == Self.compressedVersion else {
            value = Array(bytes[start...])
            return
        }
        guard let whole = CacheCompression.unpacked(bytes[start...]) else { return nil }
        value = whole
    }

    package var bytes: [UInt8] {
        func put(_ number: Int64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
        let words = Array(generations.joined(separator: ",").utf8)
        let packed = value.flatMap(CacheCompression.packed)
        var bytes = [packed == nil ? Self.version : Self.compressedVersion, value == nil ? 0 : 1]
        bytes += put(staleFor.microseconds / 1000)
        bytes += put(cost.microseconds)
        bytes += [UInt8(truncatingIfNeeded: words.count >> 8), UInt8(truncatingIfNeeded: words.count)]
        return bytes + words + (packed ?? value ?? [])
    }
}
