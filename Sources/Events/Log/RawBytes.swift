/// Bytes that grow; memory is asked for only with use. Freed by its owner.
struct RawBytes {
    private(set) var base: UnsafeMutableRawPointer
    private(set) var capacity: Int
    private(set) var count = 0

    init(capacity: Int = 0) {
        self.capacity = max(64, capacity)
        base = .allocate(byteCount: self.capacity, alignment: 16)
    }

    func deallocate() { base.deallocate() }

    /// Forgets the bytes; gives memory back when it holds more than `keep`.
    mutating func reset(keeping keep: Int) {
        count = 0
        guard capacity > keep else { return }
        base.deallocate()
        capacity = max(64, keep)
        base = .allocate(byteCount: capacity, alignment: 16)
    }

    /// Room for `more` bytes behind the last.
    @inline(__always)
    mutating func reserve(_ more: Int) {
        if count &+ more > capacity { grow(more) }
    }

    @inline(never)
    private mutating func grow(_ more: Int) {
        let larger = max(capacity * 2, count + more)
        let moved = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
        moved.copyMemory(from: base, byteCount: count)
        base.deallocate()
        base = moved
        capacity = larger
    }

    @inline(__always)
    mutating func append(_ bytes: UnsafeRawPointer, _ more: Int) {
        reserve(more)
        (base + count).copyMemory(from: bytes, byteCount: more)
        count &+= more
    }

    /// `append` of a whole word, for the hot path.
    @inline(__always)
    mutating func push<Word: FixedWidthInteger>(_ word: Word) {
        reserve(MemoryLayout<Word>.size)
        base.storeBytes(of: word, toByteOffset: count, as: Word.self)
        count &+= MemoryLayout<Word>.size
    }

    @inline(__always)
    mutating func push(_ first: UInt64, _ second: UInt64) {
        reserve(16)
        base.storeBytes(of: first, toByteOffset: count, as: UInt64.self)
        base.storeBytes(of: second, toByteOffset: count &+ 8, as: UInt64.self)
        count &+= 16
    }

    /// A length in groups of seven bits, the lowest first.
    @inline(__always)
    mutating func pushVarint(_ number: Int) {
        reserve(10)
        var rest = UInt64(truncatingIfNeeded: number)
        while rest >= 0x80 {
            base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: count, as: UInt8.self)
            count &+= 1
            rest &>>= 7
        }
        base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: count, as: UInt8.self)
        count &+= 1
    }

    mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { if let start = $0.baseAddress { append(start, $0.count) } }
    }

    mutating func append<Word: FixedWidthInteger>(_ word: Word) {
        reserve(MemoryLayout<Word>.size)
        base.storeBytes(of: word.littleEndian, toByteOffset: count, as: Word.self)
        count += MemoryLayout<Word>.size
    }

    /// Declares `more` bytes behind the last as written by the caller.
    @inline(__always)
    mutating func advance(_ more: Int) { count &+= more }

    /// Cuts back to an earlier length.
    mutating func truncate(to length: Int) { count = min(count, length) }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }
}
