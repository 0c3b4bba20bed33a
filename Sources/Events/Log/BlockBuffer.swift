/// A request whose events are in a block that is not durable yet.
struct PendingRequest: Sendable {
    var org: String
    var app: String
    var currency: String
    var format: WireFormat
    var isHistorical: Bool
    /// Its events were counted as received, and as quarantined, before.
    var isReplay = false
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

/// A block while it is filled. Owned by one shard under its lock, then handed to the writer thread; never by both.
final class BlockBuffer: @unchecked Sendable {  // confined as said above
    var content = BlockContent()

    deinit { content.deallocate() }
}

/// The values of one column in the order of the rows that have one.
struct ColumnValues {
    /// Four bytes a numbered text, 16 an identifier, eight a time or number; plain texts with their lengths before
    /// them.
    var main = RawBytes()
    /// Digits behind the point of each number.
    var fractions = RawBytes()
    var count = 0
    /// Texts that became known in this block: their lengths and bytes, those of UUIDs apart.
    var entries = RawBytes()
    var uuids = RawBytes()
    var firstEntry = 0
    var entryCount = 0
    var isPlain = false

    func deallocate() {
        for part in [main, fractions, entries, uuids] { part.deallocate() }
    }

    mutating func reset() {
        main.reset(keeping: 256 << 10)
        fractions.reset(keeping: 64 << 10)
        entries.reset(keeping: 64 << 10)
        uuids.reset(keeping: 64 << 10)
        count = 0
        entryCount = 0
        isPlain = false
    }
}

struct BlockContent {
    /// The parts of a row that the parser knows.
    struct Row {
        var id: (high: UInt64, low: UInt64) = (0, 0)
        var time: Int64 = 0
        var type: UInt8 = 0
        var outcome = EventOutcome.stored
        var reason = QuarantineReason.none
        var field = EventField.event
        var flags: UInt8 = 0
    }

    enum Flag {
        static let ownTrace: UInt8 = 1
        /// The clock of the sender was corrected.
        static let shifted: UInt8 = 2
        static let touch: UInt8 = 4
        /// The id was derived from the bytes.
        static let derivedID: UInt8 = 8
        /// The id was given by the server; the event is never a duplicate.
        static let serverID: UInt8 = 16
        static let planWarning: UInt8 = 32
        /// Its time lies before the de-duplication window: an earlier copy may have been forgotten.
        static let unverified: UInt8 = 64
    }

    /// Memory that an emptied buffer keeps for its next use.
    private static let keptBytes = 512 << 10

    /// Place of a row's id: among the values of the column of UUIDs or of hex digits, or in the copied texts.
    enum IDPlace {
        static let uuid: UInt32 = 0x8000_0000
        static let hex: UInt32 = 0x4000_0000
        static let none: UInt32 = 0x3fff_ffff
    }

    /// One 16-bit shape, 64-bit time, 128-bit key of the id, outcome and flags a row.
    private(set) var shapes = RawBytes()
    private(set) var times = RawBytes()
    private(set) var keys = RawBytes()
    private(set) var outcomes = RawBytes()
    private(set) var flags = RawBytes()
    /// `EventType` of each row; not written, since the shape says it.
    private var types = RawBytes()
    /// Row, reason and field of each quarantined row.
    private(set) var exceptions = RawBytes()
    private(set) var touches = RawBytes()
    /// Where the id of each row stands, for the problems of a receipt: see `IDPlace`. Not written.
    private var idPlaces = RawBytes()
    private var idTexts = RawBytes()
    private var idColumns: (uuid: Int, hex: Int) = (0, 0)
    /// Shapes and columns that the segment did not know before this block.
    var newShapes = RawBytes()
    var newColumns = RawBytes()
    var firstShape = 0
    /// By number; memory of their own, so that adding a value costs no check of who else holds the list.
    private var columnValues = UnsafeMutablePointer<ColumnValues>.allocate(capacity: ColumnTables.columnsMax)
    private(set) var columnCount = 0
    private(set) var rowCount = 0
    /// Bytes of the events as they came.
    private(set) var rawBytes = 0
    /// What rows say about who is who; not written.
    var identity = IdentityRows()
    var requests: [PendingRequest] = []
    var shard: UInt16 = 0
    private var marks: [(count: Int, main: Int, fractions: Int)] = []
    private var mark = (rows: 0, exceptions: 0, touches: 0, raw: 0, idTexts: 0)

    func deallocate() {
        for part in [
            shapes, times, keys, outcomes, flags, types, exceptions, touches, idPlaces, idTexts, newShapes, newColumns,
        ] {
            part.deallocate()
        }
        for index in 0..<columnCount { columnValues[index].deallocate() }
        columnValues.deallocate()
    }

