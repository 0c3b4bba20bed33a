/// Events a second that the scenarios offer.
package enum LoadRate: Sendable, Hashable {
    case perSecond(Double)
    /// What this target can take on this machine is found first; the scenarios offer four fifths of it.
    case calibrated
}

/// How large the event scenarios of a run are. Bars: spec/events.md §10.
struct EventScenario: Sendable {
    /// The sustained rate; spikes and endurance start from half of it.
    var rate: LoadRate
    /// Whether latency, rates and memory are held to their bars.
    var judgesSpeed = true
    /// Other work on the machine, or a generator that fell behind, makes the whole check void; otherwise only its
    /// figures are not judged.
    var disturbanceVoids = true
    var batch = 800
    var seconds = 60.0
    var warmUpSeconds = 10.0
    var connections = 48
    /// Users of the ramp, each stage a straight line.
    var ramp: [LoadStage]
    var rampBatch = 100
    var spikeBaseSeconds = 30.0
    var spikePeakSeconds = 60.0
    /// Enough that the target, not the generator, decides what waits.
    var spikeConnections = 512
    var enduranceSeconds: Double
    var enduranceWarmUpSeconds: Double
    var kills: Int
    /// Events a second while the server is killed.
    var killRate = 100_000.0
    var slowClients = 10_000
    var slowSeconds = 45.0

    /// Stored events a second of the bar.
    static let bar = 1_050_000.0

    static func of(_ profile: ValidationProfile, rate: LoadRate? = nil) -> EventScenario {
        var scenario = sized(profile)
        if let rate { scenario.rate = rate }
        return scenario
    }

    private static func sized(_ profile: ValidationProfile) -> EventScenario {
        switch profile {
        case .tiny: tiny
        case .smoke: smoke
        case .standard:
            EventScenario(
                rate: .perSecond(bar), ramp: stages([(10, 1), (100, 15), (500, 15), (1000, 15), (0, 5)]),
                spikePeakSeconds: 30, enduranceSeconds: 120, enduranceWarmUpSeconds: 30, kills: 5)
        case .full:
            EventScenario(
                rate: .perSecond(bar),
                ramp: stages([(10, 1), (100, 120), (500, 300), (1000, 600), (500, 300), (0, 120)]),
                enduranceSeconds: 900, enduranceWarmUpSeconds: 180, kills: 20)
        }
    }

    private static var tiny: EventScenario {
        EventScenario(
            rate: .perSecond(4000), judgesSpeed: false, disturbanceVoids: false, batch: 20, seconds: 1.5,
            warmUpSeconds: 0.5, connections: 8, ramp: stages([(2, 0.1), (8, 0.4), (24, 0.4), (0, 0.2)]), rampBatch: 10,
            spikeBaseSeconds: 1, spikePeakSeconds: 1, spikeConnections: 64, enduranceSeconds: 4,
            enduranceWarmUpSeconds: 1, kills: 1, killRate: 4000, slowClients: 100, slowSeconds: 2)
    }

    private static var smoke: EventScenario {
        EventScenario(
            rate: .perSecond(200_000), disturbanceVoids: false, seconds: 10, warmUpSeconds: 2,
            ramp: stages([(10, 1), (100, 2), (500, 2), (1000, 3), (0, 1)]), spikeBaseSeconds: 4, spikePeakSeconds: 4,
            enduranceSeconds: 15, enduranceWarmUpSeconds: 3, kills: 1, killRate: 40_000, slowClients: 2000,
            slowSeconds: 6)
    }

    private static func stages(_ pairs: [(Int, Double)]) -> [LoadStage] {
        pairs.map { LoadStage(target: $0.0, seconds: $0.1) }
    }
}
