import AurumCore
import Runtime
import Testing

struct CacheSimulationTests {
    @Test func `no value outlives an invalidation or its time, and one is made at a time, whatever breaks`() {
        let (first, count) = (SimulationSize.seed, SimulationSize.schedules(4000))
        var (gets, made, refused, orphans) = (0, 0, 0, 0)
        for seed in first..<(first + UInt64(count)) {
            var simulation = CacheSimulation(seed: seed)
            let verdict = simulation.run()
            gets += verdict.gets
            made += verdict.made
            refused += verdict.refused
            orphans += verdict.orphans
            guard verdict.wrong.isEmpty else {
                var again = CacheSimulation(seed: seed, keepsTrace: true)
                let trace = again.run().trace.suffix(40).joined(separator: "\n")
                let wrong = verdict.wrong.prefix(3).joined(separator: "\n")
                Issue.record("seed \(seed): \(wrong)\n\(trace)")
                return
            }
        }
        print(
            "cache simulation: \(count) schedules from seed \(first), \(gets) gets, \(made) values made,",
            "\(refused) refused, \(orphans) makers died with a flight")
        #expect(made > 0 && refused > made / 500 && orphans > count / 200, "the simulation is too tame")
    }

    @Test(arguments: CacheSimulation.Canary.allCases.filter { $0 != .none })
    func `a cache that is broken on purpose is found within ten thousand schedules`(canary: CacheSimulation.Canary) {
        let first = SimulationSize.seed
        let found = (first..<(first + 10_000)).first { seed in
            var simulation = CacheSimulation(seed: seed, canary: canary)
            return !simulation.run().wrong.isEmpty
        }
        #expect(found != nil)
        if let found { print("canary: cache with \(canary), found at seed \(found)") }
    }

    @Test func `a seed plays the same schedule again`() {
        var one = CacheSimulation(seed: 99, keepsTrace: true)
        var other = CacheSimulation(seed: 99, keepsTrace: true)
        #expect(one.run() == other.run())
    }
}