    var isEmpty: Bool { requests.isEmpty }
    var touchCount: Int { touches.count / TouchLayout.byteCount }

    /// Makes the buffer ready for another block.
    mutating func reset() {
        shapes.reset(keeping: Self.keptBytes)
        times.reset(keeping: Self.keptBytes)
        keys.reset(keeping: Self.keptBytes)
        outcomes.reset(keeping: Self.keptBytes)
        flags.reset(keeping: Self.keptBytes)
        types.reset(keeping: Self.keptBytes)
        exceptions.reset(keeping: Self.keptBytes)
        touches.reset(keeping: Self.keptBytes)
        idPlaces.reset(keeping: Self.keptBytes)
        idTexts.reset(keeping: Self.keptBytes)
        newShapes.reset(keeping: Self.keptBytes)
        newColumns.reset(keeping: Self.keptBytes)
        for index in 0..<columnCount { columnValues[index].reset() }
        requests.removeAll(keepingCapacity: true)
        (rowCount, rawBytes, firstShape) = (0, 0, 0)
        identity.reset()
    }

    /// Remembers this place, to take a request back to it.
    mutating func setMark() {
        mark = (rowCount, exceptions.count, touches.count, rawBytes, idTexts.count)
        marks.removeAll(keepingCapacity: true)
        for index in 0..<columnCount {
            let column = columnValues + index
            marks.append((column.pointee.count, column.pointee.main.count, column.pointee.fractions.count))
        }
    }

    /// Takes back every row since the mark. Texts that became known stay known.
    mutating func takeBack() {
        rowCount = mark.rows
        rawBytes = mark.raw
        shapes.truncate(to: rowCount * 2)
        times.truncate(to: rowCount * 8)
        keys.truncate(to: rowCount * 16)
        outcomes.truncate(to: rowCount)
        flags.truncate(to: rowCount)
        types.truncate(to: rowCount)
        idPlaces.truncate(to: rowCount * 4)
        idTexts.truncate(to: mark.idTexts)
        exceptions.truncate(to: mark.exceptions)
        touches.truncate(to: mark.touches)
        for index in 0..<columnCount {
            let place = index < marks.count ? marks[index] : (0, 0, 0)
            columnValues[index].count = place.0
            columnValues[index].main.truncate(to: place.1)
            columnValues[index].fractions.truncate(to: place.2)
        }
        identity.takeBack(to: mark.rows)
    }

    /// Adds what every row has.
    @inline(__always)
    mutating func append(_ row: Row, shape: UInt16, byteCount: Int, id: UInt32) {
        shapes.push(shape)
        idPlaces.push(id)
        times.push(row.time)
        keys.push(row.id.high, row.id.low)
        outcomes.push(row.outcome.rawValue)
        flags.push(row.flags)
        types.push(row.type)
        if row.outcome == .quarantined {
            exceptions.append(UInt32(truncatingIfNeeded: rowCount))
            exceptions.append(row.reason.rawValue)
            exceptions.append(row.field.rawValue)
            exceptions.append(UInt16(0))
        }
        rowCount &+= 1
        rawBytes &+= byteCount
    }

    /// Keeps the text of an id that stands in no column of its own.
    mutating func keepID(_ text: UnsafePointer<UInt8>, _ count: Int) -> UInt32 {
        let place = UInt32(truncatingIfNeeded: idTexts.count)
        idTexts.append(UInt16(truncatingIfNeeded: count))
        idTexts.append(text, count)
        return place
    }

    /// The place of an id that was just added to a column.
    @inline(__always)
    mutating func placeID(_ column: Int, isUUID: Bool) -> UInt32 {
        let place = UInt32(truncatingIfNeeded: columnValues[column].count &- 1)
        if isUUID { idColumns.uuid = column } else { idColumns.hex = column }
        return place | (isUUID ? IDPlace.uuid : IDPlace.hex)
    }

    /// Whether the id of the last row has a place.
    var hasLastID: Bool {
        idPlaces.base.loadUnaligned(fromByteOffset: (rowCount - 1) * 4, as: UInt32.self) != IDPlace.none
    }

    func placeLastID(_ place: UInt32) {
        idPlaces.base.storeBytes(of: place, toByteOffset: (rowCount - 1) * 4, as: UInt32.self)
    }

