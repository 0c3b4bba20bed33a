internal import AurumCore
internal import Events
internal import Synchronization

/// Seeded events of two organisations, several apps, all outcomes and many months, as blocks in segments.
struct QueryEvents {
    struct Row {
        var time: Int64
        /// When its request came in.
        var received: Int64
        var outcome: EventOutcome
        var org: String
        var app: String
        var format: String
        var position: LogPosition
        /// nil for quarantined rows.
        var event: StoredEvent?
        var document: JSONValue
    }

    var rows: [Row] = []
    var segments: [ColumnSegment] = []
    private(set) var reads = ReadCount()

    /// How many blocks were read.
    final class ReadCount: Sendable {
        private let count = Mutex(0)
        func add() { count.withLock { $0 += 1 } }
        var value: Int { count.withLock { $0 } }
    }

    static func personKey(_ org: String, _ identifier: PersonIdentifier) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in "\(org)|\(identifier.namespace.rawValue)|\(identifier.value)".utf8 {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
        }
        return hash
    }

    /// An event to change members of: only the log makes events.
    static func template() async throws -> StoredEvent {
        let log = try openEvents(VolatileLogStorage())
        _ = try await log.send(trackLine())
        let event = try await log.store.events(EventFilter(org: "acme")).first
        await log.close()
        guard let event else { throw CaptureError.overloaded }
        return event
    }

    /// - Parameters:
    ///   - segmentSizes: blocks of each segment; the last one is open.
    ///   - rowsMax: rows of a block at most.
    static func make(_ random: inout SeededRandom, segmentSizes: [Int], rowsMax: Int) async throws -> QueryEvents {
        let template = try await template()
        var made = QueryEvents()
        for (number, blockCount) in segmentSizes.enumerated() {
            var blocks: [any ColumnBlock] = []
            var summaries: [BlockSummary] = []
            for block in 0..<blockCount {
                let from = made.rows.count
                let requests = made.addBlock(&random, template, number, block, 1 + random.below(rowsMax))
                let rows = Array(made.rows[from...])
                let list = EventListBlock(
                    rows.map(\.event),
                    rows: rows.map { .init(position: $0.position, time: $0.time, outcome: $0.outcome) },
                    requests: requests, personKey: personKey)
                blocks.append(RememberingBlock(list))
                var sources: [CaptureSource] = []
                for request in requests { sources.append(CaptureSource(org: request.org, app: request.app)) }
                summaries.append(
                    BlockSummary(
                        rowCount: list.rowCount, earliest: list.earliest, latest: list.latest, sources: sources))
            }
            let (all, reads) = (blocks, made.reads)
            made.segments.append(
                ColumnSegment(
                    identity: UInt64(number + 1), isSealed: number < segmentSizes.count - 1, blocks: summaries,
                    read: {
                        reads.add()
                        return all[$0]
                    }))
        }
        return made
    }

    private mutating func addBlock(
        _ random: inout SeededRandom, _ template: StoredEvent, _ segment: Int, _ block: Int, _ count: Int
    ) -> [RequestSpan] {
        var requests: [RequestSpan] = []
        var row = 0
        while row < count {
            let size = min(count - row, 1 + random.below(40))
            let span = RequestSpan(
                org: random.chance(4) ? "rival" : "acme", app: random.pick(["shop", "blog", "app"]),
                format: random.pick(["native", "segment"]), receivedAt: testNow.microseconds + Int64(row),
                firstRow: row,
                rowCount: size)
            requests.append(span)
            for index in row..<row + size { add(&random, template, span, segment, block, index) }
            row += size
        }
        return requests
    }

    private mutating func add(
        _ random: inout SeededRandom, _ template: StoredEvent, _ span: RequestSpan, _ segment: Int, _ block: Int,
        _ row: Int
    ) {
        var event = template
        event.position.segment = UInt32(segment + 1)
        event.position.offset = UInt32(block * 8)
        event.position.row = UInt32(row)
        (event.org, event.app, event.format) = (span.org, span.app, span.format)
        // Mostly around the two changes of the clocks in New York, some over the whole year before.
        let base: Int64 = random.chance(2) ? 1_762_000_000 : random.chance(2) ? 1_772_900_000 : 1_750_000_000
        event.at = Timestamp(
            microseconds: (base + Int64(random.below(600_000))) * 1_000_000 + Int64(random.below(1000)))
        event.outcome = random.pick([.stored, .stored, .stored, .late, .bot, .duplicate, .quarantined])
        fill(&event, &random)
        let isEvent = event.outcome != .quarantined
        rows.append(
            Row(
                time: event.at.microseconds, received: span.receivedAt, outcome: event.outcome, org: span.org,
                app: span.app, format: span.format, position: event.position, event: isEvent ? event : nil,
                document: isEvent ? event.json : .null))
    }

    private func fill(_ event: inout StoredEvent, _ random: inout SeededRandom) {
        event.type = random.pick([.page, .page, .track, .conversion, .click, .screen])
        event.name = random.pick(["Signed Up", "page", "purchase", "quote", "état"])
        event.userID = random.chance(2) ? "u\(random.below(30))" : nil
        event.anonymousID = random.chance(2) ? "a\(random.below(60))" : nil
        event.deviceID = random.chance(5) ? "d\(random.below(10))" : nil
        event.sessionID = random.chance(2) ? "s\(random.below(80))" : nil
        event.channel = random.pick([.direct, .paidSearch, .email, .referral])
        event.campaign.source = random.chance(2) ? random.pick(["google", "bing", "news"]) : nil
        event.campaign.id = random.chance(3) ? "\(random.below(5))" : nil
        event.url = random.chance(2) ? "https://shop.example/p/\(random.below(12))" : nil
        if random.chance(2) {
            event.value = Millionths(value: Int64(random.below(900_000_000)) - 100_000_000)
            event.currency = random.pick(["USD", "USD", "EUR", "JPY"])
        }
        if random.chance(3) { event.quantity = Int64(random.below(9)) }
        if random.chance(5) {
            event.props = nil
        } else {
            var props: [String: JSONValue] = ["plan": .string(random.pick(["free", "pro", "team"]))]
            if random.chance(2) { props["n"] = .integer(Int64(random.below(20)) - 5) }
            if random.chance(2) { props["ms"] = .number(Double(random.below(1_000_000)) / 64 + 0.5) }
            if random.chance(3) { props["mixed"] = random.chance(2) ? .string("7") : .integer(7) }
            if random.chance(3) { props["flag"] = .bool(random.chance(2)) }
            if random.chance(3) { props["deep"] = ["er": .string(random.pick(["x", "y"]))] }
            event.props = .object(props)
        }
        event.context = random.chance(2) ? ["os": .string(random.pick(["ios", "android"]))] : nil
        event.extra = random.chance(4) ? ["mine": .string(random.pick(["one", "two"]))] : [:]
    }
}

