/// The layout of segment files and blocks, version 2. Everything is little-endian; the document of record is
/// `docs/segment-format.md`.
enum SegmentFormat {
    static let magic: UInt64 = 0x474F_4C4D_5552_5541  // "AURUMLOG"
    static let version: UInt16 = 2
    static let headerBytes = 64
    static let suffix = ".aurumlog"

    static func name(_ number: UInt32) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits + suffix
    }

    /// The number of a segment file's name; nil for other files.
    static func number(_ name: String) -> UInt32? {
        guard name.hasSuffix(suffix), name.utf8.count == 8 + suffix.utf8.count else { return nil }
        return UInt32(name.dropLast(suffix.utf8.count), radix: 16)
    }

    static func header(number: UInt32, createdAt: Int64) -> [UInt8] {
        var bytes = RawBytes(capacity: headerBytes)
        defer { bytes.deallocate() }
        bytes.append(magic)
        bytes.append(version)
        bytes.append(UInt16(headerBytes))
        bytes.append(number)
        bytes.append(createdAt)
        while bytes.count < headerBytes - 4 { bytes.append(UInt8(0)) }
        bytes.append(CRC32C.of(bytes.bytes))
        return Array(bytes.bytes)
    }

    enum HeaderState: Equatable { case valid, empty, broken, unknownVersion(UInt16) }

    static func check(_ bytes: [UInt8]) -> HeaderState {
        guard bytes.count == headerBytes, bytes.contains(where: { $0 != 0 }) else { return .empty }
        return bytes.withUnsafeBytes { raw in
            guard raw.loadUnaligned(as: UInt64.self) == magic else { return .broken }
            let version = raw.loadUnaligned(fromByteOffset: 8, as: UInt16.self)
            guard version == Self.version else { return .unknownVersion(version) }
            let crc = CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[0..<headerBytes - 4]))
            return crc == raw.loadUnaligned(fromByteOffset: headerBytes - 4, as: UInt32.self) ? .valid : .broken
        }
    }
}

/// What stands at the start of every block.
struct BlockHeader: Equatable {
    static let magic: UInt32 = 0x324B_4241  // "ABK2"
    static let version: UInt16 = 2
    static let byteCount = 128
    /// No block holds more, whatever the settings: what a reader takes memory for.
    static let rowsMax = 1 << 20
    static let requestsMax = 1 << 16
    /// A block is a whole number of these.
    static let alignment = 8

    /// The last three stand in archives only.
    enum Kind: UInt16 {
        case rows = 0
        case totals, archived, index, directory

        var hasRows: Bool { self == .rows || self == .archived }
    }

    var kind = Kind.rows
    var sequence: UInt64 = 0
    var rowCount: UInt32 = 0
    var requestCount: UInt32 = 0
    var partCount: UInt32 = 0
    /// Whose dictionaries the block uses.
    var shard: UInt32 = 0
    /// Earliest and latest time of the rows, microseconds since 1970.
    var earliest: Int64 = .max
    var latest: Int64 = .min
    var committedAt: Int64 = 0
    var requestTableBytes: UInt32 = 0
    /// Request table and part directory.
    var metaBytes: UInt32 = 0
    var payloadBytes: UInt32 = 0
    var totalBytes: UInt32 = 0
    var rawBytes: UInt32 = 0
    var metaCRC: UInt32 = 0
    /// CRC of the header before this one: a block cannot be taken out or put in.
    var previousCRC: UInt32 = 0
    /// Rows by outcome, in the order of `EventOutcome`.
    var outcomes: (UInt32, UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0, 0)
    /// A hash of the organisations and apps of the requests: equal sets have equal hashes.
    var sources: UInt64 = 0
    /// Whether the block brings shapes, columns or texts that later blocks of its shard may use.
    var bringsNew = false
    var crc: UInt32 = 0

    static func == (left: BlockHeader, right: BlockHeader) -> Bool {
        left.sequence == right.sequence && left.crc == right.crc
    }

