internal import AurumCore
internal import Events
internal import TestSupport
internal import Testing

/// Which rows a reader may see.
struct RowFilterTests {
    @Test func `generated filters select the rows that a plain reading of the events selects`() async throws {
        let seed: UInt64 = 0x5eed_0001
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        let events = try await QueryEvents.make(&random, segmentSizes: [2, 2, 1], rowsMax: 120)
        for round in 0..<soakCount(5000) {
            let condition = random.chance(10) ? nil : RandomCondition.make(&random)
            let seconds: [Int64] = [1_750_100_000, 1_762_200_000, 1_772_950_000]
            let times: [Timestamp?] = [nil] + seconds.map { Timestamp(microseconds: $0 * 1_000_000) }
            let (from, to) = (random.pick(times), random.pick(times))
            let bots = random.pick(BotChoice.allCases)
            let outcomes: Set<EventOutcome>? = random.chance(4) ? [.duplicate, .quarantined, .stored] : nil
            let apps: [String] = random.pick([[], ["shop"], ["blog", "app"], ["nowhere"]])
            let org = random.pick(["acme", "acme", "rival", "stranger"])
            var filter = RowFilter(
                condition, org: org, apps: apps, from: from, to: to, bots: bots, outcomes: outcomes)
            filter.receivedUntil = random.pick([.max, .max, testNow.microseconds + 30, testNow.microseconds - 1])
            let scanner = RowScanner(filter)
            let expected = events.rows.filter { row in
                row.org == org && row.received <= filter.receivedUntil && (apps.isEmpty || apps.contains(row.app))
                    && (outcomes ?? bots.outcomes).contains(row.outcome)
                    && row.time >= from?.microseconds ?? .min && row.time < to?.microseconds ?? .max
                    && condition.map { NaiveCondition(condition: $0).holds(row) } ?? true
            }.map(\.position)
            let found = try selected(events, scanner)
            #expect(found == expected, "seed \(seed), round \(round): \(String(describing: condition))")
            if found != expected { return }
        }
    }

    private func selected(_ events: QueryEvents, _ scanner: RowScanner) throws -> [LogPosition] {
        var found: [LogPosition] = []
        for segment in events.segments {
            for (index, summary) in segment.blocks.enumerated() {
                let block = try #require(try segment.read(index))
                let selection = try scanner.select(block)
                if !scanner.filter.mayHold(summary) { #expect(selection == .none) }
                found += selection.rows(of: block.rowCount).map { block.position(Int($0)) }
            }
        }
        return found
    }

    @Test func `a block of strangers is not selected, whatever the condition says`() async throws {
        var random = SeededRandom(seed: 3)
        let events = try await QueryEvents.make(&random, segmentSizes: [1], rowsMax: 50)
        let block = try #require(try events.segments[0].read(0))
        let condition = EventCondition.or([
            .compare(ColumnName("org"), .equal, .text("acme")), .not(.exists(ColumnName("nothing"))),
        ])
        #expect(try RowScanner(RowFilter(condition, org: "stranger")).select(block) == .none)
    }
}
