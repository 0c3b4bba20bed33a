package import AurumCore

/// What `aurum load` does: events of a profile, in bodies of a size, at a rate, over so many connections.
package struct LoadPlan: Sendable, Codable {
    package typealias Profile = EventProfile

    /// `http://host:port` of Aurum.
    package var target: String
    /// Keys with scope `events:write`; body k uses key k mod count.
    package var keys: [String]
    /// nil: as fast as the connections allow. That is a closed loop: for exploring, its latency cannot pass a bar.
    package var eventsPerSecond: Double?
    /// Several rates one after another instead of `eventsPerSecond`; in events.
    package var steps: [RateStep] = []
    package var seconds: Double = 10
    /// A closed loop whose number of connections changes; instead of any rate.
    package var users: [LoadStage] = []
    /// Recorded apart and not judged.
    package var warmUpSeconds: Double = 2
    package var connections = 48
    package var threads = 1
    /// Events a body.
    package var batch = 800
    package var profile = EventProfile.standard
    package var seed: UInt64 = 7
    /// Makes event ids differ between runs; nil takes the time of the start.
    package var salt: UInt64?
    /// Distinct bodies held ready; at least one a connection is made.
    package var templates = 64
    /// Prometheus text of the server under load, for its CPU and memory.
    package var metricsURL: String?
    /// Process id of the server on this machine, for its CPU and memory.
    package var targetPID: Int32?
    /// Drive a null server at twice the rate first, to know what this generator and machine can do.
    package var calibrates = false
    /// Keep the sequence numbers of acknowledged bodies, so that each event can be asked for afterwards.
    package var keepsAcknowledged = false
    package var graceSeconds: Double = 10

    package init(target: String, keys: [String]) {
        self.target = target
        self.keys = keys
    }

    /// From the first to the last moment at which something may start.
    package var lengthSeconds: Double { Double(executor.lengthNanoseconds) / 1e9 }

    /// Warm-up takes at most half of the run.
    package var judgedSeconds: Double { lengthSeconds - min(warmUpSeconds, lengthSeconds / 2) }

    var executor: LoadExecutor {
        if !users.isEmpty { return .rampingVirtualUsers(start: users[0].target, stages: users) }
        if !steps.isEmpty {
            return .steppedArrivalRate(
                steps: steps.map {
                    RateStep(perSecond: $0.perSecond / Double(max(1, batch)), seconds: $0.seconds)
                }, virtualUsers: connections)
        }
        if let eventsPerSecond {
            return .constantArrivalRate(
                perSecond: eventsPerSecond / Double(max(1, batch)), seconds: seconds, virtualUsers: connections)
        }
        return .rampingVirtualUsers(start: connections, stages: [LoadStage(target: connections, seconds: seconds)])
    }
}
