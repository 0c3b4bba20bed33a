/// The layout of segment files and blocks, version 1. Everything is little-endian; the document of record is
/// `docs/event-log-format.md`.
enum SegmentFormat {
    static let magic: UInt64 = 0x474F_4C4D_5552_5541  // "AURUMLOG"
    static let version: UInt16 = 1
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
    static let magic: UInt32 = 0x314B_4241  // "ABK1"
    static let version: UInt16 = 1
    static let byteCount = 128
    /// A block is a whole number of these.
    static let alignment = 8

    enum Kind: UInt16 { case rows = 0, totals = 1 }

    var kind = Kind.rows
    var sequence: UInt64 = 0
    var rowCount: UInt32 = 0
    var requestCount: UInt32 = 0
    var chunkCount: UInt32 = 0
    var touchCount: UInt32 = 0
    /// Earliest and latest time of the rows, microseconds since 1970.
    var earliest: Int64 = .max
    var latest: Int64 = .min
    var committedAt: Int64 = 0
    var requestTableBytes: UInt32 = 0
    /// Request table, rows, touches and chunk table.
    var metaBytes: UInt32 = 0
    var payloadBytes: UInt32 = 0
    var totalBytes: UInt32 = 0
    var rawBytes: UInt32 = 0
    var metaCRC: UInt32 = 0
    /// CRC of the header before this one: a block cannot be taken out or put in.
    var previousCRC: UInt32 = 0
    /// Rows by outcome, in the order of `EventOutcome`.
    var outcomes: (UInt32, UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0, 0)
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
        for word in [rowCount, requestCount, chunkCount, touchCount] { bytes.append(word) }
        for word in [earliest, latest, committedAt] { bytes.append(word) }
        for word in [requestTableBytes, metaBytes, payloadBytes, totalBytes, rawBytes, metaCRC, previousCRC] {
            bytes.append(word)
        }
        for word in [outcomes.0, outcomes.1, outcomes.2, outcomes.3, outcomes.4] { bytes.append(word) }
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
        (header.rowCount, header.requestCount, header.chunkCount, header.touchCount) = (
            word(16), word(20), word(24), word(28)
        )
        (header.earliest, header.latest, header.committedAt) = (time(32), time(40), time(48))
        (header.requestTableBytes, header.metaBytes, header.payloadBytes) = (word(56), word(60), word(64))
        (header.totalBytes, header.rawBytes, header.metaCRC, header.previousCRC) = (
            word(68), word(72), word(76), word(80)
        )
        header.outcomes = (word(84), word(88), word(92), word(96), word(100))
        header.crc = word(byteCount - 4)
        return header.isConsistent ? .valid(header) : .broken
    }

    /// Sizes that add up; a header that passes its CRC always does.
    private var isConsistent: Bool {
        let tables =
            UInt64(requestTableBytes) + UInt64(rowCount) * UInt64(RowLayout.byteCount)
            + UInt64(touchCount) * UInt64(TouchLayout.byteCount) + UInt64(chunkCount) * UInt64(ChunkLayout.byteCount)
        guard kind == .totals || tables == UInt64(metaBytes) else { return false }
        let total = UInt64(BlockHeader.byteCount) + UInt64(metaBytes) + UInt64(payloadBytes)
        return UInt64(totalBytes) >= total && UInt64(totalBytes) < total + UInt64(BlockHeader.alignment)
    }
}

/// One row: 64 bytes, a cache line.
enum RowLayout {
    static let byteCount = 64
    static let idHigh = 0
    static let idLow = 8
    static let person = 16
    static let trace = 24
    static let time = 32
    static let payloadOffset = 40
    static let payloadCount = 44
    static let name = 48
    static let type = 52
    static let outcome = 53
    static let reason = 54
    static let field = 55
    static let flags = 56
    static let request = 58
    static let reserved = 60

    enum Flag {
        static let ownTrace: UInt16 = 1
        static let shifted: UInt16 = 2
        static let touch: UInt16 = 4
        /// The id was derived from the bytes.
        static let derivedID: UInt16 = 8
        /// The id was given by the server; the event is never a duplicate.
        static let serverID: UInt16 = 16
        /// The event breaks its app's tracking plan, which only warns.
        static let planWarning: UInt16 = 32
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

/// One compressed run of raw events: 24 bytes.
enum ChunkLayout {
    static let byteCount = 24
    static let rawOffset = 0
    static let rawCount = 4
    static let offset = 8
    static let count = 12
    static let crc = 16
    static let codec = 20

    static let codecStored: UInt32 = 0
    static let codecZstd: UInt32 = 1
}
