import AurumCore
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

struct BreakerTests {
    private final class Desk {
        var machine = BreakerMachine()
        var now = Timestamp(milliseconds: 1_795_262_400_000)

        func wait() -> Duration? { machine.admit(at: now) }

        /// A call of 10 ms; false when it was not let out.
        func call(good: Bool, took: Duration = .milliseconds(10)) -> Bool {
            guard wait() == nil else { return false }
            now = now + .milliseconds(10)
            machine.record(isGood: good, took: took, at: now)
            return true
        }
    }

    @Test func `it opens when half of twenty calls failed, and not before`() {
        var desk = Desk()
        for _ in 0..<19 { #expect(desk.call(good: false)) }
        #expect(desk.machine.state == .closed)
        #expect(desk.call(good: false) && desk.machine.state == .open)
        desk = Desk()
        for number in 0..<200 { #expect(desk.call(good: number * 9 % 20 >= 9)) }
        #expect(desk.machine.state == .closed, "45 % of calls failed")
        desk = Desk()
        for _ in 0..<20 { _ = desk.call(good: true, took: .milliseconds(2001)) }
        #expect(desk.machine.state == .open, "slow calls are failed calls")
    }

    @Test func `failures are forgotten after the window`() {
        let desk = Desk()
        for _ in 0..<19 { _ = desk.call(good: false) }
        desk.now = desk.now + .seconds(33)
        for _ in 0..<19 { _ = desk.call(good: false) }
        #expect(desk.machine.state == .closed)
    }

    @Test func `it walks through its states, and stays away longer each time`() {
        let desk = Desk()
        for _ in 0..<20 { _ = desk.call(good: false) }
        for seconds in [5, 10, 20, 40, 60, 60] {
            #expect(desk.machine.state == .open && !desk.call(good: true))
            desk.now = desk.now + .seconds(seconds) - .milliseconds(100)
            #expect(!desk.call(good: true))
            desk.now = desk.now + .milliseconds(100)
            for _ in 0..<3 { #expect(desk.call(good: false)) }
        }
        desk.now = desk.now + .seconds(60)
        for _ in 0..<7 { #expect(desk.call(good: true) && desk.machine.state == .halfOpen) }
        #expect(desk.call(good: true) && desk.machine.state == .closed)
        for _ in 0..<20 { _ = desk.call(good: false) }
        #expect(desk.wait() == .seconds(5))
    }

    @Test func `half open lets ten trials out, and asks again when their callers vanished`() {
        let desk = Desk()
        for _ in 0..<20 { _ = desk.call(good: false) }
        desk.now = desk.now + .seconds(5)
        for _ in 0..<10 { #expect(desk.wait() == nil) }
        #expect(desk.wait() != nil)
        desk.now = desk.now + .seconds(60)
        #expect(desk.wait() == nil)
    }

    @Test func `isolated it stays open for a day, until a person releases it`() {
        let desk = Desk()
        desk.machine.isolate()
        for _ in 0..<(24 * 60) {
            desk.now = desk.now + .seconds(60)
            #expect(!desk.call(good: true) && desk.machine.state == .isolated)
        }
        desk.machine.release()
        #expect(desk.call(good: true) && desk.machine.state == .closed)
    }

    @Test func `observed it refuses nothing, until a person releases or isolates it`() {
        let desk = Desk()
        for _ in 0..<20 { _ = desk.call(good: false) }
        #expect(desk.machine.state == .open)
        desk.machine.observe()
        for _ in 0..<100 { #expect(desk.call(good: false) && desk.machine.state == .metricsOnly) }
        desk.machine.withdraw()
        desk.machine.isolate()
        #expect(!desk.call(good: true))
        desk.machine.observe()
        desk.machine.release()
        // What failed meanwhile is not held against it.
        for _ in 0..<19 { #expect(desk.call(good: false)) }
        #expect(desk.machine.state == .closed)
        #expect(desk.call(good: false) && desk.machine.state == .open)
    }

    @Test func `a trial that never went out is another's`() {
        let desk = Desk()
        for _ in 0..<20 { _ = desk.call(good: false) }
        desk.now = desk.now + .seconds(5)
        for _ in 0..<10 { #expect(desk.wait() == nil) }
        #expect(desk.wait() != nil)
        desk.machine.withdraw()
        #expect(desk.wait() == nil)
        #expect(desk.wait() != nil)
    }
}

struct GuardTests {
    private func book(
        _ clock: ManualWallClock = ManualWallClock(), rules: BreakerMachine.Rules = BreakerMachine.Rules()
    ) -> GuardBook {
        GuardBook(registry: MetricRegistry(), health: HealthRegistry(clock: clock), clock: clock, rules: rules)
    }

    @Test func `a storm of failures costs few extra tries, and ends when the system heals`() async throws {
        let clock = ManualWallClock()
        let guarded = book(clock).guard("partner")
        let sent = Shared(0)
        let isHealed = Shared(false)
        var options = GuardOptions()
        options.backoffFirst = .milliseconds(1)
        let settings = options
        @Sendable func call() async -> Bool {
            let answer = try? await guarded.call(
                within: .seconds(600), settings, judge: { $0 ? .good : .badAndSafe },
                { _ in
                    sent.withLock { $0 += 1 }
                    await Task.yield()
                    return isHealed.withLock { $0 }
                })
            return answer ?? false
        }
        var calls = 0
        for _ in 0..<20 {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<50 { group.addTask { _ = await call() } }
            }
            calls += 50
            clock.advance(by: .seconds(1))
        }
        let tries = sent.withLock { $0 }
        print("storm: \(calls) calls, \(tries) tries")
        #expect(tries * 4 <= calls * 5)
        isHealed.withLock { $0 = true }
        var seconds = 0
        while guarded.state != .closed, seconds < 100 {
            clock.advance(by: .seconds(1))
            seconds += 1
            for _ in 0..<10 { _ = await call() }
        }
        // It may have stayed away for twice five seconds by now.
        #expect(seconds <= 60)
        #expect(await call())
    }

    @Test func `who asks for rest is tried again after it, and not at all where time is short`() async throws {
        let guarded = book().guard("partner")
        var options = GuardOptions()
        (options.triesMax, options.backoffFirst) = (2, .milliseconds(1))
        let settings = options
        let tries = Shared<[ContinuousClock.Instant]>([])
        let answer = try await guarded.call(
            within: .seconds(600), settings,
            judge: { (number: Int) in number == 1 ? .badAndSafeAfter(.milliseconds(300)) : .good },
            { _ in
                tries.withLock { tries in
                    tries.append(.now)
                    return tries.count
                }
            })
        let times = tries.withLock { $0 }
        #expect(answer == 2)
        try #require(times.count == 2)
        #expect(times[1] - times[0] >= .milliseconds(300))
        // It wants more rest than there is time for: its answer is told at once.
        let began = ContinuousClock.now
        let asked = Shared(0)
        let last = try await guarded.call(
            within: .seconds(300), settings, judge: { (_: Int) in .badAndSafeAfter(.seconds(400)) },
            { _ in
                asked.withLock { asked in
                    asked += 1
                    return asked
                }
            })
        #expect(last == 1 && asked.withLock { $0 } == 1)
        #expect(ContinuousClock.now - began < .seconds(200))
    }

    /// Fifty calls at once that all fail before a breaker that never opens: only the budget holds tries back.
    @Test func `without a breaker extra tries are a fifth of the calls under way`() async throws {
        var rules = BreakerMachine.Rules()
        rules.callsMin = .max
        let guarded = book(rules: rules).guard("partner")
        let (sent, extra, ended, isReleased) = (Shared(0), Shared(0), Shared(0), Shared(false))
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    let tries = Shared(0)
                    _ = try? await guarded.call(
                        within: .seconds(600), judge: { (_: Int) in .badAndSafe },
                        { _ in
                            sent.withLock { $0 += 1 }
                            let number = tries.withLock { tries in
                                tries += 1
                                return tries
                            }
                            // Nobody is told before all are under way, and no second try before the others gave up.
                            if number == 1 {
                                while sent.withLock({ $0 }) < 50 { try? await Task.sleep(for: .milliseconds(1)) }
                            } else if !isReleased.withLock({ $0 }) {
                                extra.withLock { $0 += 1 }
                                while extra.withLock({ $0 }) + ended.withLock({ $0 }) < 50 {
                                    try? await Task.sleep(for: .milliseconds(1))
                                }
                                isReleased.withLock { $0 = true }
                            }
                            return 1
                        })
                    ended.withLock { $0 += 1 }
                }
            }
        }
        print("budget: 50 calls, \(extra.withLock { $0 }) extra tries at once, \(sent.withLock { $0 }) tries")
        #expect(guarded.state == .closed)
        #expect(extra.withLock { $0 } == 10)
        // Those ten may try a third time.
        #expect(sent.withLock { $0 } >= 60 && sent.withLock { $0 } <= 70)
    }

    /// Twenty calls that nobody answers, each given up by its caller some time after it went out.
    private func giveUp(_ guarded: Guard, within total: Duration, after pause: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    let (sent, send) = AsyncStream.makeStream(of: Void.self)
                    let call = Task {
                        try? await guarded.call(
                            within: total, judge: { (_: Int) in .bad },
                            { _ in
                                send.finish()
                                try? await Task.sleep(for: .seconds(600))
                                return 1
                            })
                    }
                    for await _ in sent {}
                    try? await Task.sleep(for: pause)
                    call.cancel()
                    _ = await call.value
                }
            }
        }
    }

    @Test func `a call given up at the end of its time counts against the system, one given up early does not`()
        async throws
    {
        let guarded = book().guard("partner")
        await giveUp(guarded, within: .seconds(600), after: .zero)
        #expect(guarded.state == .closed)
        await giveUp(guarded, within: .seconds(2), after: .seconds(2))
        #expect(guarded.state == .open)
    }

    @Test func `a place that is left goes to one who waits, and the 65th to wait is refused`() async throws {
        let bulkhead = Bulkhead(runningMax: 64, waitingMax: 64, waitMax: .seconds(600))
        for _ in 0..<64 { #expect(await bulkhead.enter(within: .seconds(600))) }
        // Its own time is over before a place is free.
        #expect(await !bulkhead.enter(within: .milliseconds(1)))
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<64 { group.addTask { await bulkhead.enter(within: .seconds(600)) } }
            while bulkhead.waiting < 64 { try? await Task.sleep(for: .milliseconds(1)) }
            #expect(await !bulkhead.enter(within: .seconds(600)))
            bulkhead.leave()
            let first = await group.next()
            #expect(first == true)
            #expect(bulkhead.running == 64 && bulkhead.waiting == 63)
            for _ in 0..<63 { bulkhead.leave() }
            for await isIn in group { #expect(isIn) }
        }
        #expect(bulkhead.running == 64 && bulkhead.waiting == 0)
        for _ in 0..<64 { bulkhead.leave() }
        #expect(bulkhead.running == 0)
    }

    @Test func `what is not safe to repeat is sent once`() async throws {
        let guarded = book().guard("partner")
        let sent = Shared(0)
        _ = try await guarded.call(
            within: .seconds(60), judge: { (_: Int) in .bad },
            { _ in
                sent.withLock { $0 += 1 }
                return 1
            })
        #expect(sent.withLock { $0 } == 1)
    }

    @Test func `beyond 64 running and 64 waiting calls are refused, and the waiting get their turn`() async throws {
        let guarded = book().guard("partner")
        let isOpen = Shared(false)
        let inside = Shared(0)
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<64 {
                group.addTask {
                    (try? await guarded.call(
                        within: .seconds(60), judge: { (_: Int) in .good },
                        { _ in
                            inside.withLock { $0 += 1 }
                            while !isOpen.withLock({ $0 }) { try? await Task.sleep(for: .milliseconds(5)) }
                            return 1
                        })) != nil
                }
            }
            while inside.withLock({ $0 }) < 64 { await Task.yield() }
            // Nobody leaves: those who wait give up in half a second.
            let refused = try? await guarded.call(within: .seconds(60), judge: { (_: Int) in .good }, { _ in 1 })
            #expect(refused == nil)
            isOpen.withLock { $0 = true }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count == 64 && outcomes.allSatisfy(\.self))
        #expect(try await guarded.call(within: .seconds(60), judge: { (_: Int) in .good }, { _ in 5 }) == 5)
    }

    @Test func `health and the metric show what is given up`() async throws {
        let (registry, clock) = (MetricRegistry(), ManualWallClock())
        let health = HealthRegistry(clock: clock)
        let book = GuardBook(registry: registry, health: health, clock: clock)
        #expect(!book.knows("partner"))
        let guarded = book.guard("partner")
        book.hold(only: ["partner"])
        #expect(book.states.map(\.state) == [.isolated])
        await #expect(throws: GuardRefusal.self) {
            try await guarded.call(within: .seconds(1), judge: { (_: Int) in .good }, { _ in 1 })
        }
        #expect(health.snapshot["partner"]?.state == .degraded && health.snapshot["partner"]?.required == false)
        #expect(
            registry.prometheusText().contains(
                "aurum_resilience_breaker_state{dependency=\"partner\",state=\"isolated\"} 1"))
        book.hold(only: [])
        #expect(health.snapshot["partner"]?.state == .ok)
    }
}
