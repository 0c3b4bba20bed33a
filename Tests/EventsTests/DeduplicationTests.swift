internal import AurumCore
internal import Events
internal import Synchronization
internal import TestSupport
internal import Testing

/// The de-duplication index against a plain set, power cuts, damage and failing disks.
struct DeduplicationTests {
    private static func limits(_ identifiers: Int, memory: Int, merged: Int = 4) -> DeduplicationLimits {
        var limits = DeduplicationLimits(identifiersMax: identifiers)
        limits.memoryIdentifiers = memory
        limits.mergedRuns = merged
        return limits
    }

    // Ten millions of operations in the long run, over all sizes together.
    @Test(arguments: [(1, 600, 40), (2, 3000, 60), (3, 12_000, 100), (4, 20_000, 900)])
    func `verdicts equal a plain set with the same window, through crashes and reopening`(
        seed: UInt64, identifiers: Int, memory: Int
    ) throws {
        var model = try DeduplicationModel(seed: seed, limits: Self.limits(identifiers, memory: memory))
        try model.run(operations: soakCount(2_500_000))
        #expect(model.crashes > 3 && model.runsMost > 5, "seed \(seed): the walk was too short")
        try model.index.drain()
        let index = model.index
        #expect(index.count <= identifiers * 7 / 6 + 6 * memory + 1000, "seed \(seed)")
        #expect(index.windowStart > .min, "seed \(seed): nothing was ever forgotten")
        #expect(Double(index.diskBytes) < 20 * Double(index.count) + 5200 * Double(index.runCount))
        index.close()
    }

    @Test func `ids that are too old leave, and the window start says so`() throws {
        var limits = Self.limits(100_000, memory: 50)
        limits.windowMicroseconds = 1000
        let uptime = Uptime()
        let index = try DeduplicationIndex.open(
            storage: VolatileLogStorage(), identity: 1, limits: limits, logEnd: nil, clock: uptime.clock()
        ).index
        var random = SeededRandom(seed: 3)
        let keys = (0..<2000).map { _ in (random.next(), random.next() | 1) }
        for (number, key) in keys.enumerated() {
            uptime.microseconds.store(Int64(number), ordering: .relaxed)
            #expect(try index.insert(key.0, key.1, receivedAt: Int64(number)))
            if number % 100 == 0 { try index.drain() }
        }
        #expect(index.count >= 1000 && index.count < 2000)
        let start = Int(index.windowStart)
        #expect(start > 0 && start <= 1000)
        // Asking does not bring the past back, and what lies inside the window is known.
        for number in start..<2000 {
            #expect(try !index.insert(keys[number].0, keys[number].1, receivedAt: 1999))
        }
        #expect(try index.insert(keys[0].0, keys[0].1, receivedAt: 1999))
        index.close()
    }

    /// A monotonic clock that a test moves.
    private final class Uptime: Sendable {
        let microseconds = Atomic<Int64>(0)

        func clock(now: Int64 = .max) -> TrustedClock {
            TrustedClock(now: now) { self.microseconds.load(ordering: .relaxed) }
        }
    }

    /// A clock that is set a month ahead, for a while or at a start, and put right again.
    @Test(arguments: [1, 60, 3000])
    func `a clock that jumps ahead and comes back lets nothing be forgotten`(minutes: Int64) throws {
        let (second, day): (Int64, Int64) = (1_000_000, 86_400_000_000)
        let base = testNow.microseconds
        let (storage, uptime) = (VolatileLogStorage(), Uptime())
        let limits = Self.limits(100_000, memory: 50)
        #expect(limits.windowMicroseconds == 7 * day)
        let index = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: limits, logEnd: nil, clock: uptime.clock(now: base)
        ).index
        var random = SeededRandom(seed: 31)
        let keys = (0..<2000).map { _ in (random.next(), random.next() | 1) }
        func move(_ seconds: Int64) { uptime.microseconds.add(seconds * second, ordering: .relaxed) }
        var wall: Int64 { base + uptime.microseconds.load(ordering: .relaxed) }
        for key in keys[..<1000] {
            move(1)
            #expect(try index.insert(key.0, key.1, receivedAt: wall))
        }
        try index.drain()
        // The clock runs a month ahead.
        for key in keys[1000..<1500] {
            move(minutes * 60 / 500 + 1)
            #expect(try index.insert(key.0, key.1, receivedAt: wall + 30 * day))
        }
        try index.drain()
        #expect(index.windowStart == .min && index.count == 1500)
        for key in keys[1500...] {
            move(1)
            #expect(try index.insert(key.0, key.1, receivedAt: wall))
        }
        try index.drain()
        for key in keys { #expect(try !index.insert(key.0, key.1, receivedAt: wall)) }
        #expect(index.windowStart == .min && index.count == 2000)
        index.close()
    }

