/// When iterations start, in k6's words and with k6's meaning.
package enum LoadExecutor: Sendable, Hashable {
    /// Open loop: starts are due at fixed times, whatever the target does. `virtualUsers` bounds those at work at once.
    case constantArrivalRate(perSecond: Double, seconds: Double, virtualUsers: Int)
    /// Open loop: one constant rate after another, without slopes between them. k6 writes this as
    /// `ramping-arrival-rate` with stages of no length.
    case steppedArrivalRate(steps: [RateStep], virtualUsers: Int)
    /// Closed loop: so many iterations in all, done as fast as the users can. Ends when they are done.
    case sharedIterations(count: Int, virtualUsers: Int, secondsMax: Double)
    /// Closed loop: the number of users moves in straight lines through the stages; each begins again when it is done.
    case rampingVirtualUsers(start: Int, stages: [LoadStage])

    /// Nanoseconds from the first to the last moment at which an iteration may start.
    package var lengthNanoseconds: UInt64 {
        switch self {
        case .constantArrivalRate(_, let seconds, _): nanoseconds(seconds)
        case .steppedArrivalRate(let steps, _): nanoseconds(steps.reduce(0) { $0 + $1.seconds })
        case .sharedIterations(_, _, let seconds): nanoseconds(seconds)
        case .rampingVirtualUsers(_, let stages): nanoseconds(stages.reduce(0) { $0 + $1.seconds })
        }
    }

    /// Most users that are ever at work at once.
    package var usersMax: Int {
        switch self {
        case .constantArrivalRate(_, _, let users), .steppedArrivalRate(_, let users),
            .sharedIterations(_, let users, _):
            users
        case .rampingVirtualUsers(let start, let stages): max(start, stages.map(\.target).max() ?? 0)
        }
    }

    package var isOpenLoop: Bool { !steps.isEmpty }

    /// The rates of an open loop; empty for closed ones.
    var steps: [RateStep] {
        switch self {
        case .constantArrivalRate(let rate, let seconds, _): [RateStep(perSecond: rate, seconds: seconds)]
        case .steppedArrivalRate(let steps, _): steps
        case .rampingVirtualUsers, .sharedIterations: []
        }
    }

    /// The part of this load that thread `index` of `count` makes; all parts together are the whole.
    package func share(_ index: Int, of count: Int) -> LoadExecutor {
        func part(_ whole: Int) -> Int { (whole + count - 1 - index) / count }
        switch self {
        case .constantArrivalRate(let rate, let seconds, let users):
            return .constantArrivalRate(
                perSecond: rate / Double(count), seconds: seconds, virtualUsers: max(1, part(users)))
        case .steppedArrivalRate(let steps, let users):
            return .steppedArrivalRate(
                steps: steps.map { RateStep(perSecond: $0.perSecond / Double(count), seconds: $0.seconds) },
                virtualUsers: max(1, part(users)))
        case .sharedIterations(let iterations, let users, let seconds):
            return .sharedIterations(count: part(iterations), virtualUsers: max(1, part(users)), secondsMax: seconds)
        case .rampingVirtualUsers(let start, let stages):
            return .rampingVirtualUsers(
                start: part(start), stages: stages.map { LoadStage(target: part($0.target), seconds: $0.seconds) })
        }
    }
}

/// A constant rate of arrivals for some time.
package struct RateStep: Sendable, Hashable, Codable {
    package var perSecond: Double
    package var seconds: Double

    package init(perSecond: Double, seconds: Double) {
        self.perSecond = perSecond
        self.seconds = seconds
    }
}

/// Users at the end of a stage, and how long it takes to get there.
package struct LoadStage: Sendable, Hashable, Codable {
    package var target: Int
    package var seconds: Double

    package init(target: Int, seconds: Double) {
        self.target = target
        self.seconds = seconds
    }
}

func nanoseconds(_ seconds: Double) -> UInt64 { UInt64((seconds * 1e9).rounded()) }
