internal import CZstd
internal import Synchronization

/// Runs of bytes as the parts of a block keep them: one byte that says how, the length before and after, the bytes.
enum StreamCodec: UInt8 {
    case stored = 0
    case zstd
    /// All bytes are the same: one is kept.
    case constant
}

/// Packs byte runs. One a writer thread; freed by its owner.
struct StreamWriter {
    private let context: OpaquePointer?
    /// Bytes of one plane before they are packed.
    private var plane = RawBytes(capacity: 64 << 10)
    private static let smallest = 64

    init(level: Int32) {
        context = ZSTD_createCCtx()
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0)
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0)
    }

    func deallocate() {
        ZSTD_freeCCtx(context)
        plane.deallocate()
    }

    /// Adds a run to `out`. Runs that zstd does not make smaller are kept as they are.
    mutating func append(_ run: UnsafeRawBufferPointer, to out: inout RawBytes, isRandom: Bool = false) {
        guard let start = run.baseAddress, run.count > 0 else { return head(.stored, 0, 0, &out) }
        if run.count > 1, Self.isConstant(run) {
            head(.constant, run.count, 1, &out)
            out.append(start, 1)
            return
        }
        if !isRandom, run.count >= Self.smallest {
            let bound = ZSTD_compressBound(run.count)
            out.reserve(9 + bound)
            let count = ZSTD_compress2(context, out.base + out.count + 9, bound, start, run.count)
            if ZSTD_isError(count) == 0, count < run.count {
                head(.zstd, run.count, count, &out)
                out.advance(count)
                return
            }
        }
        head(.stored, run.count, run.count, &out)
        out.append(start, run.count)
    }

    private func head(_ codec: StreamCodec, _ raw: Int, _ stored: Int, _ out: inout RawBytes) {
        out.append(codec.rawValue)
        out.append(UInt32(raw))
        out.append(UInt32(stored))
    }

    private static func isConstant(_ run: UnsafeRawBufferPointer) -> Bool {
        guard let start = run.baseAddress, run[0] == run[run.count - 1] else { return false }
        var index = 0
        let all = UInt64(run[0]) &* 0x0101_0101_0101_0101
        while index &+ 8 <= run.count {
            if start.loadUnaligned(fromByteOffset: index, as: UInt64.self) != all { return false }
            index &+= 8
        }
        while index < run.count {
            if run[index] != run[0] { return false }
            index &+= 1
        }
        return true
    }

    /// Adds whole numbers as byte planes, the lowest bytes first: how many planes, then each as a run.
    mutating func append<Word: FixedWidthInteger & UnsignedInteger>(
        planesOf words: UnsafeBufferPointer<Word>, to out: inout RawBytes
    ) {
        var all: Word = 0
        for index in 0..<words.count { all |= words[index] }
        let count = (Word.bitWidth - all.leadingZeroBitCount + 7) / 8
        out.append(UInt8(count))
        for number in 0..<count {
            plane.truncate(to: 0)
            plane.reserve(words.count)
            let target = plane.base.assumingMemoryBound(to: UInt8.self)
            let shift = Word(8 &* number)
            for index in 0..<words.count { target[index] = UInt8(truncatingIfNeeded: words[index] &>> shift) }
            append(UnsafeRawBufferPointer(start: plane.base, count: words.count), to: &out)
        }
    }
}

