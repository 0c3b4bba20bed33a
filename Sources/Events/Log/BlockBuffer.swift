internal import CZstd

/// A request whose events are in a block that is not durable yet.
struct PendingRequest: Sendable {
    var org: String
    var app: String
    var currency: String
    var format: WireFormat
    var isHistorical: Bool
    var receivedAt: Int64
    var envelopeSentAt: Int64?
    var nonce: UInt64
    var firstRow = 0
    var rowCount = 0
    /// Bytes counted against the bound of bytes in flight.
    var bodyBytes: Int
    var counts = OutcomeCounts()
    /// What the app's organisation decided; nil where nobody decides anything.
    var policy: RequestPolicy?
    var done: @Sendable (Result<Receipt, CaptureError>) -> Void
}

/// A block while it is filled: row table, touchpoints, and the raw events compressed chunk by chunk.
///
/// Owned by one shard under its lock, then handed to the writer thread; never by both.
final class BlockBuffer: @unchecked Sendable {  // confined as said above
    var content: BlockContent

    init(chunkBytes: Int, compressionLevel: Int32) {
        content = BlockContent(chunkBytes: chunkBytes, compressionLevel: compressionLevel)
    }

    deinit { content.deallocate() }
}

struct BlockContent {
    struct Chunk {
        var rawOffset: UInt32
        var rawCount: UInt32
        var offset: UInt32
        var count: UInt32
        var crc: UInt32
        var codec: UInt32
    }

    /// The parts of a row that the parser knows.
    struct Row {
        var id: (high: UInt64, low: UInt64) = (0, 0)
        var person: UInt64 = 0
        var trace: UInt64 = 0
        var time: Int64 = 0
        var name: UInt32 = 0
        var type: UInt8 = 0
        var outcome = EventOutcome.stored
        var reason = QuarantineReason.none
        var field = EventField.event
        var flags: UInt16 = 0
    }

    /// Where a request began, to take it back when it is refused.
    struct Mark {
        fileprivate var rows: Int
        fileprivate var touches: Int
        fileprivate var identifiers: Int
        fileprivate var identifierPlaces: Int
        fileprivate var raw: Int
        fileprivate var chunks: Int
        fileprivate var rowCount: Int
    }

    /// Memory that an emptied buffer keeps for its next use.
    private static let keptBytes = 2 << 20

    private(set) var rows = RawBytes()
    private(set) var touches = RawBytes()
    private(set) var touchCount = 0
    /// Text of the event ids, only for the problems of a receipt; not written.
    private(set) var identifiers = RawBytes()
    private(set) var identifierPlaces = RawBytes()
    private(set) var compressed = RawBytes()
    private(set) var chunks: [Chunk] = []
    private(set) var rowCount = 0
    var requests: [PendingRequest] = []
    private var raw = RawBytes()
    /// Raw bytes in chunks that are closed.
    private var rawClosed = 0
    private let chunkBytes: Int
    private let context: OpaquePointer?