    /// The id of a row as it was sent; nil when it has none.
    func identifier(_ row: Int) -> String? {
        let place = idPlaces.base.loadUnaligned(fromByteOffset: row * 4, as: UInt32.self)
        guard place != IDPlace.none else { return nil }
        let isUUID = place & IDPlace.uuid != 0
        if isUUID || place & IDPlace.hex != 0 {
            let column = columnValues[isUUID ? idColumns.uuid : idColumns.hex]
            let words = column.main.base + Int(place & IDPlace.none) * 16
            var text: [UInt8] = []
            HoleText.append(
                words.loadUnaligned(as: UInt64.self), words.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
                hyphens: isUUID, to: &text)
            return String(decoding: text, as: UTF8.self)
        }
        let start = idTexts.base + Int(place)
        let count = Int(start.loadUnaligned(as: UInt16.self))
        return String(decoding: UnsafeRawBufferPointer(start: start + 2, count: count), as: UTF8.self)
    }

    /// The request that brought a row.
    func request(of row: Int) -> PendingRequest? {
        var (low, high) = (0, requests.count)
        while low < high {
            let middle = (low + high) / 2
            if requests[middle].firstRow + requests[middle].rowCount <= row { low = middle + 1 } else { high = middle }
        }
        guard low < requests.count, requests[low].firstRow <= row else { return nil }
        return requests[low]
    }

    /// Reason and field of a quarantined row.
    func exception(_ row: Int) -> (QuarantineReason, EventField) {
        // They stand in the order of the rows.
        var (low, high) = (0, exceptions.count / 8)
        while low < high {
            let middle = (low + high) / 2
            let place = exceptions.base + middle * 8
            let found = Int(place.loadUnaligned(as: UInt32.self))
            if found < row {
                low = middle + 1
                continue
            }
            if found > row {
                high = middle
                continue
            }
            return (
                QuarantineReason(rawValue: place.load(fromByteOffset: 4, as: UInt8.self)) ?? .none,
                EventField(rawValue: place.load(fromByteOffset: 5, as: UInt8.self)) ?? .event
            )
        }
        return (.none, .event)
    }

    /// Room for values of the columns below `count`.
    @inline(__always)
    mutating func reserveColumns(_ count: Int) {
        while columnCount < count {
            (columnValues + columnCount).initialize(to: ColumnValues())
            columnCount += 1
        }
    }

    /// The values of a column below `columnCount`; valid until the block is freed.
    @inline(__always)
    func column(_ index: Int) -> UnsafeMutablePointer<ColumnValues> { columnValues + index }

    /// Adds the identifiers of a touchpoint candidate for the row added next.
    mutating func appendTouch(
        kind: UInt8, trace: UInt64, anonymous: UInt64, user: UInt64, device: UInt64, click: UInt64
    ) {
        touches.append(UInt32(truncatingIfNeeded: rowCount))
        touches.append(UInt32(kind))
        for word in [trace, anonymous, user, device, click] { touches.append(word) }
    }

    // MARK: what the writer thread reads

    @inline(__always)
    func key(_ row: Int) -> (high: UInt64, low: UInt64) {
        let place = keys.base + row &* 16
        return (
            place.loadUnaligned(as: UInt64.self), place.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        )
    }

    @inline(__always)
    func time(_ row: Int) -> Int64 { times.base.loadUnaligned(fromByteOffset: row &* 8, as: Int64.self) }

    @inline(__always)
    func outcome(_ row: Int) -> UInt8 { outcomes.base.load(fromByteOffset: row, as: UInt8.self) }

    @inline(__always)
    mutating func setOutcome(_ row: Int, _ outcome: EventOutcome) {
        outcomes.base.storeBytes(of: outcome.rawValue, toByteOffset: row, as: UInt8.self)
    }

    /// Marks an accepted row whose id was given by its sender; false for any other.
    mutating func markUnverified(_ row: Int) -> Bool {
        guard hasSettledID(row) else { return false }
        flags.base.storeBytes(of: flags(row) | Flag.unverified, toByteOffset: row, as: UInt8.self)
        return true
    }

    /// Whether a second copy of the row would be a duplicate.
    @inline(__always)
    func hasSettledID(_ row: Int) -> Bool {
        outcome(row) != EventOutcome.quarantined.rawValue && flags(row) & Flag.serverID == 0
    }

    /// The same of every row at once.
    var haveAllSettledIDs: Bool {
        var all: UInt8 = 0
        for row in 0..<rowCount { all |= flags(row) }
        return exceptions.count == 0 && all & Flag.serverID == 0
    }

    @inline(__always)
    func flags(_ row: Int) -> UInt8 { flags.base.load(fromByteOffset: row, as: UInt8.self) }

    @inline(__always)
    func type(_ row: Int) -> UInt8 { types.base.load(fromByteOffset: row, as: UInt8.self) }

    @inline(__always)
    func shape(_ row: Int) -> UInt16 { shapes.base.loadUnaligned(fromByteOffset: row &* 2, as: UInt16.self) }
}
