/// How a read or write ended, as a closed set: what the database could not do, and what the caller itself gave up.
package enum CallOutcome: String, Sendable, CaseIterable {
    case ok
    case unavailable
    case timeoutAcquire = "timeout_acquire"
    case timeoutStatement = "timeout_statement"
    case timeoutLock = "timeout_lock"
    case timeoutIdle = "timeout_idle"
    case timeoutTransaction = "timeout_transaction"
    case busy
    case serialization
    case commitUnknown = "commit_unknown"
    case constraint
    case staleFence = "stale_fence"
    case nested
    case diskFull = "disk_full"
    case readOnly = "read_only"
    case corrupt
    case schema
    case closed
    case statement
    /// A row that did not become a value.
    case row
    case cancelled
    /// An error of the closure's own, which undoes its transaction as it should.
    case caller

    init(_ error: (any Error)?) {
        switch error {
        case nil: self = .ok
        case let error as SQLError: self = Self(error)
        case is RowError: self = .row
        case is CancellationError: self = .cancelled
        default: self = .caller
        }
    }

    private init(_ error: SQLError) {
        switch error {
        case .unavailable: self = .unavailable
        case .timeout(let which): self = Self(which)
        case .busy: self = .busy
        case .serialization: self = .serialization
        case .commitUnknown: self = .commitUnknown
        case .constraint: self = .constraint
        case .staleFence: self = .staleFence
        case .nestedTransaction: self = .nested
        case .diskFull: self = .diskFull
        case .readOnly: self = .readOnly
        case .corrupt: self = .corrupt
        case .schema: self = .schema
        case .closed: self = .closed
        case .statement: self = .statement
        }
    }

    private init(_ timeout: SQLError.Timeout) {
        switch timeout {
        case .acquire: self = .timeoutAcquire
        case .statement: self = .timeoutStatement
        case .lock: self = .timeoutLock
        case .idle: self = .timeoutIdle
        case .transaction: self = .timeoutTransaction
        }
    }

    /// Whether the database or a statement of ours failed. Rules that said no and callers that gave up are no faults.
    package var isFault: Bool {
        switch self {
        case .ok, .constraint, .staleFence, .cancelled, .caller, .closed: false
        case .unavailable, .timeoutAcquire, .timeoutStatement, .timeoutLock, .timeoutIdle, .timeoutTransaction, .busy,
            .serialization, .commitUnknown, .nested, .diskFull, .readOnly, .corrupt, .schema, .statement, .row:
            true
        }
    }
}

/// Calls of the last five minutes by outcome, in steps of five seconds; of fixed size.
package struct OutcomeWindow: Sendable {
    package static let stepSeconds = 5
    package static let spanSeconds = 300
    private static let outcomes = CallOutcome.allCases.count
    private static let steps = spanSeconds / stepSeconds

    /// Counts of one step after another, each by outcome.
    private var counts = [Int32](repeating: 0, count: OutcomeWindow.steps * OutcomeWindow.outcomes)
    /// Which step of all time each place holds.
    private var stamps = [Int](repeating: -1, count: OutcomeWindow.steps)

    package init() {}

    /// - Parameter index: the outcome's place among all cases.
    mutating func add(at index: Int, second: Int) {
        let step = second / Self.stepSeconds
        let place = step % Self.steps
        if stamps[place] != step {
            stamps[place] = step
            for each in 0..<Self.outcomes { counts[place * Self.outcomes + each] = 0 }
        }
        counts[place * Self.outcomes + index] &+= 1
    }

    package mutating func add(_ outcome: CallOutcome, second: Int) { add(at: outcome.index, second: second) }

    /// What the last `seconds` had, the step under way included.
    package func rates(last seconds: Int, second: Int) -> OutcomeRates {
        let step = second / Self.stepSeconds
        let oldest = step - min(max(1, seconds / Self.stepSeconds), Self.steps) + 1
        var rates = OutcomeRates()
        for place in 0..<Self.steps where stamps[place] >= oldest && stamps[place] <= step {
            for (index, outcome) in CallOutcome.allCases.enumerated() {
                let count = Int(counts[place * Self.outcomes + index])
                guard count > 0 else { continue }
                rates.calls += count
                if outcome != .ok { rates.errors[outcome, default: 0] += count }
            }
        }
        return rates
    }
}

extension CallOutcome {
    private static let indexes = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) })
    /// Its place among all cases.
    var index: Int { Self.indexes[self] ?? 0 }
}

/// Calls within a span of time, and how many of them failed in which way.
package struct OutcomeRates: Sendable, Equatable {
    package var calls = 0
    package var errors: [CallOutcome: Int] = [:]

    package init(calls: Int = 0, errors: [CallOutcome: Int] = [:]) { (self.calls, self.errors) = (calls, errors) }

    /// Part of the calls that ended in this way; 0 without calls.
    package func rate(_ outcome: CallOutcome) -> Double {
        calls == 0 ? 0 : Double(errors[outcome] ?? 0) / Double(calls)
    }

    /// Part of the calls that the database or a statement of ours let down.
    package var faultRate: Double {
        calls == 0 ? 0 : Double(errors.filter { $0.key.isFault }.values.reduce(0, +)) / Double(calls)
    }
}
