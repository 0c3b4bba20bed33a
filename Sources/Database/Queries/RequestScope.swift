package import AurumCore
internal import Logging
internal import Synchronization
internal import Telemetry

/// Counts how often each statement runs while one request is answered, in tasks that the request began too. Runs that
/// were undone because others were in the way do not count.
package final class RequestScope: Sendable {
    /// The request that the present task works for; nil for what belongs to none, and for work that does the same for
    /// each of many rows by its nature.
    @TaskLocal package static var current: RequestScope?

    /// Runs of one statement that a request may need.
    package static let runsMax = 20
    /// Statements that are counted by themselves; texts are written in the sources, so that this is hardly reached.
    private static let textsMax = 1000

    /// One statement of a request.
    struct Runs: Sendable {
        /// The read or write that ran it first.
        let name: String
        var count: Int
    }

    private let runs = Mutex<[String: Runs]>([:])

    package init() {}

    /// - Parameter texts: how often each text ran.
    func add(_ name: String, _ texts: [String: Int]) {
        runs.withLock { runs in
            for (text, count) in texts {
                if runs[text] == nil, runs.count >= Self.textsMax { continue }
                runs[text, default: Runs(name: name, count: 0)].count += count
            }
        }
    }

    /// What ran more often than `runsMax`, by its text.
    var repeated: [String: Runs] { runs.withLock { $0.filter { $0.value.count > Self.runsMax } } }
}

/// Statements that one request ran again and again: a question for each row where one for all rows would do.
package final class RepeatedStatements: Sendable {
    /// Pairs of route and statement that are kept; one more is counted and logged only.
    static let keptMax = 100
    /// Least time between two log records of one pair.
    private static let logInterval: Duration = .seconds(1)

    private struct Place: Hashable { let route: String; let text: String }

    private struct Kept: Sendable {
        let name: String
        var requests = 0
        var most = 0
        var lastAt: Timestamp
        var loggedAt: ContinuousClock.Instant?
    }

    private let kept = Mutex<[Place: Kept]>([:])
    private let registry: MetricRegistry
    private let clock: any WallClock
    private let logger: Logger

    init(registry: MetricRegistry, clock: any WallClock, logger: Logger) {
        (self.registry, self.clock, self.logger) = (registry, clock, logger)
    }

    /// A request is answered. What ran too often is counted, kept and logged.
    /// - Parameter route: as it is declared, without values.
    package func settle(_ scope: RequestScope, route: String, at now: ContinuousClock.Instant = .now) {
        for (text, runs) in scope.repeated {
            registry.counter(.databaseRepeated, runs.name).increment()
            guard note(Place(route: route, text: text), runs, now) else { continue }
            logger.warning(
                "one request ran a statement again and again",
                metadata: [
                    "code": "n_plus_one", "route": "\(route)", "statement": "\(runs.name)", "runs": "\(runs.count)",
                    "sql": "\(String(text.prefix(SlowCall.textMax)))",
                ])
        }
    }

    /// Keeps it, and answers whether it is to be logged.
    private func note(_ place: Place, _ runs: RequestScope.Runs, _ now: ContinuousClock.Instant) -> Bool {
        kept.withLock { kept in
            if kept[place] == nil, kept.count >= Self.keptMax { return true }
            var one = kept[place] ?? Kept(name: runs.name, lastAt: clock.now)
            defer { kept[place] = one }
            one.requests += 1
            one.most = max(one.most, runs.count)
            one.lastAt = clock.now
            if let logged = one.loggedAt, now - logged < Self.logInterval { return false }
            one.loggedAt = now
            return true
        }
    }

    /// By the number of requests, most first.
    package var json: JSONValue {
        let all = kept.withLock { $0 }.sorted {
            ($1.value.requests, $0.key.route, $0.key.text) < ($0.value.requests, $1.key.route, $1.key.text)
        }
        return .array(
            all.map { place, one in
                [
                    "route": .string(place.route), "statement": .string(one.name),
                    "requests": .integer(Int64(one.requests)), "runs_max": .integer(Int64(one.most)),
                    "last_at": .string(one.lastAt.rfc3339), "sql": .string(String(place.text.prefix(SlowCall.textMax))),
                ]
            })
    }
}
