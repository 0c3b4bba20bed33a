package import AurumCore
package import Database
package import Events
package import Logging
package import Telemetry

/// Installs of the event log and what led to each: matched by a follower, decided anew on request, answered.
package struct InstallAttribution: Sendable {
    let store: InstallStore
    let opens: ReEngagementStore
    let definitions: DefinitionStore
    let source: any ColumnSource
    let judge: any TouchJudge
    let registry: MetricRegistry
    let logger: Logger
    let clock: any WallClock
    let retention: Retention
    let usesRetention: Retention
    let persons: @Sendable (_ org: String) -> any PersonResolver
    /// Cohorts hold their installs in memory: one answer at a time.
    let cohortGate = LogRunGate()
    /// Tells this log from those of other servers on the same database.
    let log: Int64

    /// - Parameters:
    ///   - log: the same for one log at every start, another for another log.
    ///   - judge: says before credit which touches and installs are to be believed.
    ///   - callbacks: who is told of installs and what follows them.
    ///   - persons: who is whom by merges.
    ///   - retention: of installs, as the settings of apps say; unless told, as those of an app without any.
    ///   - usesRetention: the same of uses of an app (`usesDays`).
    package init(
        database: Database, source: any ColumnSource, log: Int64, judge: any TouchJudge = TrustingJudge(),
        callbacks: CallbackStore? = nil,
        persons: @escaping @Sendable (_ org: String) -> any PersonResolver = { _ in UnmergedPersons() },
        clock: any WallClock,
        retention: @escaping Retention = { _, _ in AppSettings().retentionDays(of: .install) },
        usesRetention: @escaping Retention = { _, _ in usesDays(AppSettings()) },
        registry: MetricRegistry, logger: Logger
    ) {
        store = InstallStore(database: database, callbacks: callbacks)
        opens = ReEngagementStore(database: database)
        definitions = DefinitionStore(database: database)
        (self.source, self.log, self.judge, self.retention) = (source, log, judge, retention)
        (self.clock, self.registry, self.logger, self.persons) = (clock, registry, logger, persons)
        self.usesRetention = usesRetention
    }

    // MARK: deciding

    /// Touches are kept for so long beyond the longest window, so that installs that arrive late find theirs.
    static let slack: Int64 = 2 * 86_400_000_000

    /// The definition of the conversion `install` with the times at which its versions hold; none where it was ended.
    func windows(org: String) async throws -> [DefinitionInForce] {
        do { return try await definitions.inForce(org: org, names: ["install"]) } catch LogAttributionError
            .unknownConversion
        {
            return []
        }
    }

    /// The window of an app's installs at a moment.
    static func window(_ versions: [DefinitionInForce], app: String, at: Timestamp) -> InstallWindow {
        let found = versions.last { known in
            known.from <= at.microseconds && at.microseconds < known.to
                && (known.definition.app.isEmpty || known.definition.app == app)
        }
        guard let found else { return InstallWindow(WindowPreset.standard.window) }
        return InstallWindow(found.definition.window, version: found.version)
    }

    /// The longest that any version reaches, in microseconds.
    static func longest(_ versions: [DefinitionInForce]) -> Int64 {
        let windows = versions.map { InstallWindow($0.definition.window).longest }
        return max(windows.max() ?? 0, InstallWindow(WindowPreset.standard.window).longest)
    }

    /// Decides installs, of whatever organisations, and writes what is new.
    /// - Returns: decisions that were written.
    func decide(_ installs: [KeptInstall], cause: String) async throws -> Int {
        var windows: [String: [DefinitionInForce]] = [:]
        var decided: [NewDecision] = []
        for install in installs {
            let facts = install.facts
            let versions: [DefinitionInForce]
            if let known = windows[facts.org] {
                versions = known
            } else {
                versions = try await self.windows(org: facts.org)
                windows[facts.org] = versions
            }
            let began = ContinuousClock.now
            let decision = try await decision(
                install, Self.window(versions, app: facts.app, at: facts.at))
            registry.histogram(.attributionMatchSeconds).observe(ContinuousClock.now - began)
            decided.append(NewDecision(install: install, decision: decision, cause: cause))
        }
        let written = try await store.decide(decided)
        for one in written {
            let outcome = one.install.version > 0 ? "restated" : one.decision.verdict.outcome.rawValue
            registry.counter(.attributionMatches, one.decision.method.rawValue, outcome).increment()
        }
        return written.count
    }

    private func decision(_ install: KeptInstall, _ window: InstallWindow) async throws -> InstallDecision {
        let (touches, isKnown) = try await store.candidates(of: install, reach: window.longest)
        let verdicts = try await judge.verdicts(of: install.facts, touches.map(\.touch))
        return InstallMatcher.decide(install.facts, touches, window: window, verdicts: verdicts, isReinstall: isKnown)
    }

    /// Conversions that templates tell of. One whose definition was ended, or cannot be read, is left out.
    func watches() async throws -> [CallbackWatch] {
        guard let callbacks = store.callbacks else { return [] }
        let now = clock.now
        var found: [CallbackWatch] = []
        for one in try await callbacks.watched() {
            let since = max(one.since, now - CallbackStore.takenUpWithin)
            do {
                found += try await definitions.inForce(org: one.org, names: [one.event]).map {
                    try CallbackWatch($0, org: one.org, since: since, now: now)
                }
            } catch is LogAttributionError { continue }
        }
        return found
    }

    // MARK: answers

    /// Installs that were decided, newest first, a page at a time.
    package func list(org: String, _ filter: InstallFilter) async throws -> JSONValue {
        let found = try await store.list(org: org, filter)
        let isFull = found.count == filter.limit
        return [
            "installs": .array(found.map(\.json)),
            "next": isFull ? found.last.map { .string($0.mark.text) } ?? .null : .null,
        ]
    }

    /// One install with its decision, the re-engagements of its device and whose a conversion of `at` is, now unless
    /// told; nil where there is none of this id, or none of this version.
    package func install(
        org: String, id: String, app: String? = nil, version: Int? = nil, at: Timestamp? = nil
    ) async throws -> JSONValue? {
        guard let found = try await store.one(org: org, id: id, app: app, version: version) else { return nil }
        if version != nil, found.body == nil { return nil }
        var members = found.json.object ?? [:]
        let versions = try await store.versions(org: org, app: found.install.facts.app, id: id)
        members["versions"] = .array(versions.map { .integer(Int64($0)) })
        members.merge(try await device(org: org, found.install, at: at ?? clock.now)) { $1 }
        return .object(members)
    }

    /// Installs by campaign.
    package func summary(org: String, _ filter: InstallFilter) async throws -> JSONValue {
        let names = ["installs", "organic", "reinstalls", "rejected", "suspect", "by_view"]
        func members(_ counts: [Int64]) -> [String: JSONValue] {
            Dictionary(
                zip(names, counts).map { ($0, JSONValue.integer($1)) }, uniquingKeysWith: { first, _ in first })
        }
        let lines = try await store.summary(org: org, filter)
        let rows = lines.map { line -> JSONValue in
            var row = members(line.counts)
            row["campaign"] = line.campaign.isEmpty ? .null : .string(line.campaign)
            return .object(row)
        }
        let totals = names.indices.map { place in lines.reduce(0) { $0 &+ $1.counts[place] } }
        return [
            "lines": .array(rows), "totals": .object(members(totals)),
            "waiting": .integer(Int64(try await store.waitingCount(org: org))),
        ]
    }

    /// Touches that matches join to journeys, for a run over the log.
    package func joined(org: String, from: Timestamp, to: Timestamp) async throws -> [JoinedTouch] {
        let installs = try await store.joined(org: org, from: from, to: to, limit: JoinedTouch.max)
        let rest = JoinedTouch.max - installs.count
        return installs + (try await opens.joined(org: org, from: from, to: to, limit: rest))
    }

    // MARK: upkeep

    /// Removes touches, and uses of apps, that are older than any window reaches. What one organisation has wrong keeps
    /// those of no other.
    /// - Returns: how many touches.
    @discardableResult
    package func purge() async throws -> Int {
        var removed = 0
        let installed = Set(try await store.owners().map(\.org))
        for org in try await store.organisations() {
            removed += try await apart(org) {
                let reach = try await opens.reach(org: org)
                var keep = Self.longest(try await windows(org: org)) + Self.slack
                // Only what was installed can be opened again.
                if installed.contains(org) { keep = max(keep, reach + ReEngagementStore.slack) }
                return try await Self.repeated(InstallStore.purgedEach) {
                    try await store.purge(org: org, keep: keep, reach: reach)
                }
            }
        }
        for org in try await opens.organisations() {
            _ = try await apart(org) {
                let reach = try await opens.reach(org: org)
                return try await Self.repeated(ReEngagementStore.purgedEach) {
                    try await opens.purgeActivity(org: org, reach: reach)
                }
            }
        }
        return removed
    }

    /// Removes so many at a time until there are no more.
    private static func repeated(_ each: Int, _ remove: () async throws -> Int) async throws -> Int {
        var (removed, count) = (0, each)
        while count == each {
            try Task.checkCancellation()
            count = try await remove()
            removed += count
        }
        return removed
    }

    private func apart(_ org: String, _ work: () async throws -> Int) async throws -> Int {
        do { return try await work() } catch {
            try InstallFollower.rethrow(error)
            logger.warning(
                "touches of an organisation could not be removed",
                metadata: ["code": "touches_not_purged", "org": "\(org)", "error": "\(error)"])
            return 0
        }
    }

    /// Removes what is kept of an erased person.
    /// - Parameters:
    ///   - identifier: in the form in which events store it.
    ///   - persons: every key by which the log knows the person.
    package func forget(org: String, _ identifier: PersonIdentifier, persons: Set<UInt64>) async throws {
        func value(_ namespace: PersonIdentifier.Namespace) -> String? {
            identifier.namespace == namespace ? identifier.value : nil
        }
        let keys = InstallKeys(
            org: org, device: value(.device), advertising: nil, vendor: nil, click: value(.click), user: value(.user))
        try await store.forget(
            org: org, keys: keys, persons: persons.sorted().map { Int64(bitPattern: $0) },
            digest: FraudInstall.digest(value(.device), org: org))
    }
}