    @Test func `a start with a clock that is a year ahead lets nothing be forgotten`() throws {
        let (second, year): (Int64, Int64) = (1_000_000, 365 * 86_400_000_000)
        let (storage, uptime) = (VolatileLogStorage(), Uptime())
        let limits = Self.limits(100_000, memory: 50)
        var random = SeededRandom(seed: 33)
        let first = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: limits, logEnd: nil, clock: uptime.clock(now: testNow.microseconds)
        ).index
        for step in 0..<1000 {
            uptime.microseconds.store(Int64(step) * second, ordering: .relaxed)
            let wall = testNow.microseconds + Int64(step) * second
            #expect(try first.insert(random.next(), random.next() | 1, receivedAt: wall))
        }
        try first.drain()
        first.durable(through: LogPoint(segment: 9, offset: 64))
        first.close()

        let wrong = testNow.microseconds + year
        let (again, checkpoint) = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: limits, logEnd: nil, clock: uptime.clock(now: wrong))
        #expect(checkpoint != nil && again.count > 500)
        let known = again.count
        for _ in 0..<200 { _ = try again.insert(random.next(), random.next() | 1, receivedAt: wrong) }
        try again.drain()
        #expect(again.windowStart == .min && again.count == known + 200)
        again.close()
    }

    @Test func `ids leave when they are too old by a clock that was right all along`() throws {
        let day: Int64 = 86_400_000_000
        let (storage, uptime) = (VolatileLogStorage(), Uptime())
        let index = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: Self.limits(100_000, memory: 50), logEnd: nil,
            clock: uptime.clock(now: testNow.microseconds)
        ).index
        var random = SeededRandom(seed: 32)
        for step in 0..<2000 {
            uptime.microseconds.store(Int64(step) * day / 100, ordering: .relaxed)
            let wall = testNow.microseconds + Int64(step) * day / 100
            #expect(try index.insert(random.next(), random.next() | 1, receivedAt: wall))
            // What is replayed does not turn the clock back.
            #expect(try index.insert(random.next(), random.next() | 1, receivedAt: .min))
            if step % 100 == 0 { try index.drain() }
        }
        #expect(index.windowStart > testNow.microseconds && index.count < 3000 && index.count >= 1400)
        index.close()
    }

    @Test func `ids of blocks that are not durable never reach the disk`() throws {
        let storage = VolatileLogStorage()
        let limits = Self.limits(10_000, memory: 50)
        let index = try DeduplicationIndex.open(storage: storage, identity: 1, limits: limits, logEnd: nil).index
        var random = SeededRandom(seed: 4)
        let keys = (0..<500).map { _ in (random.next(), random.next() | 1) }
        var verdicts = [Bool](repeating: false, count: keys.count)
        for start in stride(from: 0, to: 500, by: 20) {
            try index.settle(
                keys: Array(keys[start..<start + 20]), count: 20, receivedAt: 0,
                at: LogPoint(segment: 1, offset: UInt64(start)), isNew: &verdicts)
        }
        try index.drain()
        #expect(index.runCount == 0 && index.count == 500)
        index.durable(through: LogPoint(segment: 1, offset: 500))
        try index.drain()
        #expect(index.runCount > 0)
        index.close()
        let end = LogPoint(segment: 1, offset: 500)
        let (again, checkpoint) = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: limits, logEnd: end)
        #expect(try #require(checkpoint) <= end && again.count == Int(try #require(checkpoint).offset))
        again.close()
        // A log that ends before the checkpoint never held these ids: they are not known.
        let (shorter, none) = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: limits, logEnd: LogPoint(segment: 1, offset: 10))
        #expect(none == nil && shorter.count == 0)
        shorter.close()
    }

    @Test func `hashes under another secret are not mixed in`() throws {
        var model = try DeduplicationModel(seed: 6, limits: Self.limits(5000, memory: 50))
        for _ in 0..<100 { try model.settle(count: 20) }
        try model.reopen()
        try model.index.drain()
        model.index.close()
        let (index, checkpoint) = try DeduplicationIndex.open(
            storage: model.storage, identity: 7, limits: model.limits, logEnd: nil)
        #expect(index.count == 0 && checkpoint == nil)
        index.close()
    }

    // MARK: damage

    private static func recorded(_ seed: UInt64) throws -> DeduplicationModel {
        var model = try DeduplicationModel(seed: seed, limits: limits(2400, memory: 100))
        for _ in 0..<60 {
            try model.settle(count: 90)
            model.commit()
        }
        try model.index.drain()
        for _ in 0..<3 {
            try model.settle(count: 60)
            model.commit()
            try model.index.drain()
        }
        model.index.close()
        return model
    }

    /// Every id of the window is known and a fresh one is new; or the index says that it is damaged, and the next
    /// opening is right.
    private static func check(_ storage: VolatileLogStorage, _ model: DeduplicationModel, _ what: String) throws {
        let accepted = model.blocks.flatMap(\.keys)
        for attempt in 0..<2 {
            do {
                let index = try DeduplicationModel.opened(storage, model.limits, end: model.end, log: model.blocks)
                defer { index.close() }
                for key in accepted.suffix(model.limits.identifiersMax) {
                    if try index.insert(key.high, key.low) { Issue.record("\(what): an id was forgotten") }
                }
                if try !index.insert(77, 77) { Issue.record("\(what): a fresh id is known") }
                return
            } catch {
                guard case .damaged? = error as? DeduplicationError, attempt == 0 else {
                    Issue.record("\(what): \(error)")
                    return
                }
            }
        }
    }

    @Test(arguments: 0..<4)
    func `a flipped bit or a cut in any file of the index never makes a wrong answer`(part: Int) throws {
        let model = try Self.recorded(UInt64(20 + part))
        var random = SeededRandom(seed: UInt64(90 + part))
        let names = try model.storage.names().sorted()
        #expect(names.count { $0.hasSuffix(".aurumids") } >= 3 && names.count { $0.hasSuffix(".manifest") } == 2)
        try Self.check(model.storage.copy(), model, "untouched")
        for name in names {
            let whole = model.storage.bytes(name)
            for round in 0..<soakCount(25 * 12) {
                var bytes = whole
                let place = Int(random.next() % UInt64(round % 3 == 0 ? min(200, whole.count) : whole.count))
                if round % 4 == 3 {
                    bytes = Array(bytes.prefix(place))
                } else {
                    bytes[place] ^= UInt8(1 << (random.next() % 8))
                }
                let storage = model.storage.copy()
                storage.place(name, bytes)
                try Self.check(storage, model, "part \(part): \(name) byte \(place) round \(round)")
            }
            let storage = model.storage.copy()
            try storage.remove(name)
            try Self.check(storage.copy(), model, "part \(part): \(name) is missing")
            for other in names where other != name && other.hasSuffix(".aurumids") {
                storage.place(name, model.storage.bytes(other))
                try Self.check(storage.copy(), model, "part \(part): \(name) holds \(other)")
            }
        }
    }

    @Test func `a failing read is an error, never a new id, and stays one`() throws {
        var model = try Self.recorded(31)
        try model.open(model.storage)
        try model.index.drain()
        let old = try #require(model.blocks.flatMap(\.keys).suffix(2000).first)
        model.storage.fail(.read(after: model.storage.reads))
        for _ in 0..<2 {
            #expect(throws: DeduplicationError.storage(.failed(operation: "read", code: 5))) {
                _ = try model.index.insert(old.high, old.low)
            }
        }
        model.storage.fail(.none)
        #expect(throws: DeduplicationError.self) { _ = try model.index.insert(old.high, old.low) }
        model.index.close()
        try Self.check(model.storage.copy(), model, "after failing reads")
    }

    @Test func `a full volume keeps the newest ids in memory, says so, and goes on when there is space`() throws {
        let storage = VolatileLogStorage()
        let index = try DeduplicationIndex.open(
            storage: storage, identity: 1, limits: Self.limits(10_000, memory: 50), logEnd: nil
        ).index
        storage.limit(to: 1 << 10)
        var random = SeededRandom(seed: 8)
        let keys = (0..<400).map { _ in (random.next(), random.next() | 1) }
        var taken = 0
        while taken < 400, try index.hasRoom() {
            #expect(try index.insert(keys[taken].0, keys[taken].1))
            taken += 1
            try index.drain()
        }
        #expect(taken >= 150 && taken < 400 && index.runCount == 0)
        try index.drain()
        for key in keys[..<taken] { #expect(try !index.insert(key.0, key.1)) }
        try index.drain()
        storage.limit(to: .max)
        _ = try index.hasRoom()
        try index.drain()
        #expect(try index.hasRoom() && index.runCount > 0)
        for key in keys[..<taken] { #expect(try !index.insert(key.0, key.1)) }
        #expect(try index.insert(keys[taken].0, keys[taken].1))
        index.close()
    }

    // MARK: through the log

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

    @Test func `ids on disk are known after a restart and after a power cut`() async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage) { $0.limits.dedupIdentifiersMax = 1500 }
        let ids = (0..<1200).map { "id-\($0)" }
        func body(_ ids: ArraySlice<String>) -> String {
            ids.map { trackLine(["id": "\"\($0)\""]) }.joined(separator: "\n")
        }
        for start in stride(from: 0, to: 1200, by: 30) {
            #expect(try await log.send(body(ids[start..<start + 30])).stored == 30)
        }
        await log.close()
        #expect(try storage.names().contains { $0.hasSuffix(".aurumids") })
        for folder in [storage.copy(), storage.afterCut(seed: 5)] {
            let again = try openEvents(folder) { $0.limits.dedupIdentifiersMax = 1500 }
            for start in stride(from: 0, to: 1200, by: 400) {
                #expect(try await again.send(body(ids[start..<start + 400])).duplicate == 400)
            }
            await again.close()
        }
    }
}
