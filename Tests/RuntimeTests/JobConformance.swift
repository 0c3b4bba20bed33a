import AurumCore
import Runtime
import TestSupport
import Testing

/// What every store of jobs does, run on all of them.
struct JobConformance {
    @Test(arguments: JobStoreKind.allCases)
    func `a job is claimed once, and its end is settled however often it is told`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let id = try await test.add(test.new("a"))
        #expect(try await test.store.hasDue())
        let claimed = try await test.claim()
        #expect(claimed.map(\.id) == [id])
        #expect(claimed[0].state == .running && claimed[0].attempt == 1 && claimed[0].fence > 0)
        #expect(try await test.claim(test.two).isEmpty)
        #expect(try await test.end(claimed[0], .done)?.state == .done)
        #expect(try await test.end(claimed[0], .done)?.state == .done)
        #expect(try await test.end(claimed[0], .failed(code: "late", detail: "", retry: .standard)) == nil)
        #expect(try await test.job(id).state == .done)
        #expect(try await !test.store.hasDue())
    }

    @Test(arguments: JobStoreKind.allCases)
    func `the order is due time less the bonus of the priority`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let start = test.clock.now
        test.clock.advance(by: .seconds(1000))
        let cases: [(String, JobPriority, Int)] = [
            ("idle at 0", .idle, 0), ("high at 659", .high, 659), ("high at 661", .high, 661),
            ("normal at 601", .normal, 601), ("low at 538", .low, 538), ("low at 600", .low, 600),
        ]
        for (name, priority, second) in cases {
            try await test.add(test.new(name, priority: priority, due: start + .seconds(second)))
        }
        var order: [String] = []
        while let job = try await test.claim(limit: 1).first { order.append(job.payload) }
        let expected = ["low at 538", "high at 659", "idle at 0", "high at 661", "normal at 601", "low at 600"]
        #expect(order == expected.map { #"{"name":"\#($0)"}"# })
    }

    @Test(arguments: JobStoreKind.allCases)
    func `failed attempts come back later each time, then the job is dead, then it is redriven`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        let id = try await test.add(test.new())
        for attempt in 1...3 {
            let job = try #require(try await test.claim().first)
            #expect(job.attempt == attempt)
            let after = try #require(
                try await test.end(job, .failed(code: "no_\(attempt)", detail: "why", retry: .standard)))
            let delay = after.dueAt - test.clock.now
            if attempt < 3 { #expect(delay >= .zero && delay <= .seconds(1 << attempt)) }
            test.clock.advance(by: .seconds(10))
        }
        let dead = try await test.job(id)
        #expect(dead.state == .dead && dead.deadReason == .attemptsExhausted)
        #expect(dead.failures.map(\.code) == ["no_1", "no_2", "no_3"])
        let back = try await test.store.redrive(id, org: "acme")
        #expect(back.id == id && back.attempt == 0 && back.state == .scheduled && back.failures.count == 3)
        #expect(try await test.claim().map(\.id) == [id])
        await #expect(throws: JobError.wrongState(.running)) { try await test.store.redrive(id, org: "acme") }
        await #expect(throws: JobError.unknownJob) { try await test.store.redrive(id, org: "other") }
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a fault can name its delay or forbid another attempt`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        try await test.add(test.new())
        let job = try #require(try await test.claim().first)
        let again = try await test.end(job, .failed(code: "busy", detail: "", retry: .after(.seconds(77))))
        #expect(again?.dueAt == test.clock.now + .seconds(77))
        test.clock.advance(by: .seconds(77))
        let second = try #require(try await test.claim().first)
        let dead = try await test.end(second, .failed(code: "bad", detail: "", retry: .never))
        #expect(dead?.deadReason == .doNotRetry)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `of two claims of a job that end in one turn the newer one counts, and its key is left once`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        for name in ["a", "b", "c", "d"] {
            try await test.add(test.new(name, concurrency: JobConcurrency("key", limit: 2)))
        }
        let first = try await test.claim()
        #expect(first.count == 2)
        test.clock.advance(by: .seconds(31))
        #expect(try await test.store.tend().rescued == 2)
        let second = try await test.claim()
        let again = try #require(second.first { $0.id == first[0].id })
        let ends = [first[0], again].map { JobEnd($0.claim, .done, job: $0) }
        let result = try await test.store.turn(JobTurn(worker: test.one, ends: ends, limit: 10))
        #expect(result.ended.map { $0?.id } == [nil, again.id])
        // One of two places under the key is free, not both.
        #expect(result.claimed.count == 1)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a lost lease gives the job to another, and the first holder's words count no more`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        let id = try await test.add(test.new(kind: JobKind("test.work", attemptsMax: 9)))
        let first = try #require(try await test.claim().first)
        test.clock.advance(by: .seconds(20))
        #expect(
            try await test.store.renew([first.claim], worker: test.one, lease: .seconds(30)).map(\.claim) == [
                first.claim
            ])
        test.clock.advance(by: .seconds(29))
        #expect(try await test.store.tend().rescued == 0)
        test.clock.advance(by: .seconds(2))
        #expect(try await test.store.tend().rescued == 1)
        let second = try #require(try await test.claim(test.two).first)
        #expect(second.id == id && second.attempt == 2 && second.fence > first.fence)
        #expect(try await test.end(first, .done) == nil)
        await #expect(throws: JobError.staleFence) {
            try await test.store.progress(first.claim, fraction: 0.5, note: "")
        }
        #expect(try await test.job(id).state == .running)
        #expect(try await test.store.renew([first.claim], worker: test.one, lease: .seconds(30)).isEmpty)
        for loss in 2...3 {
            test.clock.advance(by: .seconds(31))
            _ = try await test.store.tend()
            if loss == 2 { #expect(try await test.claim(test.two).count == 1) }
        }
        #expect(try await test.job(id).deadReason == .workerLost)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a process that is alone takes back what the one before it held`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        for _ in 0..<5 { try await test.add(test.new()) }
        #expect(try await test.claim().count == 5)
        #expect(try await test.store.recover().rescued == 5)
        #expect(try await test.claim(test.two).map(\.attempt) == [2, 2, 2, 2, 2])
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a job that is given back has lost no attempt`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        try await test.add(test.new())
        let job = try #require(try await test.claim().first)
        let back = try await test.end(job, .released)
        #expect(back?.attempt == 0 && back?.state == .scheduled && back?.dueAt == job.dueAt)
        #expect(try await test.claim().first?.attempt == 1)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a job that is put off is due later, and has lost no attempt`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        try await test.add(test.new(concurrency: JobConcurrency("one", limit: 1)))
        let next = try await test.add(test.new(concurrency: JobConcurrency("one", limit: 1)))
        let job = try #require(try await test.claim().first)
        let later = try #require(try await test.end(job, .postponed(.seconds(3))))
        #expect(later.state == .scheduled && later.attempt == 0 && later.failures.isEmpty)
        #expect(later.dueAt == test.clock.now + .seconds(3))
        let other = try #require(try await test.claim().first)
        #expect(other.id == next)
        try await test.end(other, .done)
        #expect(try await test.claim().isEmpty)
        test.clock.advance(by: .seconds(3))
        #expect(try await test.claim().map(\.attempt) == [1])
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a unique key answers the job that holds it, for as long as its scope says`(_ kind: JobStoreKind) async throws
    {
        let test = try await JobHarness(kind)
        func add(_ key: String, _ scope: JobUniqueness) async throws -> JobReceipt {
            try await test.store.enqueue([test.new(unique: (key, scope))])[0]
        }
        let started = try await add("s", .untilStarted)
        let done = try await add("d", .untilDone)
        let lasting = try await add("l", .lasting(.seconds(100)))
        #expect(try await add("s", .untilStarted) == JobReceipt(id: started.id, isDuplicate: true))
        let jobs = try await test.claim()
        #expect(jobs.count == 3)
        #expect(try await !add("s", .untilStarted).isDuplicate)
        #expect(try await add("d", .untilDone).id == done.id)
        for job in jobs { try await test.end(job, .done) }
        #expect(try await !add("d", .untilDone).isDuplicate)
        #expect(try await add("l", .lasting(.seconds(100))).id == lasting.id)
        test.clock.advance(by: .seconds(100))
        #expect(try await !add("l", .lasting(.seconds(100))).isDuplicate)
        var other = test.new(unique: ("d", .untilDone))
        other.org = "globex"
        #expect(try await !test.store.enqueue([other])[0].isDuplicate)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a dead job whose key was taken meanwhile is not redriven`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let id = try await test.add(test.new(unique: ("k", .untilDone)))
        try await test.kill(id)
        let second = try await test.add(test.new(unique: ("k", .untilDone)))
        await #expect(throws: JobError.uniqueKeyHeld(second)) { try await test.store.redrive(id, org: "acme") }
        #expect(
            try await test.store.redrive(org: "acme", type: nil, since: Timestamp(milliseconds: 0), rate: nil) == 0)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a concurrency key lets so many run, over all workers, and the next in its place`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        let key = JobConcurrency("exports", limit: 2)
        var ids: [UID] = []
        for _ in 0..<5 { ids.append(try await test.add(test.new(concurrency: key))) }
        let free = try await test.add(test.new("free"))
        let first = try await test.claim()
        #expect(first.map(\.id) == [ids[0], ids[1], free])
        #expect(try await test.claim(test.two).isEmpty)
        #expect(try await test.job(ids[2]).state == .parked)
        try await test.end(first[0], .done)
        let next = try await test.claim(test.two)
        #expect(next.map(\.id) == [ids[2]])
        try await test.end(first[1], .failed(code: "no", detail: "", retry: .never))
        #expect(try await test.claim().map(\.id) == [ids[3]])
        // One that was let back and then cancelled leaves its room to the next.
        try await test.end(next[0], .done)
        _ = try await test.store.cancel(ids[4], org: "acme")
        let last = try await test.add(test.new(concurrency: key))
        #expect(try await test.claim().map(\.id) == [last])
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a turn that only put jobs aside says so, and the next finds what is behind them`(
        _ kind: JobStoreKind
    ) async throws {
        let test = try await JobHarness(kind)
        for _ in 0..<(JobLimits.parkRounds + 5) {
            try await test.add(test.new(concurrency: JobConcurrency("one", limit: 1)))
        }
        let free = try await test.add(test.new("free"))
        #expect(try await test.claim(limit: 1).count == 1)
        let turn = try await test.store.turn(JobTurn(worker: test.one, limit: 1))
        #expect(turn.claimed.isEmpty && turn.parked == JobLimits.parkRounds)
        #expect(try await test.claim(limit: 1).map(\.id) == [free])
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a job that its rate put aside leaves its room when it is cancelled`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (key, rate) = (JobConcurrency("one", limit: 1), JobRate("vendor", count: 1, per: .seconds(100)))
        try await test.add(test.new("a", concurrency: key, rate: rate))
        let second = try await test.add(test.new("b", concurrency: key, rate: rate))
        let third = try await test.add(test.new("c", concurrency: key))
        let first = try #require(try await test.claim().first)
        try await test.end(first, .done)
        #expect(try await test.claim().isEmpty)
        #expect(try await test.job(second).readyAt != nil)
        _ = try await test.store.cancel(second, org: "acme")
        #expect(try await test.claim().map(\.id) == [third])
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a rate key lets so many begin in its period, in order`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let rate = JobRate("vendor", count: 3, per: .seconds(30))
        var ids: [UID] = []
        for _ in 0..<7 { ids.append(try await test.add(test.new(rate: rate))) }
        #expect(try await test.claim().map(\.id) == Array(ids[..<3]))
        test.clock.advance(by: .seconds(9))
        #expect(try await test.claim().isEmpty)
        ids.append(try await test.add(test.new(rate: rate)))
        for expected in 3..<8 {
            test.clock.advance(by: .seconds(expected == 3 ? 1 : 10))
            #expect(try await test.claim().map(\.id) == [ids[expected]])
        }
    }

    @Test(arguments: JobStoreKind.allCases)
    func `after a long stop no more begin at once than the rate allows`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let rate = JobRate("vendor", count: 3, per: .seconds(30))
        for _ in 0..<20 { try await test.add(test.new(rate: rate)) }
        #expect(try await test.claim().count == 3)
        test.clock.advance(by: .seconds(3600))
        #expect(try await test.claim().count == 3)
        test.clock.advance(by: .seconds(10))
        #expect(try await test.claim().count <= 1)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a job waits for its parents and dies with them`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let (a, b) = (try await test.add(test.new("a")), try await test.add(test.new("b")))
        let child = try await test.add(test.new("c", after: [a, b]))
        let grandchild = try await test.add(test.new("d", after: [child]))
        #expect(try await test.job(child).state == .waiting)
        let parents = try await test.claim()
        #expect(parents.map(\.id) == [a, b])
        try await test.end(parents[0], .done)
        #expect(try await test.claim().isEmpty)
        try await test.end(parents[1], .failed(code: "no", detail: "", retry: .never))
        #expect(try await test.job(child).deadReason == .parent)
        #expect(try await test.job(grandchild).deadReason == .parent)
        await #expect(throws: JobError.parentDead) { try await test.store.redrive(child, org: "acme") }
        #expect(
            try await test.store.redrive(org: "acme", type: nil, since: Timestamp(milliseconds: 0), rate: nil) == 3)
        for expected in [b, child, grandchild] {
            let job = try #require(try await test.claim().first)
            #expect(job.id == expected)
            try await test.end(job, .done)
        }
        let late = try await test.add(test.new(after: [a]))
        #expect(try await test.claim().map(\.id) == [late])
        await #expect(throws: JobError.unknownParent(UID(high: 1, low: 1))) {
            try await test.add(test.new(after: [UID(high: 1, low: 1)]))
        }
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a cancellation ends what waits at once and gives what runs thirty seconds`(_ kind: JobStoreKind) async throws
    {
        let test = try await JobHarness(kind)
        let waiting = try await test.add(test.new(due: test.clock.now + .seconds(60)))
        #expect(try await test.store.cancel(waiting, org: "acme").state == .cancelled)
        await #expect(throws: JobError.wrongState(.cancelled)) { try await test.store.cancel(waiting, org: "acme") }
        let obedient = try await test.add(test.new())
        let stubborn = try await test.add(test.new())
        let running = try await test.claim()
        for id in [obedient, stubborn] { #expect(try await test.store.cancel(id, org: "acme").state == .running) }
        let told = try await test.store.renew(running.map(\.claim), worker: test.one, lease: .seconds(60))
        #expect(told.map(\.isCancelled) == [true, true])
        #expect(try await test.end(running[0], .cancelled)?.state == .cancelled)
        test.clock.advance(by: .seconds(29))
        #expect(try await test.store.tend().revoked == 0)
        test.clock.advance(by: .seconds(1))
        #expect(try await test.store.tend().revoked == 1)
        #expect(try await test.end(running[1], .done) == nil)
        #expect(try await test.job(stubborn).state == .cancelled)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a cancelled job that is given back ends cancelled`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let id = try await test.add(test.new())
        let job = try #require(try await test.claim().first)
        #expect(try await test.store.cancel(id, org: "acme").state == .running)
        #expect(try await test.end(job, .released)?.state == .cancelled)
        #expect(try await test.claim().isEmpty)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a full queue takes nothing of a batch and drops nothing`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind, waitingMax: 5)
        for _ in 0..<4 { try await test.add(test.new()) }
        await #expect(throws: JobError.queueFull) { try await test.store.enqueue([test.new(), test.new()]) }
        var other = test.new()
        other.org = "globex"
        _ = try await test.store.enqueue([other])
        #expect(try await test.claim().count == 5)
        test.clock.advance(by: .seconds(2))
        try await test.add(test.new())
        #expect(try await test.claim().count == 1)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `what is out of bounds is refused with a reason`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let big = String(repeating: "x", count: JobLimits.payloadBytes)
        await #expect(throws: JobError.payloadTooLarge) { try await test.add(test.new(big)) }
        let parents = (0...JobLimits.parents).map { _ in UID(now: test.clock.now) }
        await #expect(throws: (any Error).self) { try await test.add(test.new(after: parents)) }
        for bad in [
            test.new(unique: ("", .untilDone)), test.new(concurrency: JobConcurrency("k", limit: 0)),
            test.new(rate: JobRate("k", count: 0, per: .seconds(1))), test.new(kind: JobKind("", attemptsMax: 1)),
            test.new(kind: JobKind("a", attemptsMax: 1000)),
        ] {
            await #expect(throws: (any Error).self) { try await test.add(bad) }
        }
        #expect(try await test.claim().isEmpty)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `what is over is kept for its time`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let done = try await test.add(test.new())
        let gone = try await test.add(test.new(kind: JobKind("test.work", keepsDone: .zero)))
        for job in try await test.claim() { try await test.end(job, .done) }
        let dead = try await test.add(test.new())
        try await test.kill(dead)
        #expect(try await test.store.job(gone, org: "acme") == nil)
        test.clock.advance(by: .seconds(86_401))
        #expect(try await test.store.tend().purged == 1)
        #expect(try await test.store.job(done, org: "acme") == nil)
        test.clock.advance(by: .seconds(29 * 86_400))
        #expect(try await test.store.tend().purged == 1)
        #expect(try await test.store.job(dead, org: "acme") == nil)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `dead letters come back at the rate that is asked for`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        for _ in 0..<20 { try await test.add(test.new()) }
        for job in try await test.claim() { try await test.end(job, .failed(code: "no", detail: "", retry: .never)) }
        let none = try await test.store.redrive(
            org: "acme", type: "other.work", since: Timestamp(milliseconds: 0), rate: nil)
        #expect(none == 0)
        let all = try await test.store.redrive(
            org: "acme", type: "test.work", since: Timestamp(milliseconds: 0), rate: 10)
        #expect(all == 20)
        #expect(try await test.claim().count == 1)
        test.clock.advance(by: .seconds(1))
        #expect(try await test.claim().count == 10)
        test.clock.advance(by: .seconds(1))
        #expect(try await test.claim().count == 9)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `dead letters that cannot come back do not keep those behind them`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let parent = try await test.add(test.new())
        let child = test.new(after: [parent])
        _ = try await test.store.enqueue(Array(repeating: child, count: JobLimits.redriveBatch + 1))
        // The parent is cancelled, so that its children stay dead.
        _ = try await test.store.cancel(parent, org: "acme")
        let last = try await test.add(test.new())
        try await test.kill(last)
        let all = try await test.store.redrive(
            org: "acme", type: nil, since: Timestamp(milliseconds: 0), rate: nil)
        #expect(all == 1)
        #expect(try await test.claim().map(\.id) == [last])
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a rate out of bounds is the nearest that is not`(_ kind: JobStoreKind) async throws {
        for rate in [1e-13, -1, .nan, .infinity] {
            let test = try await JobHarness(kind)
            for _ in 0..<2 { try await test.add(test.new()) }
            for job in try await test.claim() {
                try await test.end(job, .failed(code: "no", detail: "", retry: .never))
            }
            let all = try await test.store.redrive(
                org: "acme", type: nil, since: Timestamp(milliseconds: 0), rate: rate)
            #expect(all == 2)
            test.clock.advance(by: .seconds(1))
            #expect(try await test.claim().count == (rate == .infinity ? 2 : 1), "\(rate)")
        }
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a tick makes one job, however many nodes look`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        let schedule = try JobSchedule(
            "minute", JobHarness.kind, org: "acme", .every(.seconds(60)), now: test.clock.now)
        try await test.store.keep(schedule)
        try await test.store.keep(schedule)
        test.clock.advance(by: .seconds(60))
        #expect(try await test.store.tend().fired == 1)
        #expect(try await test.store.tend().fired == 0)
        // A restart that declares the schedule again neither repeats nor moves it.
        try await test.store.keep(
            JobSchedule("minute", JobHarness.kind, org: "acme", .every(.seconds(60)), now: test.clock.now))
        #expect(try await test.store.tend().fired == 0)
        #expect(try await test.claim().count == 1)
        test.clock.advance(by: .seconds(6 * 3600))
        let upkeep = try await test.store.tend()
        #expect(upkeep.fired == 1 && upkeep.missedTicks == ["minute": 359])
        // One that no program declares any more ticks no more.
        try await test.store.keepOnly(["hour"])
        test.clock.advance(by: .seconds(60))
        #expect(try await test.store.tend().fired == 0)
    }

    @Test(arguments: JobStoreKind.allCases)
    func `a clock that ran ahead and is set back leaves no schedule silent`(_ kind: JobStoreKind) async throws {
        let test = try await JobHarness(kind)
        try await test.store.keep(
            JobSchedule("minute", JobHarness.kind, org: "acme", .every(.seconds(60)), now: test.clock.now))
        test.clock.advance(by: .seconds(3600))
        #expect(try await test.store.tend().fired == 1)
        test.clock.advance(by: .seconds(-3600))
        #expect(try await test.store.tend().broughtBack == ["minute"])
        #expect(try await test.store.tend().broughtBack == [])
        test.clock.advance(by: .seconds(60))
        #expect(try await test.store.tend().fired == 1)
        // By so little the clocks of nodes differ, and the tick has been.
        test.clock.advance(by: .seconds(-30))
        let upkeep = try await test.store.tend()
        #expect(upkeep.broughtBack == [] && upkeep.fired == 0)
    }
}
