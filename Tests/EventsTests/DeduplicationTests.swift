internal import AurumCore
internal import Events
import Testing

struct DeduplicationTests {
    @Test(arguments: [5, 6, 7] as [UInt64])
    func `verdicts equal a plain set with the same window`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let half = 500
        let check = DeduplicationCheck(identifiersMax: half * 2)
        var current: Set<String> = []
        var previous: Set<String> = []
        for _ in 0..<40_000 {
            let id = "id-\(random.next() % 3000)"
            let isNew = !current.contains(id) && !previous.contains(id)
            #expect(check.insert(id) == isNew, "seed \(seed)")
            guard isNew else { continue }
            current.insert(id)
            if current.count == half {
                previous = current
                current = []
            }
        }
        #expect(check.count == current.count + previous.count)
    }

    @Test func `in one request the first copy wins, and apps do not share ids`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await log.send("\(trackLine())\n\(trackLine())\n\(trackLine(["id": "\"\\u0065\\u0031\""]))")
        #expect(receipt.stored == 1 && receipt.duplicate == 2)
        #expect(receipt.problems.map(\.index) == [1, 2])
        let other = try await log.send(trackLine(), source: CaptureSource(org: "acme", app: "web"))
        #expect(other.stored == 1)
        await log.close()
    }

    @Test func `the id of a quarantined event stays free`() async throws {
        let log = try openEvents(VolatileLogStorage())
        #expect(try await log.send(trackLine(["name": nil])).quarantined == 1)
        #expect(try await log.send(trackLine()).stored == 1)
        let record = try await log.store.outcome(eventID: "e1", org: "acme", app: "shop")
        #expect(record?.outcome == .stored)
        await log.close()
    }
}
