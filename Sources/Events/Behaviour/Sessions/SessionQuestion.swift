internal import AurumCore

/// `POST /v1/query/sessions`: the visits that began in a range of time.
struct SessionQuestion: Sendable {
    /// Who says what a session is.
    enum Source: String, Sendable, CaseIterable {
        case gap, client
        /// As the settings of each app say.
        case app
    }

    private let scope: BehaviourScope
    private let rules: SessionRules
    private let bucket: Period
    private let label: ColumnName?
    private let listMax: Int

    private static let placesMax = 20

    /// - Parameter rules: of the organisation's apps; the question may say something else for all of them.
    init(_ body: BehaviourBody, org: String, now: Timestamp, rules: SessionRules) {
        scope = BehaviourScope(body, org: org, now: now)
        let gap = body.integer("gap_minutes", SessionRule.gapMinutes, standard: 0)
        let isClients: [Source: Bool] = [.gap: false, .client: true]
        self.rules = rules.with(
            gapMinutes: gap == 0 ? nil : gap, isClients: isClients[body.choice("sessions", standard: Source.app)])
        bucket = body.choice("bucket", standard: Period.day)
        label = body.column("by")
        listMax = body.integer("list", 0...1000, standard: 0)
    }

    func answer(_ desk: BehaviourDesk) throws -> [String: JSONValue] {
        let range = scope.range
        // A session that began before the range is told from one that begins in it by the day before.
        let known = rules.rules(of: scope.apps)
        let reach = SessionRule.lengthMax + (known.map(\.gap).max() ?? 0)
        let (from, to) = (saturating(range.lowerBound, -reach), saturating(range.upperBound, reach))
        var plan = SequencePlan(
            base: scope.filterOfAll(from: from, to: to),
            marks: [
                .init(filter: scope.filter(from: from, to: to), bit: SessionCode.of(label: 0, currency: 0, fits: true))
            ],
            org: scope.org)
        plan.labels = LabelTable(textsMax: 1 << SessionCode.labelBits - 2)
        plan.label = label.map { .column($0) } ?? .step
        plan.currencyShift = SessionCode.labelBits
        plan.extra = .value
        plan.order = .session(rules)
        plan.groups = LabelTable(textsMax: SessionRule.codesMax)
        let (calendar, listMax, labels) = (scope.calendar(bucket), listMax, plan.labels)
        let (walker, stats) = try desk.walk(plan) {
            SessionWalker(range: range, calendar: calendar, ranks: labels.ranks, listMax: listMax)
        }
        // Sessions past the bound of the table would run together.
        guard !plan.groups.isFull else { throw QueryError.tooLarge("more than 4 million client sessions") }
        let only = known.count == 1 ? known.first : nil
        var answer: [String: JSONValue] = [
            "sessions": .string(only.map { $0.isClients ? "client" : "gap" } ?? "app"),
            "gap_minutes": only.map { .integer(Int64($0.gapMinutes)) } ?? .null,
            "bucket": .string(bucket.rawValue), "by": .string(label?.path ?? "step"),
            "total": row(walker.total, plan),
            "buckets": .array(
                walker.periods.sorted { $0.key < $1.key }.map { period, figures in
                    var members = row(figures, plan).object ?? [:]
                    members["bucket"] = .string(calendar.name(of: period))
                    return .object(members)
                }),
            "entries": places(walker.entries, labels), "exits": places(walker.exits, labels),
        ]
        if listMax > 0 { answer["list"] = .array(walker.list.map { session($0, plan) }) }
        return answer.merging(desk.facts(stats, scope)) { $1 }
    }

    private func row(_ figures: SessionWalker.Figures, _ plan: SequencePlan) -> JSONValue {
        let seconds = figures.lengths.reduce(0.0) { $0 + Double($1) / 1e6 }
        return [
            "sessions": .integer(Int64(figures.sessions)), "persons": .integer(Int64(figures.persons)),
            "events": .integer(Int64(figures.events)), "bounces": .integer(Int64(figures.bounces)),
            "bounce_rate": Figure.share(figures.bounces, of: figures.sessions),
            "events_per_session": Figure.share(figures.events, of: figures.sessions),
            "mean_seconds": figures.sessions == 0 ? .null : Figure.rounded(seconds / Double(figures.sessions)),
            "median_seconds": Figure.medianSeconds(figures.lengths),
            "value": Figure.money(
                Dictionary(
                    uniqueKeysWithValues: figures.values.enumerated().compactMap { code, value in
                        value.map { (UInt32(code), $0) }
                    }), plan.currencies),
        ]
    }

    private func places(_ counts: [Int], _ labels: LabelTable) -> JSONValue {
        let all = counts.enumerated().filter { $0.element > 0 }.map { code, sessions in
            (text: labels.text(UInt32(code)), sessions: sessions)
        }.sorted {
            ($1.sessions, $0.text ?? "") < ($0.sessions, $1.text ?? "")
        }
        return .array(
            all.prefix(Self.placesMax).map { text, sessions in
                ["label": text.map { .string($0) } ?? .null, "sessions": .integer(Int64(sessions))]
            })
    }

    private func session(_ session: Session, _ plan: SequencePlan) -> JSONValue {
        let person = String(PersonScramble.undo(session.person), radix: 16)
        return [
            "person": .string(String(repeating: "0", count: 16 - person.utf8.count) + person),
            "start": .string(Timestamp(microseconds: session.start).rfc3339),
            "end": .string(Timestamp(microseconds: session.end).rfc3339),
            "seconds": Figure.rounded(Double(session.length) / 1e6), "events": .integer(Int64(session.events)),
            "entry": plan.labels.text(session.entry).map { .string($0) } ?? .null,
            "exit": plan.labels.text(session.exit).map { .string($0) } ?? .null,
            "bounce": .bool(session.isBounce), "value": Figure.money(session.values, plan.currencies),
        ]
    }
}