/// Unpacks what `StreamWriter` packed. Everything it reads may be damaged: it answers nil, and never reads past the
/// end.
struct StreamReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func byte() -> UInt8? {
        guard offset < bytes.count else { return nil }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func word<Word: FixedWidthInteger>(_ type: Word.Type) -> Word? {
        guard offset + MemoryLayout<Word>.size <= bytes.count else { return nil }
        defer { offset += MemoryLayout<Word>.size }
        return Word(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }

    mutating func varint() -> Int? {
        var number: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 63, by: 7) {
            guard let byte = byte() else { return nil }
            number |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return Int(number) }
        }
        return nil
    }

    mutating func slice(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= bytes.count - offset else { return nil }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }

    /// A run must not grow beyond this when it is unpacked, whatever its head says: a block closes at 32 MB of events
    /// and takes one more body.
    static let runBytesMax = 128 << 20

    private mutating func run() -> (StreamCodec, raw: Int, UnsafeRawBufferPointer)? {
        guard let code = byte(), let codec = StreamCodec(rawValue: code), let raw = word(UInt32.self),
            let stored = word(UInt32.self), raw <= Self.runBytesMax, let packed = slice(Int(stored))
        else { return nil }
        return (codec, Int(raw), packed)
    }

    /// Unpacks a run into memory of exactly its size; false when it does not fit or is damaged.
    private static func unpack(
        _ run: (StreamCodec, raw: Int, UnsafeRawBufferPointer), into target: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard target.count == run.raw else { return false }
        guard run.raw > 0, let start = target.baseAddress else { return run.raw == 0 }
        switch run.0 {
        case .stored:
            guard run.2.count == run.raw else { return false }
            target.copyMemory(from: run.2)
            return true
        case .constant:
            guard run.2.count == 1 else { return false }
            start.initializeMemory(as: UInt8.self, repeating: run.2[0], count: run.raw)
            return true
        case .zstd:
            return Unpackers.unpack(run.2, into: start, count: run.raw) == run.raw
        }
    }

    /// - Parameter most: bytes of the longest run that makes sense here.
    mutating func bytesOfRun(most: Int = runBytesMax) -> [UInt8]? {
        guard let run = run(), run.raw <= most else { return nil }
        var isWhole = false
        let bytes = [UInt8](unsafeUninitializedCapacity: run.raw) { buffer, filled in
            isWhole = Self.unpack(run, into: UnsafeMutableRawBufferPointer(buffer))
            filled = isWhole ? run.raw : 0
        }
        return isWhole ? bytes : nil
    }

    /// `count` whole numbers from their byte planes.
    mutating func planes<Word: FixedWidthInteger & UnsignedInteger>(_ count: Int, of type: Word.Type) -> [Word]? {
        guard let planes = byte(), planes <= Word.bitWidth / 8 else { return nil }
        var isWhole = true
        let plane = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, count), alignment: 16)
        defer { plane.deallocate() }
        let words = [Word](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = count
            guard let target = buffer.baseAddress else { return }
            if planes == 0 { target.initialize(repeating: 0, count: count) }
            for number in 0..<Int(planes) {
                guard let run = run(), Self.unpack(run, into: UnsafeMutableRawBufferPointer(rebasing: plane[0..<count]))
                else {
                    if number == 0 { target.initialize(repeating: 0, count: count) }
                    isWhole = false
                    return
                }
                Self.spread(plane, count, number, target)
            }
        }
        return isWhole ? words : nil
    }

    @inline(__always)
    private static func spread<Word: FixedWidthInteger & UnsignedInteger>(
        _ plane: UnsafeMutableRawBufferPointer, _ count: Int, _ number: Int, _ target: UnsafeMutablePointer<Word>
    ) {
        guard let source = plane.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
        if number == 0 {
            for index in 0..<count { target[index] = Word(truncatingIfNeeded: source[index]) }
        } else {
            let shift = Word(8 &* number)
            for index in 0..<count { target[index] |= Word(truncatingIfNeeded: source[index]) &<< shift }
        }
    }
}

/// Signed numbers as unsigned ones that are small when the number is near zero.
enum ZigZag {
    @inline(__always)
    static func encode(_ number: Int64) -> UInt64 { UInt64(bitPattern: (number &<< 1) ^ (number &>> 63)) }

    @inline(__always)
    static func decode(_ number: UInt64) -> Int64 {
        Int64(bitPattern: number &>> 1) ^ (0 &- Int64(bitPattern: number & 1))
    }
}

/// What unpacks runs, kept for the next one: to make one asks the processor what it can do, which costs a virtual
/// machine more than most runs do.
private enum Unpackers {
    private struct Context: @unchecked Sendable {  // used by whoever took it alone
        let pointer: OpaquePointer
    }

    /// Each holds some 160 KB.
    private static let keptMax = 16
    private static let kept = Mutex<[Context]>([])

    /// - Returns: bytes that were unpacked, or an error of zstd's.
    static func unpack(_ packed: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer, count: Int) -> Int {
        guard let context = kept.withLock({ $0.popLast() }) ?? ZSTD_createDCtx().map(Context.init) else {
            return ZSTD_decompress(target, count, packed.baseAddress, packed.count)
        }
        defer {
            let isKept = kept.withLock { kept in
                guard kept.count < keptMax else { return false }
                kept.append(context)
                return true
            }
            if !isKept { ZSTD_freeDCtx(context.pointer) }
        }
        return ZSTD_decompressDCtx(context.pointer, target, count, packed.baseAddress, packed.count)
    }
}
