/// A small filter of one run of a generation that is not finished yet, at six bits a hash.
///
/// An id that the generation's filter seems to know would otherwise be asked for in each of its many files; the sieve
/// lets one in sixteen through. Written while
/// the run is, or while it is read at start; never afterwards.
final class RunSieve: @unchecked Sendable {
    private static let blockKeys = 85
    private let memory: AnonymousMemory
    private let words: UnsafeMutablePointer<UInt64>
    private let blockCount: UInt64

    init(keys: Int) {
        let blocks = max(1, (keys + Self.blockKeys - 1) / Self.blockKeys)
        blockCount = UInt64(blocks)
        memory = AnonymousMemory(byteCount: blocks * 64)
        words = memory.base.bindMemory(to: UInt64.self, capacity: blocks * 8)
    }

    deinit { memory.deallocate() }

    var byteCount: Int { memory.byteCount }

    static func byteCount(keys: Int) -> Int { keys * 64 / blockKeys }

    /// Three places in the block of the hash, from other bits than the generation's filter takes.
    @inline(__always)
    private func places(_ high: UInt64, _ low: UInt64) -> (block: Int, UInt64, UInt64, UInt64) {
        let block = Int(truncatingIfNeeded: high.multipliedFullWidth(by: blockCount).high) &* 8
        let mixed = (low ^ high &<< 32) &* 0xBF58_476D_1CE4_E5B9
        return (block, mixed &>> 55, mixed &>> 46 & 511, mixed &>> 37 & 511)
    }

    func insert(_ high: UInt64, _ low: UInt64) {
        let (block, one, two, three) = places(high, low)
        words[block &+ Int(one &>> 6)] |= 1 &<< (one & 63)
        words[block &+ Int(two &>> 6)] |= 1 &<< (two & 63)
        words[block &+ Int(three &>> 6)] |= 1 &<< (three & 63)
    }

    /// false when the hash is certainly not in the run.
    @inline(__always)
    func mayContain(_ high: UInt64, _ low: UInt64) -> Bool {
        let (block, one, two, three) = places(high, low)
        let found = words[block &+ Int(one &>> 6)] &>> (one & 63) & words[block &+ Int(two &>> 6)] &>> (two & 63)
        return found & words[block &+ Int(three &>> 6)] &>> (three & 63) & 1 == 1
    }
}