extension SeededRandom {
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }
    /// True once in `times`.
    mutating func chance(_ times: Int) -> Bool { below(times) == 0 }
    mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }
}

/// A block that keeps what it was asked once, since whole events are slow to turn into columns. Dictionaries keep their
/// numbers, as those of the log do.
final class RememberingBlock: ColumnBlock {
    private struct Memory {
        var texts: [ColumnName: TextColumn?] = [:]
        var numbers: [ColumnName: [Double]?] = [:]
        var persons: [String: PersonColumn] = [:]
    }

    private let block: EventListBlock
    private let memory = Mutex(Memory())

    init(_ block: EventListBlock) { self.block = block }

    var rowCount: Int { block.rowCount }
    var earliest: Int64 { block.earliest }
    var latest: Int64 { block.latest }
    var requests: [RequestSpan] { block.requests }
    func position(_ row: Int) -> LogPosition { block.position(row) }
    func times() -> [Int64] { block.times() }
    func outcomes() -> [UInt8] { block.outcomes() }
    func types() -> [UInt8] { block.types() }
    func values() -> [Int64]? { block.values() }
    func event(_ row: Int) -> StoredEvent? { block.event(row) }

    func text(_ column: ColumnName) -> TextColumn? {
        memory.withLock { memory in
            if let known = memory.texts[column] { return known }
            let made = block.text(column)
            memory.texts[column] = .some(made)
            return made
        }
    }

    func numbers(_ column: ColumnName) -> [Double]? {
        memory.withLock { memory in
            if let known = memory.numbers[column] { return known }
            let made = block.numbers(column)
            memory.numbers[column] = .some(made)
            return made
        }
    }

    func persons(org: String) -> PersonColumn {
        memory.withLock { memory in
            if let known = memory.persons[org] { return known }
            let made = block.persons(org: org)
            memory.persons[org] = made
            return made
        }
    }
}

/// What a condition means, in the plainest words.
struct NaiveCondition {
    let condition: EventCondition

    func holds(_ row: QueryEvents.Row) -> Bool { holds(condition, row) }

