import AurumCore
import Foundation
import Runtime
import TestSupport
import Testing

/// How much is simulated: `SIM_SEED` and `SIM_SCHEDULES`, as `make sim` sets them.
enum SimulationSize {
    static func schedules(_ usual: Int) -> Int {
        ProcessInfo.processInfo.environment["SIM_SCHEDULES"].flatMap(Int.init) ?? soakCount(usual * 25)
    }

    static var seed: UInt64 {
        ProcessInfo.processInfo.environment["SIM_SEED"].flatMap { UInt64($0) } ?? 1
    }
}

struct LockSimulationTests {
    @Test func `no addition is lost, whatever is paused, forgotten or unanswered`() {
        let (first, count) = (SimulationSize.seed, SimulationSize.schedules(2000))
        var holds = 0
        var refused = 0
        for seed in first..<(first + UInt64(count)) {
            var simulation = LockSimulation(seed: seed)
            let verdict = simulation.run()
            holds += verdict.holds
            refused += verdict.refused
            guard verdict.lostUpdates == 0, verdict.isLive else {
                var again = LockSimulation(seed: seed, keepsTrace: true)
                let trace = again.run().trace.suffix(40).joined(separator: "\n")
                Issue.record("seed \(seed): \(verdict.lostUpdates) lost, live \(verdict.isLive)\n\(trace)")
                return
            }
        }
        print("lock simulation: \(count) schedules from seed \(first), \(holds) holds, \(refused) writes refused")
        #expect(refused > 0, "no schedule ever overtook a holder: the simulation is too tame")
    }

    @Test func `without the guard the simulation finds a lost addition within ten thousand schedules`() {
        let first = SimulationSize.seed
        let found = (first..<(first + 10_000)).first { seed in
            var simulation = LockSimulation(seed: seed, isGuarded: false)
            return simulation.run().lostUpdates > 0
        }
        #expect(found != nil)
        if let found { print("canary: the guard removed, lost at seed \(found)") }
    }

    @Test func `a seed plays the same schedule again`() {
        var one = LockSimulation(seed: 99, keepsTrace: true)
        var other = LockSimulation(seed: 99, keepsTrace: true)
        #expect(one.run() == other.run())
    }
}
