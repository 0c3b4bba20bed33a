internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Synchronization
internal import Telemetry
internal import TestSupport
internal import Testing

/// Answers of the query engine against a plain evaluation of the same events.
struct QueryEngineTests {
    /// A log that grows between queries.
    final class GrowingSource: ColumnSource {
        private let all: [ColumnSegment]
        private let shown = Mutex(Int.max)

        init(_ all: [ColumnSegment]) { self.all = all }

        /// Only the first `blocks` blocks of all are there.
        func show(blocks: Int) { shown.withLock { $0 = blocks } }

        func segments() -> [ColumnSegment] {
            var left = shown.withLock { $0 }
            var segments: [ColumnSegment] = []
            for segment in all where left > 0 {
                let count = min(left, segment.blocks.count)
                segments.append(
                    ColumnSegment(
                        identity: segment.identity, isSealed: segment.isSealed && count == segment.blocks.count,
                        blocks: Array(segment.blocks.prefix(count)), read: segment.read))
                left -= count
            }
            return segments
        }

        /// Whether a row stands in what is shown.
        func shows(_ row: QueryEvents.Row) -> Bool {
            segments().contains {
                $0.identity == UInt64(row.position.segment) && Int(row.position.offset) / 8 < $0.blocks.count
            }
        }
    }

    /// A quarter of all keys are one person.
    struct SomeMerged: PersonResolver {
        var version: Int { 7 }
        func person(_ key: UInt64) -> UInt64 { key % 4 == 1 ? 42 : key }
    }

