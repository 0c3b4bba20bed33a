internal import AurumCore

/// One holder of one lock, from the first request to the release. It decides; `LockDriver` sends, waits and runs.
///
/// Times are those of a clock that never goes back, in microseconds. The deadline counts from before a request was
/// sent, less one part in a hundred: a holder always gives up before the server does.
package struct LockMachine: Sendable {
    package enum Answer: Sendable { case yes, no, unknown }

    package enum Input: Sendable {
        case begin
        case setAnswered(Answer)
        case fenceDrawn(Fence)
        case fenceFailed
        case confirmAnswered(Answer)
        case extendAnswered(Answer)
        case bodyEnded
        /// `wakeAt` has come.
        case woke
    }

    package enum Action: Sendable, Equatable {
        case sendSet, drawFence, sendConfirm, sendExtend, sendRelease
        case runBody(Fence)
        case cancelBody
        /// Over. `held` says whether the lock was still held when the body ended.
        case finish(Outcome)
    }

    package enum Outcome: Sendable, Equatable {
        case done
        /// Somebody else has it.
        case busy
        /// Nobody can say; nothing ran.
        case unavailable
        /// The lease ran out under the body.
        case lost
    }

    private enum Phase: Sendable { case idle, setting, drawing, confirming, held, over }

    private let lease: Int64
    private let maxHold: Int64
    private let extends: Bool
    private var phase = Phase.idle
    private var heldSince: Int64 = 0
    /// When the request was sent that the lease counts from.
    private var sentAt: Int64 = 0
    private var extensionSentAt: Int64?
    /// When the next extension goes out; nil when none will.
    private var extendAt: Int64?
    /// When the lease is lost.
    package private(set) var deadline: Int64 = 0

    /// - Parameter extends: whether the lease is extended while the body runs, until `maxHold`.
    package init(lease: Duration, maxHold: Duration, extends: Bool = true) {
        self.lease = lease.microseconds
        self.maxHold = maxHold.microseconds
        self.extends = extends
    }

    /// When `woke` is due; nil when nothing is.
    package var wakeAt: Int64? {
        guard phase == .held else { return nil }
        return min(deadline, extensionSentAt == nil ? extendAt ?? deadline : deadline)
    }

    /// Whether the body may still act for the lock.
    package func isHeld(at now: Int64) -> Bool { phase == .held && now < deadline }

    package mutating func handle(_ input: Input, at now: Int64) -> [Action] {
        switch (phase, input) {
        case (.idle, .begin):
            phase = .setting
            begin(now)
            return [.sendSet]
        case (.setting, .setAnswered(let answer)):
            switch answer {
            case .no: return finish(.busy)
            // It may be ours without our knowing: give it back.
            case .unknown: return [.sendRelease] + finish(.unavailable)
            case .yes:
                phase = .drawing
                return [.drawFence]
            }
        case (.drawing, .fenceDrawn(let fence)):
            phase = .confirming
            drawn = fence
            return [.sendConfirm]
        case (.drawing, .fenceFailed): return [.sendRelease] + finish(.unavailable)
        case (.confirming, .confirmAnswered(let answer)): return confirmed(answer, now)
        case (.held, .extendAnswered(let answer)): return extended(answer, now)
        case (.held, .woke): return woke(now)
        case (.held, .bodyEnded):
            if now >= deadline { return lose() }
            return [.sendRelease] + finish(.done)
        default: return []
        }
    }

    private var drawn = Fence(rawValue: 0)

    private mutating func begin(_ now: Int64) {
        sentAt = now
        deadline = now + lease - lease / 100
        extendAt = extends ? now + lease / 3 : nil
    }

    private mutating func finish(_ outcome: Outcome) -> [Action] {
        phase = .over
        return [.finish(outcome)]
    }

    /// The fence is larger than that of everybody who held the lock before only if the token still stands now.
    private mutating func confirmed(_ answer: Answer, _ now: Int64) -> [Action] {
        guard answer == .yes, now < deadline else {
            return [.sendRelease] + finish(answer == .no ? .busy : .unavailable)
        }
        phase = .held
        heldSince = now
        return [.runBody(drawn)]
    }

    private mutating func extended(_ answer: Answer, _ now: Int64) -> [Action] {
        guard let sent = extensionSentAt else { return [] }
        extensionSentAt = nil
        switch answer {
        case .yes where now < deadline:
            sentAt = sent
            deadline = sent + lease - lease / 100
            extendAt = sent - heldSince + lease / 3 < maxHold ? sent + lease / 3 : nil
            return []
        case .no: return lose()
        // Try again soon: what was answered may have been carried out.
        case .yes, .unknown:
            extendAt = now + lease / 30
            return []
        }
    }

    private mutating func woke(_ now: Int64) -> [Action] {
        if now >= deadline { return lose() }
        guard extensionSentAt == nil, let due = extendAt, now >= due else { return [] }
        extensionSentAt = now
        extendAt = nil
        return [.sendExtend]
    }

    private mutating func lose() -> [Action] { [.cancelBody, .sendRelease] + finish(.lost) }
}
