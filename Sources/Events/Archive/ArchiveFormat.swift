/// The layout of archive files, version 1: sealed segments written again, app by app. The document of record is
/// `docs/segment-format.md`.
enum ArchiveFormat {
    static let magic: UInt64 = 0x4352_414D_5552_5541  // "AURUMARC"
    static let endMagic: UInt64 = 0x444E_454D_5552_5541  // "AURUMEND"
    static let version: UInt16 = 1
    static let headerBytes = 64
    static let trailerBytes = 64
    static let suffix = ".aurumarchive"
    /// What an archive is called until it is whole.
    static let unfinishedSuffix = ".unfinished"

    static func name(first: UInt32, last: UInt32, sequence: UInt64) -> String {
        "\(hex(first))-\(hex(last))-\(sequence)\(suffix)"
    }

    /// Whether every archive of a folder stands beside all segments that it is made of.
    static func areLeftovers(_ names: [String]) -> Bool {
        let segments = Set(names.compactMap(SegmentFormat.number))
        return names.filter { $0.hasSuffix(suffix) }.allSatisfy { name in
            let parts = name.split(separator: "-").prefix(2).compactMap { UInt32($0, radix: 16) }
            guard parts.count == 2, parts[0] <= parts[1], Int(parts[1] - parts[0]) < segments.count else {
                return false
            }
            return (parts[0]...parts[1]).allSatisfy { segments.contains($0) }
        }
    }

    static func hex(_ number: UInt32) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits
    }

    static func header(first: UInt32, last: UInt32, createdAt: Int64) -> [UInt8] {
        block(magic) { bytes in
            bytes.append(first)
            bytes.append(last)
            bytes.append(createdAt)
        }
    }

    static func trailer(directoryOffset: Int, directoryBytes: Int) -> [UInt8] {
        block(endMagic) { bytes in
            bytes.append(UInt64(directoryOffset))
            bytes.append(UInt32(directoryBytes))
        }
    }

    private static func block(_ magic: UInt64, _ content: (inout RawBytes) -> Void) -> [UInt8] {
        var bytes = RawBytes(capacity: headerBytes)
        defer { bytes.deallocate() }
        bytes.append(magic)
        bytes.append(version)
        bytes.append(UInt16(headerBytes))
        content(&bytes)
        while bytes.count < headerBytes - 4 { bytes.append(UInt8(0)) }
        bytes.append(CRC32C.of(bytes.bytes))
        return Array(bytes.bytes)
    }

    enum Reading: Equatable { case whole(place: Int, count: Int), broken, unknownVersion(UInt16) }

    /// Reads the 64 bytes of a header or a trailer; `place` and `count` mean something in a trailer only.
    static func read(_ bytes: [UInt8], _ magic: UInt64) -> Reading {
        guard bytes.count == headerBytes else { return .broken }
        return bytes.withUnsafeBytes { raw in
            guard raw.loadUnaligned(as: UInt64.self) == magic else { return .broken }
            let version = raw.loadUnaligned(fromByteOffset: 8, as: UInt16.self)
            guard version == Self.version else { return .unknownVersion(version) }
            let crc = CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[0..<headerBytes - 4]))
            guard crc == raw.loadUnaligned(fromByteOffset: headerBytes - 4, as: UInt32.self) else { return .broken }
            return .whole(
                place: Int(clamping: raw.loadUnaligned(fromByteOffset: 12, as: UInt64.self)),
                count: Int(raw.loadUnaligned(fromByteOffset: 20, as: UInt32.self)))
        }
    }
}

/// Where a request of the log stands in an archive.
struct ArchivedRequest: Sendable, Equatable {
    var origin: RequestOrigin
    /// Which block of rows, and which of its requests.
    var block: UInt32
    var number: UInt32

    /// In the order of the log.
    static func precedes(_ left: ArchivedRequest, _ right: ArchivedRequest) -> Bool {
        (left.origin.segment, left.origin.offset, left.origin.request)
            < (right.origin.segment, right.origin.offset, right.origin.request)
    }
}

