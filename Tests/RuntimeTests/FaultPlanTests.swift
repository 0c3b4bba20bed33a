import AurumCore
import Logging
import Runtime
import Telemetry
import TestSupport
import Testing

/// Faults on purpose: which calls they strike, and what becomes of those.
struct FaultPlanTests {
    private static let now = Timestamp(milliseconds: 1_795_262_400_000)

    @Test func `a plan is read, shown as it was written, and read again`() throws {
        let text = "seed=7; buyer:* latency 0.2 300; network:meta@graph.facebook.com drop 0.05; redis pause 0.5 2000"
        let plan = try FaultPlan(text)
        #expect(plan.seed == 7 && plan.rules.count == 3)
        #expect(plan.text == text)
        #expect(try FaultPlan(plan.text) == plan)
        #expect(plan.fault("elsewhere", call: 1, at: Self.now) == nil)
    }

    @Test(arguments: [
        ("", "1 to 32 rules"), ("seed=7", "1 to 32 rules"), ("seed=x; a error 1", "seed"), ("a", "NAME KIND RATE"),
        ("a burn 1", "NAME KIND RATE"), ("a error 1.5", "rate"), ("a error nan", "rate"), ("a error 0.1 5", "no time"),
        ("a latency 0.1", "time from 1 to 600000"), ("a pause 0.1 0", "time from"), ("a pause 0.1 600001", "time from"),
        ("a latency 0.1 99999999999999999999", "time from"), (String(repeating: "a error 1;", count: 33), "1 to 32"),
        (String(repeating: "a", count: 5000), "4096 bytes"),
    ])
    func `a wrong plan is a sentence`(text: String, part: String) throws {
        do {
            _ = try FaultPlan(text)
            Issue.record("took \(text)")
        } catch { #expect(error.description.contains(part), "\(error)") }
    }

    @Test func `the seed decides which calls are struck, and the rate how many`() throws {
        func struck(_ seed: Int, _ dependency: String = "buyer:a") throws -> [UInt64] {
            let plan = try FaultPlan("seed=\(seed); buyer:* error 0.1")
            return (0..<20_000 as Range<UInt64>).filter { plan.fault(dependency, call: $0, at: Self.now) != nil }
        }
        let first = try struck(7)
        #expect(try struck(7) == first, "the same seed, the same calls")
        #expect(try struck(8) != first && struck(7, "buyer:b") != first)
        // Six standard deviations of 20 000 draws.
        #expect(abs(first.count - 2000) < 6 * 43, "\(first.count)")
        let none = try FaultPlan("a error 0"), all = try FaultPlan("a error 1")
        #expect((0..<1000 as Range<UInt64>).allSatisfy { none.fault("a", call: $0, at: Self.now) == nil })
        #expect((0..<1000 as Range<UInt64>).allSatisfy { all.fault("a", call: $0, at: Self.now) != nil })
    }

    @Test func `stretches strike every call of theirs, a pause waits for the end`() throws {
        let plan = try FaultPlan("seed=3; a pause 0.3 1000")
        var struck = 0
        for slot in 0..<2000 as Range<Int64> {
            let start = Timestamp(microseconds: slot * 1_000_000)
            let faults = [0, 1, 999_999].map { offset in
                plan.fault("a", call: UInt64(offset), at: start + .microseconds(offset))
            }
            #expect(Set(faults.map { $0?.kind }).count == 1, "one stretch, one fate")
            guard let first = faults[0], let last = faults[2] else { continue }
            struck += 1
            #expect(first.wait == .seconds(1) && last.wait == .microseconds(1))
        }
        #expect(abs(struck - 600) < 6 * 21, "\(struck)")
    }

    /// A guard with a plan, and what stands behind it.
    private struct Desk {
        let registry = MetricRegistry()
        let health: HealthRegistry
        let injector: FaultInjector
        let guarded: Guard
        let sent = Shared(0)

        init(_ plan: String?) throws {
            let clock = ManualWallClock()
            health = HealthRegistry(clock: clock)
            injector = FaultInjector(registry: registry, health: health, clock: clock, logger: Logger(label: "test"))
            if let plan { injector.set(try FaultPlan(plan), actor: "test") }
            guarded = GuardBook(registry: registry, health: health, clock: clock, faults: injector).guard("partner")
        }

        func call(tries: Int = 1, lost: String? = "lost") async -> Result<String, GuardRefusal> {
            var options = GuardOptions()
            (options.triesMax, options.backoffFirst) = (tries, .milliseconds(1))
            let (settings, sent) = (options, sent)
            do throws(GuardRefusal) {
                return .success(
                    try await guarded.call(
                        within: .seconds(5), settings, lost: lost, judge: { $0 == "answer" ? .good : .bad },
                        { _ in
                            sent.withLock { $0 += 1 }
                            return "answer"
                        }))
            } catch { return .failure(error) }
        }
    }

    @Test func `each kind does what it says, and is counted`() async throws {
        for (plan, sent, outcome) in [
            ("partner error 1", 0, Result<String, GuardRefusal>.failure(.injected)),
            ("partner partition 1 1000", 0, .failure(.injected)), ("partner drop 1", 1, .success("lost")),
            ("partner duplicate 1", 2, .success("answer")), ("partner latency 1 50", 1, .success("answer")),
            ("elsewhere error 1", 1, .success("answer")),
        ] {
            let desk = try Desk(plan)
            let began = ContinuousClock.now
            #expect(await desk.call() == outcome, "\(plan)")
            #expect(desk.sent.withLock { $0 } == sent, "\(plan)")
            if plan.contains("latency") { #expect(ContinuousClock.now - began >= .milliseconds(50)) }
            let kind = plan.split(separator: " ").map(String.init)[1]
            let count = desk.registry.counter(.faultsInjected, "partner", kind).value
            #expect(count == (plan.hasPrefix("partner") ? 1 : 0), "\(plan)")
        }
    }

    @Test func `an answer is lost only where the caller says what that means`() async throws {
        let desk = try Desk("partner drop 1")
        #expect(await desk.call(lost: nil) == .success("answer"))
    }

    @Test func `a call that was kept back may be tried again, and opens the breaker like any failure`() async throws {
        let desk = try Desk("partner error 1")
        #expect(await desk.call(tries: 3) == .failure(.injected))
        #expect(desk.registry.counter(.faultsInjected, "partner", "error").value == 3)
        for _ in 0..<20 { _ = await desk.call() }
        #expect(desk.guarded.state == .open)
        #expect(desk.sent.withLock { $0 } == 0)
    }

    @Test func `health says that faults are active, and when they are over`() async throws {
        let desk = try Desk(nil)
        #expect(desk.health.snapshot[FaultInjector.component]?.state == .ok)
        #expect(await desk.call() == .success("answer"))
        desk.injector.set(try FaultPlan("partner error 1"), actor: "key")
        let active = desk.health.snapshot[FaultInjector.component]
        #expect(active?.state == .degraded && active?.reason == FaultInjector.activeReason && active?.required == false)
        #expect(active?.details == ["partner error 1.0"])
        #expect(await desk.call() == .failure(.injected))
        desk.injector.set(nil, actor: "key")
        #expect(desk.health.snapshot[FaultInjector.component]?.state == .ok)
        #expect(await desk.call() == .success("answer"))
    }

    @Test func `Redis meets the same plan`() async throws {
        let server = try await RedisServer()
        let (registry, clock) = (MetricRegistry(), ManualWallClock())
        let health = HealthRegistry(clock: clock)
        let injector = FaultInjector(registry: registry, health: health, clock: clock, logger: Logger(label: "test"))
        let client = try RedisClient(
            configuration: try RedisConfiguration(url: server.url), registry: registry, health: health,
            logger: Logger(label: "test"), faults: injector)
        let running = Task { try await client.run() }
        #expect(await client.waitUntilAvailable(within: .seconds(30)))
        func count() async throws -> Int64? { try await client.call(RedisCommand("INCR", "count")).integer }
        #expect(try await count() == 1)
        injector.set(try FaultPlan("redis error 1"), actor: "test")
        await #expect(throws: RedisError.unavailable) { _ = try await count() }
        injector.set(try FaultPlan("redis drop 1"), actor: "test")
        await #expect(throws: RedisError.outcomeUnknown) { _ = try await count() }
        await #expect(throws: RedisError.timeout) { _ = try await client.call(RedisCommand("GET", "count")) }
        injector.set(nil, actor: "test")
        #expect(try await count() == 3, "what was lost was the answer, not the command")
        running.cancel()
        _ = try? await running.value
    }
}
