package import AurumCore

/// Where one conversion stands with one network.
package enum UploadState: String, Sendable, CaseIterable {
    /// Not sent yet.
    case waiting
    /// A request with it is on its way.
    case sent
    case accepted, rejected
    /// It may have arrived; it is asked again under the same id.
    case unknown
    /// Past the network's limit before it was ever sent.
    case tooOld = "too_old"
    /// The person refused: never sent.
    case suppressed
    /// The network holds another value than the first.
    case restated
    /// Given back: the network counts nothing of it any more, or was never told.
    case retracted
    /// Kept and not sent.
    case dryRun = "dry_run"
}

/// What decides whether a conversion that is due goes out now.
package struct UploadConditions: Sendable {
    package var refusal: UploadRefusal?
    package var isDryRun: Bool

    package init(refusal: UploadRefusal?, isDryRun: Bool) { (self.refusal, self.isDryRun) = (refusal, isDryRun) }
}

/// The states of one conversion at one network. Pure: times come in.
///
/// What the network should hold and what it said that it holds stand beside each other; whatever happens, the machine
/// works towards them being the same. An id is never sent while the request before it is open, and what may have
/// arrived is settled with the same content before anything else is said of it.
package struct UploadMachine: Sendable, Equatable {
    package private(set) var state: UploadState
    /// Of the open, the last or the next request.
    package private(set) var action: UploadAction
    package private(set) var reason: String
    /// As it was booked.
    package let valueMinor: Int64
    package private(set) var wantedMinor: Int64
    package private(set) var sentMinor: Int64
    /// nil while the network never said that it holds the conversion.
    package private(set) var toldMinor: Int64?
    package private(set) var isReturned: Bool
    package private(set) var isUncertain: Bool
    package private(set) var attempts: Int
    /// Of the requests that the open action took.
    package private(set) var firstSentAt: Timestamp?
    package private(set) var dueAt: Timestamp?
    package let occurredAt: Timestamp

    /// Waiting times after a request without a clear end: 1, 5, 15, then every 60 minutes.
    static let delays: [Duration] = [.seconds(60), .seconds(300), .seconds(900), .seconds(3600)]
    package static let attemptsMax = 60
    /// What is nearly too old would be too old when it arrives.
    static let margin: Duration = .seconds(600)
    static let unanswered = "unanswered"
    static let tooManyAttempts = "too_many_attempts"

    /// A new conversion, due at once.
    package init(valueMinor: Int64, occurredAt: Timestamp, now: Timestamp) {
        self.init(
            state: .waiting, action: .send, reason: "", valueMinor: valueMinor, wantedMinor: valueMinor,
            sentMinor: valueMinor, toldMinor: nil, isReturned: false, isUncertain: false, attempts: 0,
            firstSentAt: nil, dueAt: now, occurredAt: occurredAt)
    }

    /// One that was stored.
    init(
        state: UploadState, action: UploadAction, reason: String, valueMinor: Int64, wantedMinor: Int64,
        sentMinor: Int64, toldMinor: Int64?, isReturned: Bool, isUncertain: Bool, attempts: Int,
        firstSentAt: Timestamp?, dueAt: Timestamp?, occurredAt: Timestamp
    ) {
        (self.state, self.action, self.reason) = (state, action, reason)
        (self.valueMinor, self.wantedMinor, self.sentMinor) = (valueMinor, wantedMinor, sentMinor)
        (self.toldMinor, self.isReturned, self.isUncertain) = (toldMinor, isReturned, isUncertain)
        (self.attempts, self.firstSentAt, self.dueAt, self.occurredAt) = (attempts, firstSentAt, dueAt, occurredAt)
    }

    // MARK: a request

    /// The request that goes out now; nil when none does. What keeps it back is in the state then.
    package mutating func begin(
        _ conditions: UploadConditions, _ rules: SinkRules, now: Timestamp
    ) -> UploadAction? {
        guard let due = dueAt, due <= now else { return nil }
        let next: UploadAction
        switch state {
        case .waiting: next = .send
        case .unknown: next = action
        case .accepted, .restated: next = isReturned ? .retract : .restate
        case .sent, .rejected, .tooOld, .suppressed, .retracted, .dryRun:
            dueAt = nil
            return nil
        }
        guard goes(next, conditions, rules, now) else { return nil }
        // What may have arrived is said again as it was.
        if state != .unknown { sentMinor = next == .retract ? 0 : wantedMinor }
        (state, action, reason, dueAt) = (.sent, next, "", nil)
        attempts += 1
        firstSentAt = firstSentAt ?? now
        return next
    }

    private mutating func goes(
        _ next: UploadAction, _ conditions: UploadConditions, _ rules: SinkRules, _ now: Timestamp
    ) -> Bool {
        let age = now - occurredAt + Self.margin
        let isTooOld = age > (next == .send ? rules.ageMax : rules.correctionAgeMax)
        if let refusal = conditions.refusal {
            if state == .waiting { state = .suppressed }
            (action, reason, dueAt) = (next, refusal.rawValue, nil)
        } else if isTooOld {
            if state == .waiting { state = .tooOld }
            // One that may have arrived is not too old: nobody knows.
            (action, reason, dueAt) = (next, state == .unknown ? Self.unanswered : "too_old", nil)
        } else if attempts >= Self.attemptsMax {
            if state == .waiting { state = .rejected }
            (action, reason, dueAt) = (next, state == .unknown ? Self.unanswered : Self.tooManyAttempts, nil)
        } else if isAfterWindow(now, rules) {
            (reason, dueAt) = (Self.unanswered, nil)
        } else if conditions.isDryRun {
            guard state == .waiting else {
                dueAt = now + .seconds(3600)
                return false
            }
            (state, action, sentMinor, dueAt) = (.dryRun, next, wantedMinor, nil)
            attempts += 1
        } else {
            return true
        }
        return false
    }

    /// Whether a repeat of what may have arrived could count a second time.
    private func isAfterWindow(_ moment: Timestamp, _ rules: SinkRules) -> Bool {
        guard isUncertain, let window = rules.repeatsWithin, let first = firstSentAt else { return false }
        return moment - first + Self.margin > window
    }

    /// What came of the request that `begin` let out.
    package mutating func answer(_ outcome: UploadOutcome, _ rules: SinkRules, now: Timestamp) {
        guard state == .sent else { return }
        reason = outcome.reason
        switch outcome {
        case .accepted: accept(now)
        case .rejected:
            state = toldMinor == nil ? .rejected : settled
            (isUncertain, firstSentAt) = (false, nil)
            // A restatement that is refused does not keep the return of the whole from being told.
            if toldMinor != nil, isReturned, action != .retract { dueAt = now }
        case .unknown: lose(rules, now, after: delay)
        case .notSent:
            if !isUncertain { firstSentAt = nil }
            state = isUncertain ? .unknown : toldMinor == nil ? .waiting : settled
            dueAt = now + delay
            // Given back while it was on its way, and it never was.
            if state == .waiting, isReturned { takeBack() }
        }
    }

    /// The process that sent it ended before it could write what came of it.
    package mutating func interrupted(_ rules: SinkRules, now: Timestamp) {
        guard state == .sent else { return }
        reason = "interrupted"
        lose(rules, now, after: .zero)
    }

    private mutating func accept(_ now: Timestamp) {
        toldMinor = sentMinor
        (isUncertain, firstSentAt) = (false, nil)
        state = action == .retract ? .retracted : settled
        guard state != .retracted else { return }
        if isReturned || wantedMinor != toldMinor { dueAt = now }
    }

    private mutating func lose(_ rules: SinkRules, _ now: Timestamp, after delay: Duration) {
        (state, isUncertain) = (.unknown, true)
        let next = now + delay
        dueAt = isAfterWindow(next, rules) ? nil : next
        if dueAt == nil { reason = Self.unanswered }
    }

    /// As the network said last.
    private var settled: UploadState { toldMinor == valueMinor ? .accepted : .restated }

    private var delay: Duration { Self.delays[min(max(attempts - 1, 0), Self.delays.count - 1)] }

    private mutating func takeBack() { (state, reason, dueAt) = (.retracted, "before_sending", nil) }

    // MARK: what the books say

    /// The conversion was given back. Repeating it changes nothing.
    package mutating func giveBack(now: Timestamp) {
        guard !isReturned else { return }
        isReturned = true
        switch state {
        case .waiting: takeBack()
        case .accepted, .restated: dueAt = now
        // What is open is settled first, and then taken back.
        case .sent, .unknown, .rejected, .tooOld, .suppressed, .retracted, .dryRun: break
        }
    }

    /// The conversion is worth something else by now. False when that can be said to nobody any more.
    package mutating func restate(to minor: Int64, now: Timestamp) -> Bool {
        guard !isReturned else { return false }
        switch state {
        case .waiting, .sent: wantedMinor = minor
        case .unknown:
            guard dueAt != nil else { return false }
            wantedMinor = minor
        case .accepted, .restated:
            wantedMinor = minor
            dueAt = minor == toldMinor ? nil : now
        case .rejected, .tooOld, .suppressed, .retracted, .dryRun: return false
        }
        return true
    }

    /// The destination is gone: what waits is over, and what may have arrived stays unknown.
    package mutating func abandon() {
        dueAt = nil
        if state == .waiting { (state, reason) = (.rejected, "destination_removed") }
    }
}
