import AurumCore
import Events
import TestSupport
import Testing

/// Browser, system and device as columns: worked out once for each user agent of a segment, not for each event.
struct AgentColumnTests {
    private static let agents = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 Version/16.0 Safari/604.1",
    ]
    private static let names = ["browser", "browser_major", "os_name", "device_class"].map { ColumnName($0) }

    /// Lines of one request; `own` brings members that bear the names of these columns.
    private static func lines(_ round: Int, own: Bool) -> String {
        (0..<12).map { number in
            var members = ["id": "\"\(round)-\(number)\""]
            switch number % 5 {
            case 0...2:
                let name = number % 2 == 0 ? "user_agent" : "userAgent"
                members["context"] = "{\"\(name)\":\(JSONValue.quoted(agents[number % 5])),\"locale\":\"l\(round)\"}"
            case 3: members["context"] = "{\"locale\":\"en\"}"
            default: break
            }
            if own, number.isMultiple(of: 2) { members["browser"] = "\"Own \(number % 4)\"" }
            return trackLine(members)
        }.joined(separator: "\n")
    }

    @Test(arguments: [false, true])
    func `what a user agent says is a column, and says what the events say`(own: Bool) async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage) { $0.shards = 1 }
        for round in 0..<3 { _ = try await log.send(Self.lines(round, own: own)) }
        await log.close()
        var dictionaries: [ColumnName: Set<Int>] = [:]
        var seen = 0
        for segment in try LogReader(storage, named: "memory").segments() {
            for index in segment.blocks.indices {
                let block = try #require(try segment.read(index))
                let problem = try ColumnModel.difference(block)
                #expect(problem == nil, "\(problem ?? "")")
                for name in Self.names {
                    guard let column = try block.text(name) else { continue }
                    dictionaries[name, default: []].insert(column.dictionary.id)
                }
                seen += block.rowCount
            }
        }
        #expect(seen == 36)
        // One dictionary for all blocks: nothing was worked out again for each of them.
        for name in Self.names where !own || name.path != "browser" {
            #expect(dictionaries[name]?.count == 1, "\(name.path): \(dictionaries[name]?.count ?? 0)")
        }
    }

    @Test func `events are counted by device`() async throws {
        let log = try openEvents(VolatileLogStorage())
        _ = try await log.send(Self.lines(0, own: false))
        let engine = QueryEngineTests.engine(log.store)
        let answer = try await engine.answer(
            try engine.query(["group_by": ["device_class", "os_name"], "bots": "include"]), org: "acme")
        var counts: [String: Int64] = [:]
        for row in answer.rows {
            guard case .integer(let count) = row[2] else { continue }
            counts["\(row[0]) \(row[1])"] = count
        }
        #expect(counts.values.sorted() == [2, 3, 3, 4], "\(counts)")
        await log.close()
    }
}
