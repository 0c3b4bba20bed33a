package import AurumCore
package import Logging
internal import Synchronization
package import Telemetry

/// Counts every read and write of one database by its name, keeps the slow ones and warns of transactions that stay
/// open. Everything is bounded; no value of a parameter is kept beyond its call.
package final class QueryTracker: Sendable {
    /// Slow calls kept.
    package static let slowMax = 1000
    /// Names counted by themselves; names are written in the sources, so that this is never reached. Calls of further
    /// ones count together as `overflow`.
    package static let namesMax = 2000
    /// Places of names in the program that are remembered.
    static let addressesMax = 8000
    /// Plans that wait to be taken.
    static let plansWaitingMax = 64
    /// Least time between two plans of one name.
    package static let planInterval: Duration = .seconds(60)
    /// Least time between two log records of one name.
    static let logInterval: Duration = .seconds(1)
    /// A transaction that is open for longer is warned of.
    package static let longAfter: Duration = .seconds(1)
    package static let slowAfterStandard: Duration = .milliseconds(100)
    /// Part of the calls of five minutes that may fail, and how many calls it takes to judge.
    package static let faultRateMax = 0.01
    private static let judgedCallsMin = 100

    private struct Names: Sendable {
        var byAddress: [UInt: StatementStats] = [:]
        var byName: [String: StatementStats] = [:]
    }

    struct PlanWish: Sendable {
        let statement: StatementStats
        let sql: SQLStatement
        /// As it stands in the records.
        let text: String
    }

    /// A value arrives whenever a plan should be taken.
    let planSignal: AsyncStream<Void>
    /// What requests ran again and again.
    package let repeats: RepeatedStatements
    private let planWake: AsyncStream<Void>.Continuation
    private let registry: MetricRegistry
    private let clock: any WallClock
    private let logger: Logger
    private let waits: Histogram
    private let openGauge: Gauge
    private let origin = ContinuousClock.now
    private let slowMicroseconds: Atomic<Int64>
    private let names = Mutex(Names())
    private let open = OpenTracks()
    private let slow = Mutex(SlowRing(capacity: QueryTracker.slowMax))
    private let window = Mutex(OutcomeWindow())
    private let wishes = Mutex<[PlanWish]>([])

    package init(registry: MetricRegistry, clock: any WallClock, logger: Logger = Logger(label: "database")) {
        self.registry = registry
        self.clock = clock
        self.logger = logger
        repeats = RepeatedStatements(registry: registry, clock: clock, logger: logger)
        waits = registry.histogram(.databasePoolWait)
        openGauge = registry.gauge(.databaseTransactionsOpen)
        slowMicroseconds = Atomic(Self.slowAfterStandard.microseconds)
        (planSignal, planWake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Calls that take longer are kept and logged.
    package var slowAfter: Duration {
        get { .microseconds(slowMicroseconds.load(ordering: .relaxed)) }
        set { slowMicroseconds.store(newValue.microseconds, ordering: .relaxed) }
    }

    // MARK: One call

    package func begin(
        _ name: StaticString, _ kind: CallKind, limit: StatementLimit = .standard,
        at now: ContinuousClock.Instant = .now
    ) -> CallTrack {
        CallTrack(statement(name, kind), kind, limit: limit, tracker: self, at: now)
    }

    /// The call is answered, with an error or without.
    package func finish(_ track: CallTrack, _ error: (any Error)?, at now: ContinuousClock.Instant = .now) {
        let outcome = CallOutcome(error)
        track.statement.count(track, outcome, to: now)
        track.settle()
        if let begun = track.now.begun { waits.observe(begun - track.started) }
        let (index, second) = (outcome.index, Int((now - origin).components.seconds))
        window.withLock { $0.add(at: index, second: max(0, second)) }
        if outcome != .ok { registry.counter(.databaseErrors, track.statement.name, outcome.rawValue).increment() }
        if now - track.started > slowAfter { keep(track, outcome, now) }
    }

    private func statement(_ name: StaticString, _ kind: CallKind) -> StatementStats {
        let address =
            name.hasPointerRepresentation ? UInt(bitPattern: name.utf8Start) : UInt(name.unicodeScalar.value)
        return names.withLock { names in
            if let known = names.byAddress[address] { return known }
            let found = named(name.description, kind, &names)
            if names.byAddress.count < Self.addressesMax { names.byAddress[address] = found }
            return found
        }
    }

    private func named(_ name: String, _ kind: CallKind, _ names: inout Names) -> StatementStats {
        if let known = names.byName[name] { return known }
        let shown = names.byName.count < Self.namesMax ? name : "overflow"
        if let known = names.byName[shown] { return known }
        let made = StatementStats(shown, kind, registry: registry)
        names.byName[shown] = made
        return made
    }

    // MARK: Slow calls

    private func keep(_ track: CallTrack, _ outcome: CallOutcome, _ now: ContinuousClock.Instant) {
        var call = SlowCall(track, outcome, to: now, at: clock.now)
        let (sql, text) = (track.now.slowest, call.text)
        registry.counter(.databaseSlow, call.name).increment()
        let (plan, wantsPlan, unlogged) = track.statement.with { totals -> (String?, Bool, Int?) in
            totals.slow += 1
            let plan = totals.plan.flatMap { $0.text == text ? $0.plan : nil }
            let wantsPlan = sql != nil && totals.askedAt.map { now - $0 >= Self.planInterval } != false
            if wantsPlan { totals.askedAt = now }
            if let last = totals.loggedAt, now - last < Self.logInterval {
                totals.unlogged += 1
                return (plan, wantsPlan, nil)
            }
            defer { totals.unlogged = 0 }
            totals.loggedAt = now
            return (plan, wantsPlan, totals.unlogged)
        }
        call.plan = plan
        let kept = call
        slow.withLock { _ = $0.append(kept) }
        if wantsPlan, let sql, let text {
            wish(PlanWish(statement: track.statement, sql: sql.withoutValues, text: text))
        }
        if let unlogged { log(call, unlogged: unlogged) }
    }

    private func log(_ call: SlowCall, unlogged: Int) {
        var metadata: Logger.Metadata = ["code": "slow_statement", "unlogged_before": "\(unlogged)"]
        for (key, value) in call.json.object ?? [:] where value != .null {
            switch value {
            case .string(let text): metadata[key] = "\(text)"
            case .array(let values): metadata[key] = "\(values.compactMap(\.string).joined(separator: ", "))"
            default: metadata[key] = "\(value.canonical)"
            }
        }
        logger.warning("slow statement \(call.name)", metadata: metadata)
    }

    private func wish(_ wish: PlanWish) {
        wishes.withLock { if $0.count < Self.plansWaitingMax { $0.append(wish) } }
        planWake.yield()
    }

    func takeWish() -> PlanWish? { wishes.withLock { $0.isEmpty ? nil : $0.removeFirst() } }

    /// Keeps a plan that was taken, with every slow call of its statement.
    func keep(plan: String, of wish: PlanWish) {
        wish.statement.with { $0.plan = (wish.text, plan) }
        slow.withLock { $0.put(plan: plan, name: wish.statement.name, text: wish.text) }
    }

    // MARK: Open transactions

    func opened(_ track: CallTrack) { open.insert(track) }

    func closed(_ track: CallTrack, at now: ContinuousClock.Instant) {
        open.remove(track)
        warn(track, at: now, isOpen: false)
    }

    /// Warns of transactions that are open for long, once each, and sets the figures that are not counted.
    package func watch(at now: ContinuousClock.Instant = .now) {
        let tracks = openTracks
        for track in tracks { warn(track, at: now, isOpen: true) }
        openGauge.set(Double(tracks.count))
        registry.zero(.databaseErrorRate)
        for (name, seconds) in Self.windows {
            for (outcome, _) in rates(last: seconds, at: now).errors {
                registry.gauge(.databaseErrorRate, outcome.rawValue, name)
                    .set(rates(last: seconds, at: now).rate(outcome))
            }
        }
    }

    /// What the last `seconds` had, at most 300.
    package func rates(last seconds: Int, at now: ContinuousClock.Instant = .now) -> OutcomeRates {
        let second = max(0, Int((now - origin).components.seconds))
        return window.withLock { $0.rates(last: seconds, second: second) }
    }

    /// Whether more calls failed in the last five minutes than may.
    package var isFailing: Bool {
        let rates = rates(last: OutcomeWindow.spanSeconds)
        return rates.calls >= Self.judgedCallsMin && rates.faultRate > Self.faultRateMax
    }

    static let windows = [("1m", 60), ("5m", 300)]

    private func warn(_ track: CallTrack, at now: ContinuousClock.Instant, isOpen: Bool) {
        // A backup reads everything on one snapshot.
        if case .backup = track.limit { return }
        let state = track.now
        guard let begun = state.lastBegun, now - begun > Self.longAfter, track.takeWarning() else { return }
        track.statement.with { $0.long += 1 }
        registry.counter(.databaseLong, track.statement.name).increment()
        let list = state.lines.map { "\(String($0.text.prefix(200))) [\($0.took.wholeMilliseconds) ms]" }
        logger.warning(
            "transaction \(track.statement.name) \(isOpen ? "is open for" : "was open for") more than a second",
            metadata: [
                "code": "long_transaction", "statement": "\(track.statement.name)",
                "open_ms": "\((now - begun).wholeMilliseconds)", "statements": "\(state.statements)",
                "list": "\(list.joined(separator: "; "))",
            ])
    }

    // MARK: Looking

    var openTracks: [CallTrack] { open.all }

    /// Every name that was called, in no order.
    package var statements: [StatementSnapshot] {
        names.withLock { Array($0.byName.values) }.map(\.snapshot)
    }

    /// The last slow calls, newest first.
    package func slowCalls(_ limit: Int = QueryTracker.slowMax) -> [SlowCall] { slow.withLock { $0.newest(limit) } }
}

/// Calls whose transactions are open. In parts with a lock each, so that many readers do not wait for one another.
private final class OpenTracks: Sendable {
    private final class Part: Sendable {
        let tracks = Mutex<[ObjectIdentifier: CallTrack]>([:])
    }

    private let parts = (0..<16).map { _ in Part() }

    /// Allocations are 16 bytes apart at least, those of tracks some hundred.
    private func part(_ id: ObjectIdentifier) -> Part {
        let address = UInt(bitPattern: id)
        return parts[Int((address >> 4 ^ address >> 9) % 16)]
    }

    func insert(_ track: CallTrack) {
        let id = ObjectIdentifier(track)
        part(id).tracks.withLock { $0[id] = track }
    }

    func remove(_ track: CallTrack) {
        let id = ObjectIdentifier(track)
        part(id).tracks.withLock { $0[id] = nil }
    }

    var all: [CallTrack] { parts.flatMap { Array($0.tracks.withLock { $0 }.values) } }
}

extension Duration {
    var wholeMilliseconds: Int64 { microseconds / 1000 }
}

extension SQLStatement {
    /// The same with nothing but NULLs of the kinds that the parameters were: all that a plan needs.
    var withoutValues: SQLStatement { SQLStatement(unsafe: text, values: values.map(\.emptied)) }
}

extension SQLValue {
    /// A value of the same kind that says nothing.
    fileprivate var emptied: SQLValue {
        switch self {
        case .null: .null
        case .integer: .integer(0)
        case .real: .real(0)
        case .text: .text("")
        case .bytes: .bytes([])
        }
    }
}
