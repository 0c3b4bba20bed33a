package import AurumCore

/// Where a delivery stands.
package enum CallbackState: String, Sendable, CaseIterable {
    case waiting
    /// A request is on its way, or was when a process ended.
    case sending
    case delivered
    /// The receiver does not want it; another try would end the same way.
    case refused
    /// Tried for 24 hours.
    case dead
    /// Never sent, or not any more; the reason says why.
    case suppressed

    package var isOver: Bool { self != .waiting && self != .sending }
}

/// What became of one attempt. Reasons are codes, never a receiver's own words.
package enum CallbackOutcome: Sendable, Equatable {
    case delivered(status: Int)
    case refused(status: Int)
    /// May be tried again, no earlier than the receiver says.
    case failed(reason: String, status: Int?, retryAfter: Duration?)

    /// What a status means: 2xx took it, 408, 425, 429 and 5xx may later, everything else never.
    package init(status: Int, retryAfter: Duration?) {
        switch status {
        case 200...299: self = .delivered(status: status)
        case 408, 425, 429, 500...599: self = .failed(reason: "http_\(status)", status: status, retryAfter: retryAfter)
        default: self = .refused(status: status)
        }
    }

    package var word: String {
        switch self {
        case .delivered: "delivered"
        case .refused: "refused"
        case .failed: "failed"
        }
    }

    package var reason: String {
        switch self {
        case .delivered: ""
        case .refused(let status): "http_\(status)"
        case .failed(let reason, _, _): reason
        }
    }

    package var status: Int? {
        switch self {
        case .delivered(let status), .refused(let status): status
        case .failed(_, let status, _): status
        }
    }
}

/// Decides when a delivery is tried, and when it is given up. Pure: the clock comes in.
package struct CallbackMachine: Sendable, Equatable {
    package var state = CallbackState.waiting
    package var reason = ""
    package var status: Int?
    /// In all.
    package var attempts = 0
    /// Since it was taken up, or set to work again.
    package var tries = 0
    package var firstAt: Timestamp?
    package var dueAt: Timestamp?
    package var endedAt: Timestamp?

    /// Waits before the second to the fifth try; then one an hour.
    package static let pauses: [Duration] = [.seconds(1), .seconds(5), .seconds(25), .seconds(125)]
    package static let hourly: Duration = .seconds(3600)
    /// The first, those after `pauses`, and 24 hourly ones.
    package static let triesMax = 1 + pauses.count + 24
    /// No try begins later than this after the first, whatever a receiver asks for.
    package static let within: Duration = .seconds(25 * 3600)

    package init(now: Timestamp) { dueAt = now }

    init(state: CallbackState, reason: String) { (self.state, self.reason) = (state, reason) }

    /// A request is about to leave. What is due stays due until its end is written, so that it is never forgotten.
    package mutating func begin(now: Timestamp) {
        state = .sending
        attempts += 1
        tries += 1
        firstAt = firstAt ?? now
        dueAt = now
    }

    package mutating func answer(_ outcome: CallbackOutcome, now: Timestamp) {
        (reason, status) = (outcome.reason, outcome.status)
        switch outcome {
        case .delivered: end(.delivered, now)
        case .refused: end(.refused, now)
        case .failed(_, _, let retryAfter):
            let pause = tries <= Self.pauses.count ? Self.pauses[max(0, tries - 1)] : Self.hourly
            // A wait that nobody would live to see the end of is as long as the schedule.
            let next = now + max(pause, min(retryAfter ?? .zero, Self.within + Self.hourly))
            guard tries < Self.triesMax, next - (firstAt ?? now) <= Self.within else { return end(.dead, now) }
            (state, dueAt) = (.waiting, next)
        }
    }

    package mutating func suppress(_ why: String, now: Timestamp) {
        reason = why
        end(.suppressed, now)
    }

    /// Given up or refused, and set to work again by hand. False where it is neither.
    package mutating func redrive(now: Timestamp) -> Bool {
        let wasSwitchedOff = state == .suppressed && reason == CallbackStore.switchedOff
        guard state == .dead || state == .refused || wasSwitchedOff else { return false }
        (state, tries, firstAt, dueAt, endedAt) = (.waiting, 0, nil, now, nil)
        return true
    }

    private mutating func end(_ over: CallbackState, _ now: Timestamp) {
        (state, dueAt, endedAt) = (over, nil, now)
    }
}
