/// The layout of the index's files, version 1. Everything is little-endian.
///
/// A run holds hashes in sorted order: a header of 4,096 bytes; blocks of 1,024 bytes with up to 63 hashes of 16 bytes,
/// their place and a checksum; the directory; and, for a finished generation, its filter. A file that was never listed
/// in the manifest is worth nothing and is removed at the next opening.
enum RunFormat {
    static let magic: UInt64 = 0x5344_494D_5552_5541  // "AURUMIDS"
    static let version: UInt16 = 1
    static let blockBytes = 1024
    static let blockKeys = 63
    static let headerBytes = 4096
    /// Where in a block its number and its checksum stand.
    static let tagOffset = blockKeys * 16
    static let sumOffset = tagOffset + 8
    /// Mean hashes of an entry of the directory.
    static let directoryKeys = 256
    private static let suffix = ".aurumids"

    static func name(_ number: UInt32) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits + suffix
    }

    static func number(_ name: String) -> UInt32? {
        guard name.hasSuffix(suffix), name.utf8.count == 8 + suffix.utf8.count else { return nil }
        return UInt32(name.dropLast(suffix.utf8.count), radix: 16)
    }

    static func directoryCount(keys: Int) -> Int { max(1, (keys + directoryKeys - 1) / directoryKeys) }

    static func blockCount(keys: Int) -> Int { (keys + blockKeys - 1) / blockKeys }
}

/// What stands at the start of a run.
struct RunHeader: Sendable, Equatable {
    static let byteCount = 104

    /// Whose hashes these are: hashes under another secret mean nothing here.
    var identity: UInt64
    var number: UInt32
    /// 0 for a run from memory; one more than the runs that were merged.
    var level: UInt32
    var keyCount: UInt64 = 0
    var directoryCount: UInt32 = 0
    var filterBlocks: UInt32 = 0
    var directorySum: UInt64 = 0
    var filterSum: UInt64 = 0
    /// Latest receive time of its ids, microseconds.
    var latest: Int64
    /// All ids of the log before this point are in this run or an older one.
    var through: LogPoint

    func encoded() -> [UInt8] {
        var bytes = RawBytes(capacity: RunFormat.headerBytes)
        defer { bytes.deallocate() }
        bytes.append(RunFormat.magic)
        bytes.append(RunFormat.version)
        bytes.append(UInt16(Self.byteCount))
        bytes.append(number)
        bytes.append(identity)
        bytes.append(keyCount)
        bytes.append(level)
        bytes.append(directoryCount)
        bytes.append(filterBlocks)
        bytes.append(through.segment)
        bytes.append(through.offset)
        bytes.append(directorySum)
        bytes.append(filterSum)
        bytes.append(latest)
        while bytes.count < Self.byteCount - 4 { bytes.append(UInt32(0)) }
        bytes.append(CRC32C.of(bytes.bytes))
        while bytes.count < RunFormat.headerBytes { bytes.append(UInt64(0)) }
        return Array(bytes.bytes)
    }

    /// nil when anything is not as it was written.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == RunFormat.headerBytes else { return nil }
        var reader = WordReader(bytes)
        guard reader.next(UInt64.self) == RunFormat.magic, reader.next(UInt16.self) == RunFormat.version,
            reader.next(UInt16.self) == UInt16(Self.byteCount)
        else { return nil }
        number = reader.next(UInt32.self)
        identity = reader.next(UInt64.self)
        keyCount = reader.next(UInt64.self)
        level = reader.next(UInt32.self)
        directoryCount = reader.next(UInt32.self)
        filterBlocks = reader.next(UInt32.self)
        let segment = reader.next(UInt32.self)
        through = LogPoint(segment: segment, offset: reader.next(UInt64.self))
        directorySum = reader.next(UInt64.self)
        filterSum = reader.next(UInt64.self)
        latest = reader.next(Int64.self)
        let body = Array(bytes[0..<Self.byteCount - 4])
        reader.move(to: body.count)
        guard reader.next(UInt32.self) == CRC32C.of(body), keyCount > 0, keyCount <= UInt64(UInt32.max),
            Int(directoryCount) == RunFormat.directoryCount(keys: Int(keyCount))
        else { return nil }
    }

    init(identity: UInt64, number: UInt32, level: UInt32, latest: Int64, through: LogPoint) {
        self.identity = identity
        self.number = number
        self.level = level
        self.latest = latest
        self.through = through
    }

    var crc: UInt32 { CRC32C.of(Array(encoded()[0..<Self.byteCount - 4])) }

    var blockCount: Int { RunFormat.blockCount(keys: Int(keyCount)) }
    var directoryOffset: Int { RunFormat.headerBytes + blockCount * RunFormat.blockBytes }
    /// The directory has one entry more than buckets and is padded to eight bytes.
    var directoryBytes: Int { (Int(directoryCount) + 2) / 2 * 8 }
    var filterOffset: Int { directoryOffset + directoryBytes }
    var fileBytes: Int { filterOffset + Int(filterBlocks) * IdentifierFilter.blockBytes }
}

/// Reads numbers one behind the other; zero behind the end.
struct WordReader {
    private let bytes: [UInt8]
    private var offset = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { offset >= bytes.count }

    mutating func move(to offset: Int) { self.offset = offset }

    mutating func next<Word: FixedWidthInteger>(_ type: Word.Type) -> Word {
        let size = MemoryLayout<Word>.size
        guard offset + size <= bytes.count else {
            offset = bytes.count
            return 0
        }
        defer { offset += size }
        return bytes.withUnsafeBytes { Word(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: type)) }
    }
}