/// A part of an archive's index: requests in the order of the log. Parts may overlap.
struct ArchiveIndexPart: Sendable {
    static let requestsMax = 4096

    var offset: Int
    var first: RequestOrigin
    var last: RequestOrigin

    static func encode(_ requests: ArraySlice<ArchivedRequest>, _ streams: inout StreamWriter) -> RawBytes {
        var bytes = RawBytes()
        bytes.append(UInt32(requests.count))
        var before = RequestOrigin(segment: 0, offset: 0, request: 0, firstRow: 0)
        var columns = [[UInt32]](repeating: [], count: 6)
        for request in requests {
            columns[0].append(request.origin.segment &- before.segment)
            columns[1].append(request.origin.offset &- before.offset)
            columns[2].append(UInt32(request.origin.request))
            columns[3].append(request.origin.firstRow)
            columns[4].append(request.block)
            columns[5].append(request.number)
            before = request.origin
        }
        for column in columns { column.withUnsafeBufferPointer { streams.append(planesOf: $0, to: &bytes) } }
        return bytes
    }

    /// nil for bytes that make no sense.
    static func decode(_ bytes: [UInt8]) -> [ArchivedRequest]? {
        bytes.withUnsafeBytes { raw in
            var reader = StreamReader(raw)
            guard let count = reader.word(UInt32.self), count <= requestsMax else { return nil }
            var columns: [[UInt32]] = []
            for _ in 0..<6 {
                guard let column = reader.planes(Int(count), of: UInt32.self) else { return nil }
                columns.append(column)
            }
            var (segment, offset): (UInt32, UInt32) = (0, 0)
            return (0..<Int(count)).map { index in
                segment &+= columns[0][index]
                offset &+= columns[1][index]
                return ArchivedRequest(
                    origin: RequestOrigin(
                        segment: segment, offset: offset, request: UInt16(truncatingIfNeeded: columns[2][index]),
                        firstRow: columns[3][index]), block: columns[4][index], number: columns[5][index])
            }
        }
    }
}

/// What stands at the end of an archive: every block's header and the parts of its index, so that opening one reads
/// little.
struct ArchiveDirectory: Sendable {
    var blocks: [(offset: Int, header: BlockHeader)] = []
    var index: [ArchiveIndexPart] = []
    /// The last row in the order of the log.
    var newest = LogPosition(segment: 0, offset: 0, row: 0)

    func encode(into bytes: inout RawBytes) {
        bytes.append(newest.segment)
        bytes.append(newest.offset)
        bytes.append(newest.row)
        bytes.append(UInt32(blocks.count))
        for block in blocks {
            bytes.append(UInt64(block.offset))
            var header = block.header
            header.encode(into: &bytes)
        }
        bytes.append(UInt32(index.count))
        for part in index {
            bytes.append(UInt64(part.offset))
            part.first.encode(into: &bytes)
            part.last.encode(into: &bytes)
        }
    }

    init() {}

    /// nil for bytes that make no sense.
    init?(_ bytes: [UInt8]) {
        var found = ArchiveDirectory()
        let isWhole = bytes.withUnsafeBytes { raw -> Bool in
            var reader = StreamReader(raw)
            guard let segment = reader.word(UInt32.self), let offset = reader.word(UInt32.self),
                let row = reader.word(UInt32.self), let blocks = reader.word(UInt32.self)
            else { return false }
            found.newest = LogPosition(segment: segment, offset: offset, row: row)
            for _ in 0..<blocks {
                guard let offset = reader.word(UInt64.self), let header = reader.slice(BlockHeader.byteCount),
                    case .valid(let known) = BlockHeader.decode(header)
                else { return false }
                found.blocks.append((Int(clamping: offset), known))
            }
            guard let parts = reader.word(UInt32.self) else { return false }
            for _ in 0..<parts {
                guard let offset = reader.word(UInt64.self), let first = RequestOrigin(&reader),
                    let last = RequestOrigin(&reader)
                else { return false }
                found.index.append(ArchiveIndexPart(offset: Int(clamping: offset), first: first, last: last))
            }
            return true
        }
        guard isWhole else { return nil }
        self = found
    }
}