    /// Writes 128 bytes and remembers their CRC.
    mutating func encode(into bytes: inout RawBytes) {
        let start = bytes.count
        bytes.append(Self.magic)
        bytes.append(Self.version)
        bytes.append(kind.rawValue)
        bytes.append(sequence)
        for word in [rowCount, requestCount, partCount, shard] { bytes.append(word) }
        for word in [earliest, latest, committedAt] { bytes.append(word) }
        for word in [requestTableBytes, metaBytes, payloadBytes, totalBytes, rawBytes, metaCRC, previousCRC] {
            bytes.append(word)
        }
        for word in [outcomes.0, outcomes.1, outcomes.2, outcomes.3, outcomes.4] { bytes.append(word) }
        bytes.append(sources)
        bytes.append(UInt8(bringsNew ? 1 : 0))
        while bytes.count < start + Self.byteCount - 4 { bytes.append(UInt8(0)) }
        crc = CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes.bytes[start..<start + Self.byteCount - 4]))
        bytes.append(crc)
    }

    enum Reading { case valid(BlockHeader), zeros, broken, unknownVersion(UInt16) }

    /// Reads the header at the start of `raw`.
    static func decode(_ raw: UnsafeRawBufferPointer) -> Reading {
        guard raw.count >= byteCount else { return .broken }
        let bytes = UnsafeRawBufferPointer(rebasing: raw[0..<byteCount])
        guard bytes.contains(where: { $0 != 0 }) else { return .zeros }
        func word(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        func time(_ offset: Int) -> Int64 {
            Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int64.self))
        }
        guard word(0) == magic,
            CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[0..<byteCount - 4])) == word(byteCount - 4)
        else { return .broken }
        let version = UInt16(truncatingIfNeeded: word(4))
        guard version == Self.version, let kind = Kind(rawValue: UInt16(truncatingIfNeeded: word(4) >> 16)) else {
            return .unknownVersion(version)
        }
        var header = BlockHeader()
        header.kind = kind
        header.sequence = UInt64(bitPattern: time(8))
        (header.rowCount, header.requestCount, header.partCount, header.shard) = (
            word(16), word(20), word(24), word(28)
        )
        (header.earliest, header.latest, header.committedAt) = (time(32), time(40), time(48))
        (header.requestTableBytes, header.metaBytes, header.payloadBytes) = (word(56), word(60), word(64))
        (header.totalBytes, header.rawBytes, header.metaCRC, header.previousCRC) = (
            word(68), word(72), word(76), word(80)
        )
        header.outcomes = (word(84), word(88), word(92), word(96), word(100))
        header.sources = UInt64(bitPattern: time(104))
        header.bringsNew = bytes[112] & 1 != 0
        header.crc = word(byteCount - 4)
        return header.isConsistent ? .valid(header) : .broken
    }

    /// Sizes that add up; a header that passes its CRC always does.
    private var isConsistent: Bool {
        guard rowCount <= Self.rowsMax, requestCount <= Self.requestsMax else { return false }
        let tables = UInt64(requestTableBytes) + UInt64(partCount) * UInt64(PartEntry.byteCount)
        guard !kind.hasRows || tables == UInt64(metaBytes) else { return false }
        let total = UInt64(BlockHeader.byteCount) + UInt64(metaBytes) + UInt64(payloadBytes)
        return UInt64(totalBytes) >= total && UInt64(totalBytes) < total + UInt64(BlockHeader.alignment)
    }
}

/// What a part of a block holds. Raw values are written to the log and never change.
enum PartRole: UInt8 {
    /// Set where a part repeats what the shard's block before this one brought.
    static let repeatedBit: UInt8 = 0x80

    /// Shapes and columns that are new in the segment.
    case newShapes = 1, newColumns
    /// Of every row: its shape, time, outcome and flags.
    case shapes, times, outcomes, flags
    /// Row, reason and field of each quarantined row.
    case exceptions
    /// Of one column: numbers of texts, identifiers, times or numbers.
    case values
    /// Of one column: texts as they stand.
    case plain
    /// Of one column: texts that are new in the segment.
    case entries
    /// Touchpoint candidates: rows and keyed hashes of their identifiers.
    case touches
}

/// Where a part of a block stands behind its tables: 16 bytes.
struct PartEntry: Sendable {
    static let byteCount = 16

    var column: UInt16
    var role: UInt8
    var offset: UInt32
    var count: UInt32
    var crc: UInt32

    func encode(into bytes: inout RawBytes) {
        bytes.append(column)
        bytes.append(role)
        bytes.append(UInt8(0))
        for word in [offset, count, crc] { bytes.append(word) }
    }

    init(column: UInt16, role: UInt8, offset: UInt32, count: UInt32, crc: UInt32) {
        (self.column, self.role, self.offset, self.count, self.crc) = (column, role, offset, count, crc)
    }

    init(_ raw: UnsafeRawBufferPointer, at place: Int) {
        func word(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: place + offset, as: UInt32.self))
        }
        column = UInt16(truncatingIfNeeded: word(0))
        role = UInt8(truncatingIfNeeded: word(0) >> 16)
        (offset, count, crc) = (word(4), word(8), word(12))
    }
}

/// One touchpoint candidate: 48 bytes.
enum TouchLayout {
    static let byteCount = 48
    static let row = 0
    static let kind = 4
    static let trace = 8
    static let anonymous = 16
    static let user = 24
    static let device = 32
    static let click = 40
}