    init(chunkBytes: Int, compressionLevel: Int32) {
        self.chunkBytes = chunkBytes
        context = ZSTD_createCCtx()
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, compressionLevel)
    }

    func deallocate() {
        for part in [rows, touches, identifiers, identifierPlaces, compressed, raw] { part.deallocate() }
        ZSTD_freeCCtx(context)
    }

    var isEmpty: Bool { requests.isEmpty }
    var rawBytes: Int { rawClosed + raw.count }

    /// Makes the buffer ready for another block.
    mutating func reset() {
        rows.reset(keeping: Self.keptBytes)
        touches.reset(keeping: Self.keptBytes)
        identifiers.reset(keeping: Self.keptBytes)
        identifierPlaces.reset(keeping: Self.keptBytes)
        compressed.reset(keeping: Self.keptBytes)
        raw.reset(keeping: Self.keptBytes)
        chunks.removeAll(keepingCapacity: true)
        requests.removeAll(keepingCapacity: true)
        touchCount = 0
        rowCount = 0
        rawClosed = 0
    }

    var mark: Mark {
        Mark(
            rows: rows.count, touches: touches.count, identifiers: identifiers.count,
            identifierPlaces: identifierPlaces.count, raw: raw.count, chunks: chunks.count, rowCount: rowCount)
    }

    /// Takes back every row since `mark`. Raw bytes in a chunk that was closed since stay, and nothing points at them.
    mutating func takeBack(to mark: Mark) {
        rows.truncate(to: mark.rows)
        touches.truncate(to: mark.touches)
        touchCount = touches.count / TouchLayout.byteCount
        identifiers.truncate(to: mark.identifiers)
        identifierPlaces.truncate(to: mark.identifierPlaces)
        if chunks.count == mark.chunks { raw.truncate(to: mark.raw) }
        rowCount = mark.rowCount
    }

    /// Adds one event: its row, its raw bytes, and the text of its id.
    @inline(__always)
    mutating func append(
        _ row: Row, raw event: UnsafeRawPointer, count: Int, id: UnsafeRawPointer, idCount: Int
    ) {
        rows.reserve(RowLayout.byteCount)
        let base = rows.base + rows.count
        base.storeBytes(of: row.id.high, toByteOffset: RowLayout.idHigh, as: UInt64.self)
        base.storeBytes(of: row.id.low, toByteOffset: RowLayout.idLow, as: UInt64.self)
        base.storeBytes(of: row.person, toByteOffset: RowLayout.person, as: UInt64.self)
        base.storeBytes(of: row.trace, toByteOffset: RowLayout.trace, as: UInt64.self)
        base.storeBytes(of: row.time, toByteOffset: RowLayout.time, as: Int64.self)
        base.storeBytes(
            of: UInt32(truncatingIfNeeded: rawClosed &+ raw.count), toByteOffset: RowLayout.payloadOffset,
            as: UInt32.self)
        base.storeBytes(of: UInt32(truncatingIfNeeded: count), toByteOffset: RowLayout.payloadCount, as: UInt32.self)
        base.storeBytes(of: row.name, toByteOffset: RowLayout.name, as: UInt32.self)
        base.storeBytes(of: row.type, toByteOffset: RowLayout.type, as: UInt8.self)
        base.storeBytes(of: row.outcome.rawValue, toByteOffset: RowLayout.outcome, as: UInt8.self)
        base.storeBytes(of: row.reason.rawValue, toByteOffset: RowLayout.reason, as: UInt8.self)
        base.storeBytes(of: row.field.rawValue, toByteOffset: RowLayout.field, as: UInt8.self)
        base.storeBytes(of: row.flags, toByteOffset: RowLayout.flags, as: UInt16.self)
        base.storeBytes(
            of: UInt16(truncatingIfNeeded: requests.count), toByteOffset: RowLayout.request, as: UInt16.self)
        base.storeBytes(of: 0, toByteOffset: RowLayout.reserved, as: UInt32.self)
        rows.advance(RowLayout.byteCount)
        rowCount &+= 1
        identifierPlaces.append(UInt32(truncatingIfNeeded: identifiers.count))
        identifierPlaces.append(UInt32(truncatingIfNeeded: idCount))
        identifiers.append(id, idCount)
        raw.append(event, count)
        if raw.count >= chunkBytes { closeChunk() }
    }

    /// Adds the identifiers of a touchpoint candidate for the row added next.
    mutating func appendTouch(
        kind: UInt8, trace: UInt64, anonymous: UInt64, user: UInt64, device: UInt64, click: UInt64
    ) {
        touches.append(UInt32(truncatingIfNeeded: rowCount))
        touches.append(UInt32(kind))
        for word in [trace, anonymous, user, device, click] { touches.append(word) }
        touchCount += 1
    }

    /// The id of a row as it was sent; nil when it has none.
    func identifier(_ row: Int) -> String? {
        let place = identifierPlaces.base + row * 8
        let offset = Int(place.loadUnaligned(as: UInt32.self))
        let count = Int(place.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        guard count > 0 else { return nil }
        return String(decoding: UnsafeRawBufferPointer(start: identifiers.base + offset, count: count), as: UTF8.self)
    }

    /// Compresses what was added since the last chunk. Bytes that do not get smaller are kept as they are.
    @inline(never)
    mutating func closeChunk() {
        guard raw.count > 0 else { return }
        let bound = ZSTD_compressBound(raw.count)
        compressed.reserve(bound)
        let place = compressed.base + compressed.count
        var count = ZSTD_compress2(context, place, bound, raw.base, raw.count)
        var codec = ChunkLayout.codecZstd
        if ZSTD_isError(count) != 0 || count >= raw.count {
            place.copyMemory(from: raw.base, byteCount: raw.count)
            count = raw.count
            codec = ChunkLayout.codecStored
        }
        chunks.append(
            Chunk(
                rawOffset: UInt32(rawClosed), rawCount: UInt32(raw.count), offset: UInt32(compressed.count),
                count: UInt32(count), crc: CRC32C.of(UnsafeRawBufferPointer(start: place, count: count)), codec: codec))
        compressed.advance(count)
        rawClosed += raw.count
        raw.truncate(to: 0)
    }
}
