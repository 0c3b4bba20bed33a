internal import AurumCore
internal import Events
import TestSupport
import Testing

/// Archives read in the order of the log: right, and without a list of every request.
struct ArchiveOrderTests {
    /// Requests of one event of four apps in turn, and longer ones between them.
    private static func fill(_ log: EventLog, requests: Int, _ random: inout SeededRandom) async throws {
        for number in 0..<requests {
            let app = ArchiveTests.apps[Int(random.next() % 4)]
            let count = number % 8 == 0 ? 60 : 1
            let lines = (0..<count).map {
                trackLine([
                    "id": "\"n\(number)-\($0)\"", "name": "\"n\(random.next() % 50)\"",
                    "user_id": "\"u\(random.next() % 30)\"", "value": "\"\(random.next() % 90).5\"",
                    "currency": "\"USD\"",
                ])
            }
            _ = try await log.send(lines.joined(separator: "\n"), source: CaptureSource(org: "acme", app: app))
        }
    }

    /// What columns and events say of every row, by position.
    private static func rows(_ segment: ColumnSegment) throws -> [(position: LogPosition, text: String)] {
        var rows: [(LogPosition, String)] = []
        for index in segment.blocks.indices {
            guard let block = try segment.read(index) else { continue }
            #expect(block.rowCount == segment.blocks[index].rowCount)
            let (times, outcomes, types) = (try block.times(), try block.outcomes(), try block.types())
            let names = try block.text(.name)
            let (values, persons) = (try block.values(), try block.persons(org: "acme"))
            let numbers = try block.numbers(ColumnName("value"))
            var request = 0
            for row in 0..<block.rowCount {
                while row >= block.requests[request].firstRow + block.requests[request].rowCount { request += 1 }
                let name = names.map { $0.codes[row] == 0 ? "" : $0.dictionary.text($0.codes[row]) } ?? ""
                rows.append(
                    (
                        block.position(row),
                        "\(times[row]) \(outcomes[row]) \(types[row]) \(name) \(values?[row] ?? 0) "
                            + "\(numbers?[row] ?? 0) \(persons.keys[Int(persons.codes[row])]) "
                            + "\(block.requests[request].app) \(try block.event(row)?.raw ?? "")"
                    ))
            }
        }
        return rows
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `requests of many apps in turn are read in order, some thousand rows at a time`(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let log = try ArchiveTests.open(VolatileLogStorage())
        try await Self.fill(log, requests: 2400, &random)
        #expect(try log.upkeep.run(all: true, isPaced: false).files > 0)
        var compared = 0
        for segment in try log.store.segments() {
            guard let inLogOrder = segment.inLogOrder else { continue }
            for app in [nil] + ArchiveTests.apps {
                let filter = RowFilter(org: "acme", apps: app.map { [$0] } ?? [])
                let ordered = try inLogOrder(filter)
                let rows = try Self.rows(ordered)
                #expect(
                    ordered.blocks.count <= rows.count / 4096 + 1,
                    "seed \(seed): \(ordered.blocks.count) blocks for \(rows.count) rows")
                #expect(zip(rows, rows.dropFirst()).allSatisfy { $0.position < $1.position }, "seed \(seed)")
                let plain = try Self.rows(segment).filter { row in app.map { row.text.contains(" \($0) ") } ?? true }
                let wanted = plain.sorted { $0.position < $1.position }
                #expect(rows.map(\.text) == wanted.map(\.text), "seed \(seed), \(app ?? "all")")
                compared += rows.count
            }
        }
        #expect(compared > 20_000, "most was meant to be archived")
        // Lists stop where they are full, from either end.
        for newestFirst in [true, false] {
            var filter = EventFilter(org: "acme")
            (filter.limit, filter.newestFirst) = (10_000, newestFirst)
            let all = try await log.store.events(filter).map(\.position)
            #expect(zip(all, all.dropFirst()).allSatisfy { ($0 < $1) != newestFirst }, "seed \(seed)")
            filter.limit = 777
            #expect(try await log.store.events(filter).map(\.position) == Array(all.prefix(777)), "seed \(seed)")
        }
        await log.close()
    }
}
