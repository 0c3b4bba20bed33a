package import AurumCore
package import Database
package import Events
package import Logging
package import Telemetry

/// Fraud rules of organisations: what is set, what was decided, and looking at all of it again.
package struct FraudDesk: Sendable {
    let store: FraudStore
    let clock: any WallClock
    let registry: MetricRegistry
    let logger: Logger
    /// Where clicks and activity are read; nil knows none of either.
    private let source: (any ColumnSource)?
    private let persons: @Sendable (_ org: String) -> any PersonResolver
    /// Asks for credit to follow changed verdicts; doing it twice does no harm.
    /// - Parameter since: no install before it has another verdict.
    package typealias Restate = @Sendable (_ org: String, _ since: Timestamp) async throws -> Void
    private let restate: Restate
    /// Looks and replays hold the installs of an app in memory: one at a time.
    private let gate = LogRunGate()

    /// Days that a look goes back.
    package static let referenceDays = 30
    /// Days that facts are kept.
    package static let keptDays = 400

    package init(
        database: Database, source: (any ColumnSource)? = nil,
        persons: @escaping @Sendable (_ org: String) -> any PersonResolver = { _ in UnmergedPersons() },
        restate: @escaping Restate = { _, _ in }, clock: any WallClock, registry: MetricRegistry, logger: Logger
    ) {
        store = FraudStore(database: database)
        (self.source, self.persons, self.restate) = (source, persons, restate)
        (self.clock, self.registry, self.logger) = (clock, registry, logger)
    }

    // MARK: settings

    /// Saves a new version of the rules.
    /// - Parameter body: `limits`, `off`, `on`, `overrides`, and `starts_at`, the time that it holds from: now unless
    ///   told.
    /// - Throws: `FraudError`; database errors.
    package func save(_ body: JSONValue, org: String, actor: String) async throws -> SavedFraudRules {
        let rules = try FraudRules(body, more: ["starts_at"])
        var startsAt = clock.now
        if let member = body["starts_at"], member != .null {
            guard let time = member.string.flatMap({ DefinitionStore.midnight($0) ?? Timestamp(rfc3339: $0) }),
                time.isPlausible
            else { throw FraudError.invalid("starts_at", "must be a date or RFC 3339.") }
            startsAt = time
        }
        let saved = try await store.save(rules, org: org, startsAt: startsAt, actor: actor)
        logger.info(
            "fraud rules saved",
            metadata: ["code": "fraud_rules_saved", "org": "\(org)", "version": "\(saved.version)", "key": "\(actor)"])
        return saved
    }

    /// Versions of the rules, newest first.
    package func rules(org: String, limit: Int = 100) async throws -> [SavedFraudRules] {
        try await store.rules(org: org, limit: limit)
    }

    package func entries(org: String) async throws -> [FraudEntry] { try await store.entries(org: org) }

    /// Puts an entry on a list; one that is there already stays as it is.
    package func add(_ wish: FraudEntryWish, org: String, actor: String) async throws -> FraudEntry {
        let entry = try await store.database.write("fraud.addEntry") { transaction in
            try FraudStore.add(wish, org: org, actor: actor, in: transaction).entry
        }
        logger.info(
            "fraud list changed",
            metadata: [
                "code": "fraud_list_added", "org": "\(org)", "list": "\(entry.list.rawValue)",
                "kind": "\(entry.kind.rawValue)", "entry": "\(entry.id.hex)", "key": "\(actor)",
            ])
        return entry
    }

    /// - Throws: `FraudError.unknownEntry`; database errors.
    package func remove(_ id: UID, org: String, actor: String) async throws {
        let wasThere = try await store.database.write("fraud.removeEntry") { transaction in
            try FraudStore.remove(id, org: org, actor: actor, in: transaction)
        }
        guard wasThere else { throw FraudError.unknownEntry }
        logger.info(
            "fraud list changed",
            metadata: ["code": "fraud_list_removed", "org": "\(org)", "entry": "\(id.hex)", "key": "\(actor)"])
    }

    // MARK: looking again

    /// What a look at all installs found.
    package struct Review: Sendable, Equatable {
        package var installs = 0
        package var changed = 0
        package var patterns = 0
        package var proposals = 0
        /// Older installs of the window did not fit.
        package var isCut = false
    }

    /// Looks at the installs of every organisation.
    package func reviewAll() async throws {
        var failure: (any Error)?
        for org in try await store.organisations() {
            // What one organisation has wrong keeps no other from being looked at.
            do { try await review(org: org) } catch {
                if Task.isCancelled { throw error }
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Judges all installs of the reference window anew, with everything that is known by now: patterns of publishers,
    /// devices behind addresses, rules and lists that changed. What changed is kept as a new verdict, and credit is
    /// asked to follow. Doing it again changes nothing.
    /// - Throws: `LogAttributionError.busy` or `cancelled`; database errors, and what the log throws.
    @discardableResult
    package func review(org: String) async throws -> Review {
        try await gate.take()
        defer { gate.give() }
        do {
            let to = clock.now
            let from = to - Self.span(days: Self.referenceDays)
            var found = Review()
            for app in try await store.apps(org: org, from: from, known: true) {
                let began = ContinuousClock.now
                try await review(org: org, app: app, from: from, to: to, &found)
                registry.histogram(.fraudReviewSeconds).observe(ContinuousClock.now - began)
            }
            try await askForCredit(org)
            try await store.purge(org: org, before: to - Self.span(days: Self.keptDays))
            registry.counter(.fraudReviews, "done").increment()
            // Most organisations have no installs.
            if found != Review() { log(found, org) }
            return found
        } catch {
            registry.counter(.fraudReviews, "failed").increment()
            throw error
        }
    }

    private func log(_ found: Review, _ org: String) {
        logger.info(
            "fraud review is done",
            metadata: [
                "code": "fraud_review", "org": "\(org)", "installs": "\(found.installs)",
                "changed": "\(found.changed)", "patterns": "\(found.patterns)", "proposals": "\(found.proposals)",
                "cut": "\(found.isCut)",
            ])
    }

    /// Days in a duration; of our own numbers and of checked ones.
    static func span(days: Int) -> Duration { .seconds(days * 86_400) }

    private func review(
        org: String, app: String, from: Timestamp, to: Timestamp, _ found: inout Review
    ) async throws {
        let state = try await store.state(org: org)
        let (installs, isCut) = try await store.facts(org: org, app: app, from: from, to: to)
        // What was found of an app's publishers ends with its installs.
        let activity = try await installs.isEmpty ? FraudActivity() : activity(org, app, installs, from, to)
        let settings = state.settings
        let world = try await BlockingWork.value {
            FraudWorld(installs, app: app, settings, activity, from: from, to: to)
        }
        try await store.store(world.patterns, org: org, app: app, version: settings.version)
        try await store.store(world.shares, org: org, app: app, from: from, to: to)
        let proposals = try await store.propose(world.shares, org: org, app: app, from: from, to: to)
        registry.counter(.fraudProposals, "open").increment(by: proposals.made)
        registry.counter(.fraudProposals, "withdrawn").increment(by: proposals.withdrawn)
        found.installs += installs.count
        found.patterns += world.patterns.count
        found.proposals += proposals.made
        if isCut { found.isCut = true }
        found.changed += try await settle(installs, world.decisions, org: org, app: app, version: settings.version)
    }

    /// Writes every verdict that is another than the one that stands.
    private func settle(
        _ installs: [FraudInstall], _ decisions: [FraudDecisions], org: String, app: String, version: Int
    ) async throws -> Int {
        var written = 0
        var start = 0
        while start < installs.count {
            let end = min(start + 500, installs.count)
            let standing = try await store.standing(
                org: org, app: app, from: installs[start].at, to: installs[end - 1].at)
            var changes: [FraudStore.Change] = []
            for index in start..<end {
                let install = installs[index]
                let known = standing[install.id] ?? [:]
                func compare(_ touch: Int?, _ subject: UID, _ decision: FraudDecision) {
                    let before = known[subject]
                    guard before?.decision != decision else { return }
                    let moves =
                        before?.decision.isBarred ?? false != decision.isBarred
                        || (before?.decision.outcome == .rejected) != (decision.outcome == .rejected)
                    changes.append(
                        FraudStore.Change(
                            install: install, touch: touch, decision: decision, number: before?.number ?? 0,
                            movesCredit: moves))
                }
                compare(nil, install.id, decisions[index].install)
                for (place, touch) in install.touches.enumerated() {
                    compare(place, touch.id, decisions[index].touches[place])
                }
            }
            var first = 0
            while first < changes.count {
                let last = min(first + FraudStore.chunkVerdicts, changes.count)
                let count = try await store.write(
                    Array(changes[first..<last]), org: org, app: app, version: version)
                registry.counter(.fraudChanges).increment(by: count)
                written += count
                first = last
            }
            start = end
        }
        return written
    }

    /// What an earlier look could not ask for any more is asked for now.
    private func askForCredit(_ org: String) async throws {
        let open = try await store.openRestatements(org: org)
        guard !open.isEmpty else { return }
        // Verdicts were written at once or within the day after their look began.
        let first = open.map(\.at).min() ?? clock.now
        try await restate(org, first - Self.span(days: Self.referenceDays + 1))
        try await store.closeRestatements(open.map(\.id), org: org)
    }

    private func activity(
        _ org: String, _ app: String, _ installs: [FraudInstall], _ from: Timestamp, _ to: Timestamp
    ) async throws -> FraudActivity {
        guard let source else { return FraudActivity() }
        let control = LogRunControl()
        let scan = FraudLogScan(
            org: org, app: app, from: from, until: to, resolver: persons(org), control: control)
        return try await withTaskCancellationHandler {
            try await BlockingWork.value { try scan.read(try source.segments(), installs) }
        } onCancel: {
            control.cancel()
        }
    }

    // MARK: replay

    /// A set of rules over installs that were judged before, beside the rules that hold: what would differ. Nothing is
    /// stored.
    /// - Parameter body: `rules`, as they are saved; `app`, all unless told; `days`, 1 to 90, 30 unless told.
    /// - Throws: `FraudError`; `LogAttributionError.busy`; database errors, and what the log throws.
    package func replay(_ body: JSONValue, org: String) async throws -> JSONValue {
        let wish = try ReplayWish(body)
        try await gate.take()
        defer { gate.give() }
        let to = clock.now
        let from = to - Self.span(days: wish.days)
        let state = try await store.state(org: org)
        var proposed = state.settings
        proposed.versions = [FraudSettings.Version(version: 0, startsAt: .min, rules: wish.rules)]
        let (settings, rules) = (state.settings, proposed)
        var difference = FraudDifference()
        for app in try await store.apps(org: org, from: from) where wish.app == nil || wish.app == app {
            let (installs, isCut) = try await store.facts(org: org, app: app, from: from, to: to)
            let activity = try await activity(org, app, installs, from, to)
            let part = try await BlockingWork.value {
                let now = FraudWorld(installs, app: app, settings, activity, from: from, to: to)
                let then = FraudWorld(installs, app: app, rules, activity, from: from, to: to)
                return FraudDifference(installs, now, then, isCut: isCut)
            }
            difference.add(part)
        }
        return difference.json(from: from, to: to, version: state.settings.version)
    }

    private struct ReplayWish {
        var rules: FraudRules
        var app: String?
        var days = FraudDesk.referenceDays

        init(_ body: JSONValue) throws(FraudError) {
            guard let members = body.object, Set(["rules", "app", "days"]).isSuperset(of: members.keys) else {
                throw .invalid("body", "has rules, app and days.")
            }
            guard let given = members["rules"] else { throw .invalid("rules", "is missing.") }
            rules = try FraudRules(given)
            if let member = members["app"], member != .null {
                guard let text = member.string, (1...200).contains(text.utf8.count), !text.utf8.contains(0) else {
                    throw .invalid("app", "must be a text of 1 to 200 bytes.")
                }
                app = text
            }
            if let member = members["days"], member != .null {
                guard let days = member.integer, (1...90).contains(days) else {
                    throw .invalid("days", "must be a whole number from 1 to 90.")
                }
                self.days = Int(days)
            }
        }
    }
}

/// How two sets of rules differ over the same installs.
struct FraudDifference: Sendable {
    private struct Row: Sendable {
        var installs = 0
        var rejectedNow = 0
        var rejectedThen = 0
    }

    private var installs = 0
    private var isCut = false
    /// Touches by outcome before and after: `clean>rejected`.
    private var moves: [String: Int] = [:]
    private var codesNow: [String: Int] = [:]
    private var codesThen: [String: Int] = [:]
    private var sources: [FraudSource: Row] = [:]
    private var examples: [JSONValue] = []
    private static let examplesMax = 50
    private static let sourcesShown = 200

    init() {}

    init(_ installs: [FraudInstall], _ now: FraudWorld, _ then: FraudWorld, isCut: Bool) {
        (self.installs, self.isCut) = (installs.count, isCut)
        for (place, install) in installs.enumerated() {
            let (before, after) = (now.decisions[place], then.decisions[place])
            note(before.install, after.install, install, nil)
            for (index, touch) in install.touches.enumerated() {
                note(before.touches[index], after.touches[index], install, touch)
            }
            guard let claim = install.claim, let source = install.touches[claim].source else { continue }
            sources[source, default: Row()].installs += 1
            if before.touches[claim].outcome == .rejected { sources[source]?.rejectedNow += 1 }
            if after.touches[claim].outcome == .rejected { sources[source]?.rejectedThen += 1 }
        }
    }

    private mutating func note(
        _ before: FraudDecision, _ after: FraudDecision, _ install: FraudInstall, _ touch: FraudTouch?
    ) {
        for code in before.codes { codesNow[code.rawValue, default: 0] += 1 }
        for code in after.codes { codesThen[code.rawValue, default: 0] += 1 }
        guard before.outcome != after.outcome else { return }
        let subject = touch == nil ? "install" : "touch"
        moves["\(subject) \(before.outcome.rawValue) → \(after.outcome.rawValue)", default: 0] += 1
        guard examples.count < Self.examplesMax else { return }
        examples.append([
            "install": .string(install.id.hex), "touch": touch.map { .string($0.id.hex) } ?? .null,
            "before": .string(before.outcome.rawValue), "after": .string(after.outcome.rawValue),
            "codes_before": .array(before.codes.map { .string($0.rawValue) }),
            "codes_after": .array(after.codes.map { .string($0.rawValue) }),
        ])
    }

    mutating func add(_ other: FraudDifference) {
        installs += other.installs
        isCut = isCut || other.isCut
        moves.merge(other.moves, uniquingKeysWith: +)
        codesNow.merge(other.codesNow, uniquingKeysWith: +)
        codesThen.merge(other.codesThen, uniquingKeysWith: +)
        for (source, row) in other.sources {
            var sum = sources[source] ?? Row()
            sum.installs += row.installs
            sum.rejectedNow += row.rejectedNow
            sum.rejectedThen += row.rejectedThen
            sources[source] = sum
        }
        examples += other.examples.prefix(Self.examplesMax - examples.count)
    }

    func json(from: Timestamp, to: Timestamp, version: Int) -> JSONValue {
        func counts(_ counts: [String: Int]) -> JSONValue { .object(counts.mapValues { .integer(Int64($0)) }) }
        let changed = sources.filter { $0.value.rejectedNow != $0.value.rejectedThen }.sorted {
            let (left, right) = (
                abs($0.value.rejectedThen - $0.value.rejectedNow),
                abs($1.value.rejectedThen - $1.value.rejectedNow)
            )
            return left != right ? left > right : $0.key < $1.key
        }
        return [
            "from": .string(from.rfc3339), "to": .string(to.rfc3339), "version": .integer(Int64(version)),
            "installs": .integer(Int64(installs)), "cut": .bool(isCut), "changes": counts(moves),
            "codes_before": counts(codesNow), "codes_after": counts(codesThen),
            "publishers": .array(
                changed.prefix(Self.sourcesShown).map { source, row in
                    [
                        "network": .string(source.network), "publisher": .string(source.publisher),
                        "installs": .integer(Int64(row.installs)),
                        "rejected_before": .integer(Int64(row.rejectedNow)),
                        "rejected_after": .integer(Int64(row.rejectedThen)),
                    ]
                }),
            "examples": .array(examples),
        ]
    }
}
