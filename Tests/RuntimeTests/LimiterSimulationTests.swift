import AurumCore
import Runtime
import Testing

struct LimiterSimulationTests {
    @Test func `no limit lets more pass than it says, whoever is late, lost, cut off or forgetful`() {
        let (first, count) = (SimulationSize.seed, SimulationSize.schedules(4000))
        var (allowed, refused, alone) = (0, 0, 0)
        for seed in first..<(first + UInt64(count)) {
            var simulation = LimiterSimulation(seed: seed)
            let verdict = simulation.run()
            allowed += verdict.allowed
            refused += verdict.refused
            alone += verdict.alone
            guard verdict.wrong.isEmpty else {
                var again = LimiterSimulation(seed: seed, keepsTrace: true)
                let trace = again.run().trace.suffix(40).joined(separator: "\n")
                let wrong = verdict.wrong.prefix(3).joined(separator: "\n")
                Issue.record("seed \(seed): \(wrong)\n\(trace)")
                return
            }
        }
        print(
            "limiter simulation: \(count) schedules from seed \(first), \(allowed) calls allowed, \(refused) refused,",
            "\(alone) decided alone")
        #expect(allowed > 0 && refused > allowed / 20 && alone > allowed / 20, "the simulation is too tame")
    }

    @Test(arguments: [LimiterSimulation.Canary.nodeClocks, .wholeShares])
    func `a limiter that is broken on purpose is found within ten thousand schedules`(
        canary: LimiterSimulation.Canary
    ) {
        let first = SimulationSize.seed
        let found = (first..<(first + 10_000)).first { seed in
            var simulation = LimiterSimulation(seed: seed, canary: canary)
            return !simulation.run().wrong.isEmpty
        }
        #expect(found != nil)
        if let found { print("canary: limiter with \(canary), found at seed \(found)") }
    }

    @Test func `a seed plays the same schedule again`() {
        var one = LimiterSimulation(seed: 99, keepsTrace: true)
        var other = LimiterSimulation(seed: 99, keepsTrace: true)
        #expect(one.run() == other.run())
    }
}