    static func engine(
        _ source: any ColumnSource, resolver: any PersonResolver = UnmergedPersons(),
        registry: MetricRegistry = MetricRegistry(), change: (inout QueryLimits) -> Void = { _ in },
        replayed: @escaping @Sendable (String) async throws -> ReplayedRows = { _ in .none }
    ) -> QueryEngine {
        var limits = QueryLimits()
        limits.threads = 3
        change(&limits)
        return QueryEngine(
            source: source, persons: { _ in resolver }, replayed: replayed, limits: limits, registry: registry,
            clock: ManualWallClock(testNow),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test func `generated queries equal a naive evaluation, with and without kept partial answers`() async throws {
        let seed: UInt64 = 0x5eed_0002
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        let events = try await QueryEvents.make(&random, segmentSizes: [3, 4, 1, 5, 4], rowsMax: 90)
        let source = GrowingSource(events.segments)
        let total = events.segments.reduce(0) { $0 + $1.blocks.count }
        for round in 0..<soakCount(1000) {
            let query = RandomQuery.make(&random)
            let org = random.pick(["acme", "acme", "rival"])
            let isMerged = random.chance(2)
            let resolver: any PersonResolver = isMerged ? SomeMerged() : UnmergedPersons()
            let keeping = Self.engine(source, resolver: resolver)
            let plain = Self.engine(source, resolver: resolver) { $0.keptBytesMax = 0 }
            var narrower = query
            narrower.from = Timestamp(microseconds: 1_762_100_000_000_000)
            narrower.to = nil
            source.show(blocks: random.below(total))
            _ = try await keeping.answer(random.chance(2) ? narrower : query, org: org)
            for shown in [random.below(total), total, total] {
                source.show(blocks: shown)
                let naive = NaiveQuery(query: query, org: org, person: { resolver.person($0) })
                let cells = naive.cells(events.rows.filter { source.shows($0) })
                for engine in [keeping, plain] {
                    let answer = try await engine.answer(query, org: org)
                    let problem = Self.difference(answer, cells, query)
                    #expect(problem == nil, "seed \(seed), round \(round): \(problem ?? "") in \(query)")
                    if problem != nil { return }
                }
            }
        }
    }

    /// What is wrong with an answer; nil when nothing is.
    static func difference(
        _ answer: QueryAnswer, _ cells: [[String?]: NaiveQuery.Cell], _ query: EventQuery
    ) -> String? {
        guard answer.groupCount == cells.count else { return "\(answer.groupCount) groups for \(cells.count)" }
        guard answer.rows.count == min(cells.count, query.limit) else { return "\(answer.rows.count) rows" }
        let keyCount = query.groupBy.count + (query.bucket == nil ? 0 : 1)
        for row in answer.rows {
            let key = row.prefix(keyCount).map { value -> String? in
                if case .text(let text) = value { text } else { nil }
            }
            guard let cell = cells[Array(key)] else { return "a group that is not there: \(key)" }
            for (measure, value) in zip(query.measures, row.dropFirst(keyCount)) where !cell.fits(value, measure.kind) {
                return "\(measure.name) of \(key) is \(value)"
            }
        }
        return nil
    }

    @Test func `rows come in the order asked for, and a limit cuts them`() async throws {
        var random = SeededRandom(seed: 11)
        let events = try await QueryEvents.make(&random, segmentSizes: [2, 2], rowsMax: 200)
        let engine = Self.engine(GrowingSource(events.segments))
        var query = EventQuery()
        query.groupBy = [ColumnName("campaign.source"), ColumnName("channel")]
        query.measures = [QueryMeasure(.count), QueryMeasure(.sum(.value), label: "money")]
        query.order = [QueryOrder("campaign.source", isDescending: true), QueryOrder("count")]
        let answer = try await engine.answer(query, org: "acme")
        let rows = answer.rows.map { row -> (String?, Int64) in
            guard case .integer(let count) = row[2] else { return (nil, -1) }
            if case .text(let text) = row[0] { return (text, count) }
            return (nil, count)
        }
        for (one, other) in zip(rows, rows.dropFirst()) {
            if one.0 == other.0 { #expect(one.1 <= other.1) }
            if let left = one.0, let right = other.0 { #expect(left >= right) }
            #expect(!(one.0 == nil && other.0 != nil), "rows without a value come last")
        }
        query.limit = 3
        let cut = try await engine.answer(query, org: "acme")
        #expect(cut.rows == Array(answer.rows.prefix(3)) && cut.isTruncated && cut.groupCount == answer.groupCount)
        query.bucket = .day
        query.order = []
        query.limit = 10_000
        let days = try await engine.answer(query, org: "acme").rows.map { row -> String in
            if case .text(let text) = row[0] { text } else { "" }
        }
        #expect(days == days.sorted())
    }

    @Test func `a repeated query reads only blocks that it has not read before`() async throws {
        var random = SeededRandom(seed: 5)
        let events = try await QueryEvents.make(&random, segmentSizes: [4, 4, 4], rowsMax: 60)
        let source = GrowingSource(events.segments)
        source.show(blocks: 10)
        let engine = Self.engine(source)
        var query = EventQuery()
        query.groupBy = [ColumnName("channel")]
        query.measures = [QueryMeasure(.count), QueryMeasure(.unique(.person))]
        let first = try await engine.answer(query, org: "acme")
        #expect(first.rowsScanned > 0 && first.rowsKept == 0)
        let again = try await engine.answer(query, org: "acme")
        #expect(again.rowsScanned == 0 && again.rowsKept == first.rowsScanned && again.rows == first.rows)
        source.show(blocks: 12)
        let grown = try await engine.answer(query, org: "acme")
        #expect(grown.rowsKept == first.rowsScanned && grown.rowsScanned > 0)
        // Blocks that only others wrote are not even opened.
        let mine = events.segments.flatMap(\.blocks).filter { $0.sources.contains { $0.org == "acme" } }
        #expect(grown.rowsScanned + grown.rowsKept == mine.reduce(0) { $0 + $1.rowCount })
        let reads = events.reads.value
        _ = try await engine.answer(query, org: "acme")
        #expect(events.reads.value == reads + 1, "only the newest block, for its position")
    }

    @Test func `blocks that a range cuts are kept for the same range, and for no other`() async throws {
        var random = SeededRandom(seed: 11)
        let events = try await QueryEvents.make(&random, segmentSizes: [3, 3, 3], rowsMax: 60)
        let source = GrowingSource(events.segments)
        source.show(blocks: 7)
        let (kept, plain) = (Self.engine(source), Self.engine(source) { $0.keptBytesMax = 0 })
        let times = events.rows.map(\.time).sorted()
        var query = EventQuery()
        query.bucket = .day
        query.measures = [QueryMeasure(.count), QueryMeasure(.unique(.person))]
        for (low, high) in [(4, 3), (3, 3), (5, 9)] {
            query.from = Timestamp(microseconds: times[times.count / low])
            query.to = Timestamp(microseconds: times[times.count - times.count / high])
            let first = try await kept.answer(query, org: "acme")
            #expect(first.rowsScanned > 0, "other ends cut other rows of the same blocks")
            let unkept = try await plain.answer(query, org: "acme")
            #expect(first.rows == unkept.rows)
            let again = try await kept.answer(query, org: "acme")
            #expect(again.rowsScanned == 0 && again.rows == first.rows)
        }
        source.show(blocks: 9)
        let grown = try await kept.answer(query, org: "acme")
        let unkept = try await plain.answer(query, org: "acme")
        #expect(grown.rowsKept > 0 && grown.rows == unkept.rows)
    }

    @Test func `a query that ran out of time goes on where it ended`() async throws {
        var random = SeededRandom(seed: 12)
        let events = try await QueryEvents.make(&random, segmentSizes: [6, 6], rowsMax: 60)
        let left = Mutex(0)
        let slow = events.segments.map { segment in
            ColumnSegment(
                identity: segment.identity, isSealed: segment.isSealed, blocks: segment.blocks,
                read: { index in
                    let isLate = left.withLock { left in
                        left -= 1
                        return left < 0
                    }
                    if isLate { throw QueryError.timeout(rowsScanned: 0) }
                    return try segment.read(index)
                })
        }
        let engine = Self.engine(GrowingSource(slow)) { $0.threads = 2 }
        var query = EventQuery()
        query.groupBy = [ColumnName("channel")]
        query.measures = [QueryMeasure(.count), QueryMeasure(.unique(.person))]
        let whole = try await Self.engine(GrowingSource(events.segments)).answer(query, org: "acme")
        var attempts = 0
        var answer: QueryAnswer?
        while answer == nil {
            attempts += 1
            // Five blocks of twelve, and one for the newest position.
            left.withLock { $0 = 5 }
            answer = try? await engine.answer(query, org: "acme")
            try #require(attempts < 12, "no progress")
        }
        #expect(attempts > 1 && answer?.rows == whole.rows)
        #expect((answer?.rowsKept ?? 0) + (answer?.rowsScanned ?? 0) == whole.rowsScanned)
    }

    @Test func `distinct counts become estimates at the memory bound, and the answer says so`() async throws {
        let block = PersonsBlock(count: 60_000)
        let source = GrowingSource([block.segment])
        var query = EventQuery()
        query.measures = [QueryMeasure(.unique(.person))]
        let exact = try await Self.engine(source).answer(query, org: "acme")
        #expect(exact.rows == [[.integer(60_000)]] && !exact.isApproximate)
        let engine = Self.engine(source) { $0.memoryBytesMax = 256 << 10 }
        for _ in 0..<2 {
            let estimate = try await engine.answer(query, org: "acme")
            guard case .integer(let count) = estimate.rows[0][0] else { throw CaptureError.overloaded }
            #expect(estimate.isApproximate && abs(count - 60_000) < 60_000 / 25, "\(count)")
        }
        await #expect(throws: QueryError.tooLarge("more memory than a query may have")) {
            try await Self.engine(source) { $0.memoryBytesMax = 8 << 10 }.answer(query, org: "acme")
        }
    }

    /// 20,000 persons of three keys each.
    private struct ManyMerged: PersonResolver {
        var version: Int { 7 }
        func person(_ key: UInt64) -> UInt64 { key % 20_000 }
    }

    @Test func `an estimate counts persons after merges, also those whose keys come after it was begun`() async throws {
        let blocks = (1...30).map { PersonsBlock(count: 2000, seed: UInt64($0)) }
        var segment = blocks[0].segment
        segment.blocks = blocks.flatMap(\.segment.blocks)
        segment.read = { blocks[$0] }
        var query = EventQuery()
        query.measures = [QueryMeasure(.unique(.person))]
        let keys = blocks.flatMap { $0.persons(org: "acme").keys.dropFirst() }
        let persons = Set(keys.map(ManyMerged().person)).count
        let exact = try await Self.engine(GrowingSource([segment]), resolver: ManyMerged()).answer(query, org: "acme")
        #expect(exact.rows == [[.integer(Int64(persons))]] && !exact.isApproximate)
        let engine = Self.engine(GrowingSource([segment]), resolver: ManyMerged()) {
            $0.memoryBytesMax = 256 << 10
            $0.threads = 1
        }
        let estimate = try await engine.answer(query, org: "acme")
        guard case .integer(let count) = estimate.rows[0][0] else { throw CaptureError.overloaded }
        #expect(estimate.isApproximate && abs(Int(count) - persons) < persons / 25, "\(count) for \(persons)")
    }

    @Test func `persons that no two segments share are counted in a time that grows with them`() async throws {
        let segments = (1...3).map { PersonsBlock(count: 400_000, seed: $0).segment }
        var query = EventQuery()
        query.measures = [QueryMeasure(.unique(.person))]
        // Searches that walked over all the keys before theirs would take minutes.
        let answer = try await Self.engine(GrowingSource(segments)).answer(query, org: "acme")
        #expect(answer.rows == [[.integer(1_200_000)]] && !answer.isApproximate)
    }

    @Test func `a query past its deadline or its groups is refused, and counted`() async throws {
        var random = SeededRandom(seed: 6)
        let events = try await QueryEvents.make(&random, segmentSizes: [2], rowsMax: 60)
        let registry = MetricRegistry()
        let source = GrowingSource(events.segments)
        await #expect(throws: QueryError.timeout(rowsScanned: 0)) {
            try await Self.engine(source, registry: registry) { $0.duration = .zero }.answer(EventQuery(), org: "acme")
        }
        var query = EventQuery()
        query.groupBy = [ColumnName("url"), ColumnName("channel")]
        await #expect(throws: QueryError.tooLarge("more than 5 groups")) {
            try await Self.engine(source, registry: registry) { $0.groupsMax = 5 }.answer(query, org: "acme")
        }
        let text = registry.prometheusText()
        #expect(text.contains("aurum_query_refused_total{reason=\"query_timeout\"} 1"))
        #expect(text.contains("aurum_query_refused_total{reason=\"query_too_large\"} 1"))
        #expect(text.contains("aurum_query_seconds_count{kind=\"aggregate\"} 2"))
    }

    /// Holds every query until it is told to go on.
    final class HeldSource: ColumnSource {
        let entered = DispatchSemaphore(value: 0)
        let goOn = DispatchSemaphore(value: 0)

        func segments() -> [ColumnSegment] {
            entered.signal()
            goOn.wait()
            return []
        }

        func waitForEntries(_ count: Int) async {
            await withCheckedContinuation { continuation in
                DispatchQueue.global().async {
                    for _ in 0..<count { self.entered.wait() }
                    continuation.resume()
                }
            }
        }
    }

    @Test func `a fifth query of one organisation at once is refused, another organisation's is not`() async throws {
        let source = HeldSource()
        let engine = Self.engine(source)
        let four = (0..<4).map { _ in Task { try await engine.answer(EventQuery(), org: "acme") } }
        await source.waitForEntries(4)
        await #expect(throws: QueryError.busy(limit: 4)) { try await engine.answer(EventQuery(), org: "acme") }
        let other = Task { try await engine.answer(EventQuery(), org: "rival") }
        await source.waitForEntries(1)
        for _ in 0..<5 { source.goOn.signal() }
        for task in four + [other] { #expect(try await task.value.rows == [[.integer(0)]]) }
        source.goOn.signal()
        #expect(try await engine.answer(EventQuery(), org: "acme").rows.count == 1)
    }

    @Test func `a real log answers the same as its events, and an organisation sees its own only`() async throws {
        let log = try openEvents(VolatileLogStorage())
        _ = try await EventStoreConformance.fill(log)
        let engine = Self.engine(log.store)
        var query = EventQuery()
        query.measures = [QueryMeasure(.count), QueryMeasure(.sum(.value)), QueryMeasure(.unique(.person))]
        query.groupBy = [ColumnName("channel")]
        var filter = EventFilter(org: "acme")
        filter.limit = 100
        let stored = try await log.store.events(filter)
        let expected = Dictionary(grouping: stored, by: \.channel.rawValue).mapValues { Int64($0.count) }
        let answer = try await engine.answer(query, org: "acme")
        var found: [String: Int64] = [:]
        for row in answer.rows {
            if case .text(let name) = row[0], case .integer(let count) = row[1] { found[name] = count }
        }
        #expect(found == expected)
        #expect(answer.position == stored.map(\.position).max().map { max($0, answer.position ?? $0) })
        query.groupBy = []
        #expect(try await engine.answer(query, org: "rival").rows[0][0] == .integer(1))
        #expect(try await engine.answer(query, org: "nobody").rows[0] == [.integer(0), .money([]), .integer(0)])
        await log.close()
    }

    @Test func `text that a spreadsheet would run is escaped, and money has a column a currency`() async throws {
        var event = try await QueryEvents.template()
        var rows: [(StoredEvent, EventListBlock.Row)] = []
        for (index, text) in ["=1+1", "+x", "-x", "@x", "plain", "a,\"b\"", "\tx"].enumerated() {
            event.url = text
            event.value = Millionths(value: Int64(index) * 500_000 - 500_000)
            event.currency = index % 2 == 0 ? "EUR" : "USD"
            rows.append(
                (
                    event,
                    EventListBlock.Row(position: event.position, time: event.at.microseconds, outcome: .stored)
                ))
        }
        let span = RequestSpan(org: "acme", app: "shop", format: "native", receivedAt: 0, firstRow: 0, rowCount: 7)
        let block = EventListBlock(
            rows.map(\.0), rows: rows.map(\.1), requests: [span], personKey: QueryEvents.personKey)
        let summary = BlockSummary(
            rowCount: 7, earliest: block.earliest, latest: block.latest,
            sources: [CaptureSource(org: "acme", app: "shop")])
        let engine = Self.engine(
            GrowingSource([ColumnSegment(identity: 1, isSealed: true, blocks: [summary], read: { _ in block })]))
        var query = EventQuery()
        query.groupBy = [ColumnName("url")]
        query.measures = [QueryMeasure(.sum(.value))]
        query.order = [QueryOrder("url")]
        let csv = try await engine.answer(query, org: "acme").csv.components(separatedBy: "\r\n")
        #expect(csv[0] == "url,sum(value) EUR,sum(value) USD")
        #expect(csv.contains("'=1+1,-0.5,") && csv.contains("'+x,,0") && csv.contains("'-x,0.5,"))
        #expect(csv.contains("'@x,,1") && csv.contains("plain,1.5,") && csv.contains("\"a,\"\"b\"\"\",,2"))
        #expect(csv.contains("'\tx,2.5,"))
    }
}

/// A block of nothing but persons, each once.
private final class PersonsBlock: ColumnBlock {
    let rowCount: Int
    let earliest: Int64 = 0
    let latest: Int64 = 0
    let requests: [RequestSpan]
    private let column: PersonColumn
    private let identity: UInt64

    init(count: Int, seed: UInt64 = 1) {
        (rowCount, identity) = (count, seed)
        requests = [
            RequestSpan(org: "acme", app: "shop", format: "native", receivedAt: 0, firstRow: 0, rowCount: count)
        ]
        var random = SeededRandom(seed: seed)
        column = PersonColumn(
            codes: (1...UInt32(count)).map { $0 }, keys: [0] + (0..<count).map { _ in random.next() },
            id: DictionaryNumber.next())
    }

    var segment: ColumnSegment {
        let summary = BlockSummary(
            rowCount: rowCount, earliest: 0, latest: 0, sources: [CaptureSource(org: "acme", app: "shop")])
        return ColumnSegment(identity: identity, isSealed: true, blocks: [summary], read: { _ in self })
    }

    func position(_ row: Int) -> LogPosition { LogPosition(segment: 9, offset: 0, row: UInt32(row)) }
    func times() -> [Int64] { Array(repeating: 0, count: rowCount) }
    func outcomes() -> [UInt8] { Array(repeating: 0, count: rowCount) }
    func types() -> [UInt8] { Array(repeating: 1, count: rowCount) }
    func text(_ column: ColumnName) -> TextColumn? { nil }
    func numbers(_ column: ColumnName) -> [Double]? { nil }
    func values() -> [Int64]? { nil }
    func persons(org: String) -> PersonColumn { column }
    func event(_ row: Int) -> StoredEvent? { nil }
}
