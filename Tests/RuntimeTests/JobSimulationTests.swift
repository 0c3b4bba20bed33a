import AurumCore
import Foundation
import Runtime
import TestSupport
import Testing

/// Simulated schedules. `SIM_SEED` and `SIM_SCHEDULES` of the environment replay or lengthen them.
struct JobSimulationTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let seed = environment["SIM_SEED"].flatMap { UInt64($0) } ?? 20_261_121
    private static let schedules = environment["SIM_SCHEDULES"].flatMap { Int($0) } ?? soakCount(100_000)

    @Test func `no schedule loses a job, doubles an effect or breaks a limit`() {
        for number in 0..<Self.schedules {
            let seed = Self.seed &+ UInt64(number)
            var settings = JobSimulation.Settings()
            if number.isMultiple(of: 2) { settings.skew = 0 }
            settings.isShared = seed % 4 >= 2
            var simulation = JobSimulation(seed: seed, settings: settings)
            let wrong = simulation.run()
            guard wrong.isEmpty else {
                Issue.record("seed \(seed): \(wrong.prefix(3)); \(simulation.trace.suffix(12))")
                return
            }
        }
        print("jobs: \(Self.schedules) schedules from seed \(Self.seed)")
    }

    /// The canary: without the guard of the fence the judge must find something.
    @Test func `without the fence effects are doubled, and the judge sees it`() {
        var settings = JobSimulation.Settings()
        settings.isGuarded = false
        let found = (0..<400).contains { number in
            var simulation = JobSimulation(seed: Self.seed &+ UInt64(number), settings: settings)
            return simulation.run().contains { $0.contains("effects") || $0.contains("has an effect") }
        }
        #expect(found)
    }

    @Test func `an idle job is not overtaken by a high one that became due 660 seconds later`() throws {
        let count = soakCount(1_000_000)
        let gap = Int64(1_000_000_000) / Int64(count)
        let start: Int64 = 1_800_000_000_000_000
        let table = MemoryJobTable()
        let (high, idle) = (
            JobKind("test.high", priority: .high, keepsDone: .zero),
            JobKind("test.idle", priority: .idle, keepsDone: .zero)
        )
        var fence: Int64 = 0
        var random = SeededRandom(seed: 7)
        var (isClaimed, overtaken, served) = (false, 0, 0)
        func desk(_ now: Int64) -> JobDesk<MemoryJobTable> {
            JobDesk(table, now: Timestamp(microseconds: now)) { number in
                defer { fence += Int64(number) }
                return (0..<number).map { fence + 1 + Int64($0) }
            }
        }
        _ = try desk(start).enqueue(NewJob(idle, org: "acme"), id: UID(high: 0, low: 1))
        // Slower than they arrive, so that there is always something urgent to do.
        for number in 0..<count {
            let now = start + Int64(number) * gap
            _ = try desk(now).enqueue(NewJob(high, org: "acme"), id: UID(high: 1, low: UInt64(number)))
            if number % 50 == 0 { continue }
            let worker = UID(high: 2, low: 2)
            let result = try desk(now).turn(JobTurn(worker: worker, limit: 1), random: &random)
            for job in result.claimed {
                if job.type == "test.idle" {
                    isClaimed = true
                } else if !isClaimed, job.dueAt.microseconds > start + JobPriority.spread.microseconds {
                    overtaken += 1
                }
                served += 1
                try desk(now).complete(JobClaim(seq: job.seq, fence: job.fence))
            }
        }
        #expect(isClaimed && overtaken == 0)
        #expect(served > count * 9 / 10)
    }
}
