internal import AurumCore
internal import Events
internal import Synchronization
internal import TestSupport
import Testing

/// What happens at each bound of a request.
struct CaptureBoundsTests {
    private func send(_ log: EventLog, _ body: [UInt8], _ encoding: BodyEncoding) async throws -> Receipt {
        try await log.capture.submit(body, format: .ndjson, encoding: encoding, source: testSource, receivedAt: testNow)
    }

    @Test func `a gzip body is taken, a bomb and a torn one are refused`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let packed = gzip(Array(trackLine().utf8))
        #expect(try await send(log, packed, .gzip).stored == 1)
        #expect(try await send(log, zstd(Array(trackLine(["id": "\"z\""]).utf8)), .zstd).stored == 1)
        await #expect(throws: CaptureError.inflateRatio) {
            try await send(log, zstd([UInt8](repeating: 0x20, count: 2 << 20)), .zstd)
        }
        let bomb = gzip([UInt8](repeating: 0x20, count: 2 << 20))
        await #expect(throws: CaptureError.inflateRatio) { try await send(log, bomb, .gzip) }
        await #expect(throws: CaptureError.brokenPacking(offset: packed.count - 12)) {
            try await send(log, Array(packed.dropLast(12)), .gzip)
        }
        await #expect(throws: (any Error).self) { try await send(log, Array("no gzip".utf8), .gzip) }
        await #expect(throws: (any Error).self) { try await send(log, Array("no zstd".utf8), .zstd) }
        await log.close()
    }

    @Test func `a bomb is refused within 100 ms of a core`() {
        let bombs: [(BodyEncoding, [UInt8])] = [
            (.zstd, zstdBomb(bytes: 1 << 30)), (.gzip, gzip([UInt8](repeating: 0x20, count: 16 << 20))),
        ]
        for (encoding, bomb) in bombs {
            #expect(bomb.count < 40 << 10, "small enough for the ratio to be what refuses it")
            let before = threadSeconds()
            #expect(throws: CaptureError.inflateRatio) { try encoding.decode(bomb, limits: EventLimits()) }
            #expect(threadSeconds() - before < 0.1)
        }
    }

    @Test func `a body past its size or its count is refused whole`() async throws {
        let log = try openEvents(VolatileLogStorage()) {
            $0.limits.bodyBytesMax = 10_000
            $0.limits.batchEventsMax = 20
        }
        let many = (0..<21).map { trackLine(["id": "\"m\($0)\""]) }.joined(separator: "\n")
        await #expect(throws: CaptureError.tooManyEvents) { try await log.send(many) }
        let large = String(repeating: " ", count: 10_001)
        await #expect(throws: CaptureError.bodyTooLarge) { try await log.send(large) }
        #expect(log.store.totals(org: "acme").events == 0)
        #expect(
            try await log.send((0..<20).map { trackLine(["id": "\"m\($0)\""]) }.joined(separator: "\n")).stored == 20)
        await log.close()
    }

    @Test func `bodies past the bytes in flight are refused as overloaded, and later taken`() async throws {
        let log = try openEvents(VolatileLogStorage()) {
            $0.limits.bytesInFlightMax = 2000
            $0.commitDelay = .milliseconds(50)
        }
        let body = (0..<10).map { trackLine(["id": "\"f\($0)\""]) }.joined(separator: "\n")
        let outcomes = Mutex<[Bool]>([])
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<20 {
                group.addTask { (try? await log.send(body)) != nil }
            }
            for await isTaken in group { outcomes.withLock { $0.append(isTaken) } }
        }
        let taken = outcomes.withLock { $0 }
        #expect(taken.contains(true) && taken.contains(false))
        #expect(log.capture.refusal() == nil)
        #expect(try await log.send(body).received == 10)
        await log.close()
    }

    @Test func `an empty body has a receipt of nothing`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let receipt = try await log.send("\n \n")
        #expect(receipt.received == 0)
        #expect(try await log.store.receipt(receipt.id, org: "acme")?.received == 0)
        await log.close()
    }

    @Test func `segments roll at their bound, and totals, receipts and duplicates survive a restart`() async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage) { $0.limits.segmentBytesMax = 3000 }
        var receipts: [Receipt] = []
        for number in 0..<30 {
            receipts.append(try await log.send(trackLine(["id": "\"r\(number)\""]) + "\nbroken"))
        }
        let segments = try storage.names().filter { $0.hasSuffix(".aurumlog") }.sorted()
        #expect(segments.count > 3)
        await log.close()
        for name in segments.dropLast() { #expect(storage.bytes(name).count >= 3000, "\(name) was sealed too early") }
        let again = try openEvents(storage)
        #expect(again.store.totals(org: "acme").stored == 30)
        #expect(again.store.totals(org: "acme").quarantined == 30)
        #expect(again.recovery.cutBytes == 0 && again.recovery.damaged.isEmpty)
        for receipt in receipts {
            let stored = try #require(try await again.store.receipt(receipt.id, org: "acme"))
            #expect(stored.counts.stored == 1 && stored.counts.quarantined == 1)
            #expect(stored.problems.map(\.reason) == ["not_json"])
        }
        #expect(try await again.send(trackLine(["id": "\"r3\""])).duplicate == 1)
        await again.close()
    }

    @Test func `events of our own are stored once however often they are handed over`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let trace = UID(high: 1, low: 2)
        let events = (0..<5).map {
            InternalEvent(
                id: UID(high: 9, low: UInt64($0)), org: $0 < 3 ? "acme" : "other", key: "lead", name: "lead.created",
                traceID: trace, at: testNow, props: ["n": .integer(Int64($0))])
        }
        try await log.capture.appendInternal(events)
        try await log.capture.appendInternal(events)
        var filter = EventFilter(org: "acme")
        filter.traceID = trace
        let stored = try await log.store.events(filter)
        #expect(stored.count == 3)
        #expect(stored.allSatisfy { $0.type == .internal && $0.name == "lead.created" && $0.app == "aurum" })
        #expect(stored.map { $0.props?["n"]?.integer } == [2, 1, 0])
        await log.close()
    }

    /// The relay sends again what the log has, and can put aside only what it is told of.
    @Test func `events of our own that are refused are named, however many duplicates are before them`() async throws {
        let log = try openEvents(VolatileLogStorage()) { $0.limits.internalEventBytesMax = 1000 }
        func event(_ number: UInt64, isBad: Bool) -> InternalEvent {
            InternalEvent(
                id: UID(high: 9, low: number), org: "acme", key: "lead", name: "lead.created", traceID: nil,
                at: testNow, props: ["text": .string(String(repeating: "x", count: isBad ? 2000 : 1))])
        }
        let good = (0..<60).map { event($0, isBad: false) }
        let bad = (60..<100).map { event($0, isBad: true) }
        try await log.capture.appendInternal(good)
        var left = good + bad
        var rounds = 0
        while rounds < 10 {
            rounds += 1
            do {
                try await log.capture.appendInternal(left)
                break
            } catch let refused as InternalEventRefused {
                try #require(!refused.reasons.isEmpty, "nobody knows which to put aside")
                #expect(refused.reasons.keys.allSatisfy { id in bad.contains { $0.id == id } })
                left.removeAll { refused.reasons[$0.id] != nil }
            }
        }
        #expect(left == good && rounds == 3)
        #expect(try await log.store.events(EventFilter(org: "acme")).count == 60)
        await log.close()
    }
}