    private func holds(_ condition: EventCondition, _ row: QueryEvents.Row) -> Bool {
        switch condition {
        case .and(let parts): parts.allSatisfy { holds($0, row) }
        case .or(let parts): parts.contains { holds($0, row) }
        case .not(let part): !holds(part, row)
        case .compare(let column, .notEqual, let literal):
            !equals(row.text(column), row.number(column), column, literal)
        case .compare(let column, .equal, let literal): equals(row.text(column), row.number(column), column, literal)
        case .compare(let column, let comparison, .text(let bound)):
            row.text(column).map { ordered(Array($0.utf8), comparison, Array(bound.utf8)) } ?? false
        case .compare(let column, let comparison, .number(let bound)):
            row.number(column).map { number in
                switch comparison {
                case .less: number < bound
                case .lessOrEqual: number <= bound
                case .greater: number > bound
                case .greaterOrEqual: number >= bound
                case .equal: number == bound
                case .notEqual: number != bound
                }
            } ?? false
        case .isIn(let column, let literals):
            literals.contains { equals(row.text(column), row.number(column), column, $0) }
        case .contains(let column, let part): row.text(column).map { part.isEmpty || $0.contains(part) } ?? false
        case .startsWith(let column, let part): row.text(column)?.hasPrefix(part) ?? false
        case .exists(let column): row.text(column) != nil
        }
    }

    private func equals(_ text: String?, _ number: Double?, _ column: ColumnName, _ literal: QueryLiteral) -> Bool {
        switch literal {
        case .text(let wanted): text == wanted
        case .number(let wanted) where column.holdsText: text == JSONValue.number(wanted).canonical
        case .number(let wanted): number == wanted
        }
    }

    private func ordered(_ one: [UInt8], _ comparison: EventCondition.Comparison, _ other: [UInt8]) -> Bool {
        let isLess = one.lexicographicallyPrecedes(other)
        return switch comparison {
        case .less: isLess
        case .lessOrEqual: isLess || one == other
        case .greater: !isLess && one != other
        case .greaterOrEqual: !isLess
        case .equal: one == other
        case .notEqual: one != other
        }
    }
}

extension QueryEvents.Row {
    private func value(_ column: ColumnName) -> JSONValue? {
        var place: JSONValue? = document
        for name in column.path.split(separator: ".").map(String.init) { place = place?[name] }
        return place
    }

    func text(_ column: ColumnName) -> String? {
        switch column.path {
        case "org": return org
        case "app": return app
        case "outcome": return outcome.name
        case "source_format": return format
        default: break
        }
        return switch value(column) {
        case .string(let text)?: text
        case .integer(let number)?: String(number)
        case .number(let number)?: JSONValue.number(number).canonical
        case .bool(let truth)?: String(truth)
        default: nil
        }
    }

    func number(_ column: ColumnName) -> Double? {
        column.path == "value" ? event?.value.map { Double($0.value) / 1_000_000 } : value(column)?.double
    }
}

/// Conditions out of a seed: every kind of test on every kind of column.
struct RandomCondition {
    static let texts = [
        "type", "name", "channel", "app", "outcome", "source_format", "campaign.source", "campaign.id", "url",
        "user_id",
        "props.plan", "props.mixed", "props.flag", "props.deep.er", "context.os", "mine", "missing", "currency",
        "anonymous_id",
    ]
    static let words = [
        "page", "track", "Signed Up", "état", "paid_search", "email", "shop", "blog", "google", "free", "pro", "7",
        "true", "x", "ios", "one", "late", "native", "https://shop.example/p/1", "USD", "u7", "", "e",
    ]
    static let numbers = ["value", "quantity", "props.n", "props.ms", "props.mixed", "missing", "campaign.id"]

    static func make(_ random: inout SeededRandom, depth: Int = 3) -> EventCondition {
        if depth > 0, random.chance(2) {
            switch random.below(3) {
            case 0: return .not(make(&random, depth: depth - 1))
            case 1: return .and((0..<1 + random.below(3)).map { _ in make(&random, depth: depth - 1) })
            default: return .or((0..<1 + random.below(3)).map { _ in make(&random, depth: depth - 1) })
            }
        }
        let text = ColumnName(random.pick(texts))
        switch random.below(7) {
        case 0: return .contains(text, random.pick(words))
        case 1: return .startsWith(text, random.pick(words))
        case 2: return .exists(ColumnName(random.pick(texts + numbers)))
        case 3:
            return .isIn(
                ColumnName(random.pick(texts + numbers)),
                (0..<1 + random.below(4)).map { _ in literal(&random) })
        case 4:
            return .compare(text, random.pick(EventCondition.Comparison.allCases), .text(random.pick(words)))
        case 5: return .compare(text, .equal, .text(random.pick(words)))
        default:
            let column = ColumnName(random.pick(numbers))
            let comparison: EventCondition.Comparison =
                column.holdsText ? random.pick([.equal, .notEqual]) : random.pick(EventCondition.Comparison.allCases)
            return .compare(column, comparison, .number(number(&random)))
        }
    }

    private static func literal(_ random: inout SeededRandom) -> QueryLiteral {
        random.chance(2) ? .text(random.pick(words)) : .number(number(&random))
    }

    private static func number(_ random: inout SeededRandom) -> Double {
        random.chance(2) ? Double(random.below(10)) : Double(random.below(9000)) / 8
    }
}
