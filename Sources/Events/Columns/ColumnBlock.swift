/// A value of an event that a query can name, by its path: `name`, `url`, `campaign.source`, `context.os`,
/// `props.plan`.
///
/// Paths below `props`, `traits`, `context` and `extra` go as deep as the event does, with dots between names.
package struct ColumnName: Hashable, Sendable {
    package let path: String

    package init(_ path: String) { self.path = path }

    /// Names that are not the event's own text but follow from it or from its request.
    package static let type = ColumnName("type")
    package static let outcome = ColumnName("outcome")
    package static let channel = ColumnName("channel")
    package static let name = ColumnName("name")
    package static let currency = ColumnName("currency")
    /// The currency that the event itself states: not its request's.
    package static let statedCurrency = ColumnName("currency.stated")
}

/// The distinct texts of a column. Code 0 means that a row has no value; texts have the codes 1…`count`.
///
/// Codes never change: a dictionary of an open segment only grows. `id` is unique in the process, so that what was
/// worked out for a code can be kept by `id` and code.
package protocol TextDictionary: AnyObject, Sendable {
    var id: Int { get }
    var count: Int { get }
    /// The text of a code in 1…`count`, JSON escapes resolved.
    func text(_ code: UInt32) -> String
}

/// One code a row.
package struct TextColumn: Sendable {
    package var codes: [UInt32]
    package var dictionary: any TextDictionary

    package init(codes: [UInt32], dictionary: any TextDictionary) {
        self.codes = codes
        self.dictionary = dictionary
    }
}

/// The persons of the rows before any merge: one code a row, 0 for rows that name nobody. `keys[code]` is the 64-bit
/// keyed hash of the first of user, device, anonymous and click identifier inside the organisation.
package struct PersonColumn: Sendable {
    package var codes: [UInt32]
    package var keys: [UInt64]
    /// Unique in the process for one list of keys; the list only grows.
    package var id: Int

    package init(codes: [UInt32], keys: [UInt64], id: Int) {
        self.codes = codes
        self.keys = keys
        self.id = id
    }
}

/// The rows that one request brought: they stand together.
package struct RequestSpan: Sendable {
    package var org: String
    package var app: String
    package var format: String
    package var receivedAt: Int64
    package var firstRow: Int
    package var rowCount: Int
    /// As its receipt names it; nil for rows of no log.
    package var name: ReplayedRows.Request?

    package init(org: String, app: String, format: String, receivedAt: Int64, firstRow: Int, rowCount: Int) {
        (self.org, self.app, self.format) = (org, app, format)
        (self.receivedAt, self.firstRow, self.rowCount) = (receivedAt, firstRow, rowCount)
    }
}

/// The events of one block as columns, each read when it is asked for. Every list has `rowCount` elements, in the order
/// of the log. Duplicates and quarantined rows are there too: look at `outcomes` first.
package protocol ColumnBlock: AnyObject, Sendable {
    var rowCount: Int { get }
    /// Earliest and latest time of the rows, microseconds since 1970.
    var earliest: Int64 { get }
    var latest: Int64 { get }
    var requests: [RequestSpan] { get }
    /// Where the row stands in the log.
    func position(_ row: Int) -> LogPosition
    /// When each event happened by our clock, microseconds since 1970.
    func times() throws -> [Int64]
    /// `EventOutcome` of each row.
    func outcomes() throws -> [UInt8]
    /// `EventType` of each row; 0 for quarantined rows.
    func types() throws -> [UInt8]
    /// The text of a field; numbers and truth values as JSON writes them. nil when no row has it.
    func text(_ column: ColumnName) throws -> TextColumn?
    /// A field as numbers, NaN where a row has none. nil when no row has one.
    func numbers(_ column: ColumnName) throws -> [Double]?
    /// `value` in millionths of the currency's unit, `Int64.min` where a row has none. nil when no row has one.
    func values() throws -> [Int64]?
    func persons(org: String) throws -> PersonColumn
    /// The whole event, or nil for a quarantined row that is none.
    func event(_ row: Int) throws -> StoredEvent?
}

/// What is known of a block without reading it.
package struct BlockSummary: Sendable {
    package var rowCount: Int
    package var earliest: Int64
    package var latest: Int64
    /// Organisation and app of its requests, each pair once.
    package var sources: [CaptureSource]

    package init(rowCount: Int, earliest: Int64, latest: Int64, sources: [CaptureSource]) {
        (self.rowCount, self.earliest, self.latest, self.sources) = (rowCount, earliest, latest, sources)
    }
}

/// One segment as a query sees it: a snapshot of what was durable when it was taken.
package struct ColumnSegment: Sendable {
    /// Changes whenever what the number stands for changes: answers over a sealed segment may be kept by it.
    package var identity: UInt64
    /// Nothing will be added any more.
    package var isSealed: Bool
    package var blocks: [BlockSummary]
    /// The block at an index of `blocks`; nil when it is damaged.
    package var read: @Sendable (Int) throws -> (any ColumnBlock)?
    /// The last row in the order of the log, where the blocks do not stand in it.
    package var newest: LogPosition?
    /// The same rows, as far as a filter may select them, in the order of the log; nil where they are.
    package var inLogOrder: (@Sendable (RowFilter) throws -> ColumnSegment)?

    package init(
        identity: UInt64, isSealed: Bool, blocks: [BlockSummary],
        read: @escaping @Sendable (Int) throws -> (any ColumnBlock)?
    ) {
        (self.identity, self.isSealed, self.blocks, self.read) = (identity, isSealed, blocks, read)
    }
}

/// Where queries read: everything acknowledged before the call, oldest segment first.
package protocol ColumnSource: Sendable {
    func segments() throws -> [ColumnSegment]
}

extension ColumnBlock {
    /// What `body` answers, or nil when what it reads of this block is damaged; other errors go on.
    package func readable<Value>(_ body: () throws -> Value) throws -> Value? { try BlockView.readable { try body() } }
}
