internal import AurumCore
internal import Events

/// The run over the log whose conversions a campaign report shows. With the report's settings it says all that somebody
/// needs to compute the same anew.
package struct CampaignRun: Sendable {
    package let head: LogResultHead
    /// The report has days that the run does not cover: what was spent on them has no conversions beside it.
    package let isBeyond: Bool

    /// What revenue is: the value of events, less what refunds took.
    static let basis = "event"
    /// Of `cells`.
    static let columns = "definition,result_version,log_position,computed_at"

    init(_ head: LogResultHead, isBeyond: Bool) { (self.head, self.isBeyond) = (head, isBeyond) }

    /// What a report says of it beside its rows.
    var facts: [String: JSONValue] {
        [
            "definition": .string(head.conversion), "result": result, "split": "per_conversion",
            "beyond_run": .bool(isBeyond),
        ]
    }

    private var result: JSONValue {
        var members = head.json.object ?? [:]
        // They stand among the report's settings.
        members["settings"] = nil
        members["facts"] = .object(
            (members["facts"]?.object ?? [:]).filter { !["fits", LogAttribution.milestoneFact].contains($0.key) })
        return .object(members)
    }

    /// The same in every row of a CSV file.
    var cells: [String] {
        [
            CSVCell.text(head.conversion), String(head.version), CSVCell.text(head.position ?? ""),
            head.finishedAt?.rfc3339 ?? "",
        ]
    }
}

extension LogResultHead {
    /// The versions of its conversion that the run went by.
    fileprivate var definitions: [JSONValue] {
        (settings.array ?? []).filter { $0["name"]?.string == conversion }
    }

    /// What the run went by under some models.
    /// - Parameter factors: of every channel; nil where no model goes by them.
    fileprivate func settings(_ models: [LogModel], _ factors: [ChannelFactor]?) -> JSONValue {
        var known: [String: JSONValue] = [:]
        for model in models { known[model.name] = settings(of: model) }
        if let factors { known[LogModel.dataDriven.name] = ChannelFactor.json(factors) }
        return ["definitions": .array(definitions), "models": .object(known)]
    }

    /// Whether it took refunds off its conversions.
    fileprivate var hasRefunds: Bool { facts["unmatched_refunds"] != nil }

    private func fit(_ model: LogModel) -> JSONValue? { facts["fits"]?[model.name] }

    /// Whether the run could divide conversions under a model: rules always, fitted ones where journeys allow it,
    /// custom weights where a definition has some.
    func has(_ model: LogModel) -> Bool {
        switch model {
        case .markov: fit(model) != nil
        case .custom: definitions.contains { $0["custom"] != nil }
        case .dataDriven: fit(.markov(1)) != nil
        case .rule, .shapley: true
        }
    }

    /// What a model went by beside its formula; nil for nothing.
    private func settings(of model: LogModel) -> JSONValue? {
        switch model {
        case .rule(.timeDecay): ["half_life_hours": .array(definitions.compactMap { $0["half_life_hours"] })]
        case .rule(.wShaped), .rule(.wShaped30303010): ["milestone": facts[LogAttribution.milestoneFact] ?? .null]
        case .custom:
            [
                "weights": .array(definitions.compactMap { $0["custom"] }),
                "milestone": facts[LogAttribution.milestoneFact] ?? .null,
            ]
        case .markov(let order):
            .object((fit(model)?.object ?? [:]).merging(["order": .integer(Int64(order))]) { $1 })
        case .rule, .shapley, .dataDriven: nil
        }
    }

    /// The models of a question that the run has.
    /// - Throws: `notFitted` and `noCustomWeights` for the one that is asked for, or that others are compared with.
    fileprivate func models(_ question: CampaignQuestion) throws(LogAttributionError) -> [LogModel] {
        let needed = question.base.map { [$0] } ?? question.models
        if let missing = needed.first(where: { !has($0) }) {
            guard missing != .custom else { throw .noCustomWeights(conversion) }
            let notes = (facts["notes"]?.array ?? []).compactMap(\.string)
            let fitted = missing == .dataDriven ? LogModel.markov(1) : missing
            throw .notFitted(missing.name, notes.first { $0.hasPrefix("\(fitted.name) of \(conversion) ") })
        }
        return question.models.filter { has($0) }
    }

    /// Whether it leaves out one of the days from `from` to before `to`, as far as they have come.
    func leavesOut(from: Int, to: Int, now: Timestamp) -> Bool {
        func day(_ moment: Timestamp) -> Int { Int(moment.microseconds.flooredDay) }
        let isWhole = self.from.map { Timestamp(microseconds: Int64(day($0)) * 86_400_000_000) == $0 } ?? true
        let first = self.from.map { day($0) + (isWhole ? 0 : 1) } ?? from
        // The day on which it ended counts as covered: it is not over for anybody.
        let computed = finishedAt.map { day($0) + 1 } ?? .max
        return from < first || min(to, day(now) + 1) > min(self.to.map { day($0) } ?? .max, computed)
    }

    /// Whether credit of the days of an experiment is not in it. Of one that is over the last day must be whole: a run
    /// that ended in the middle of it has a part of the credit, and the experiment all of the conversions.
    func leavesOut(_ experiment: SavedExperiment, now: Timestamp) -> Bool {
        let end = Timestamp(microseconds: Int64(experiment.to) * 86_400_000_000)
        if end <= now, let finishedAt, finishedAt < end { return true }
        return leavesOut(from: experiment.from, to: experiment.to, now: now)
    }
}

extension CampaignReports {
    /// What campaigns cost beside what the newest finished run over the log credits to them.
    /// - Throws: `LogAttributionError.unknownConversion`, `noResult`, `notFitted`, `noCustomWeights`; `QueryError`;
    ///   `SpendError.figuresTooLarge`; database errors.
    func report(
        org: String, _ question: CampaignQuestion, _ range: Range, _ sums: [SpendSum], of definition: String
    ) async throws -> CampaignReport {
        let head = try await newest(org: org, definition)
        let models = try head.models(question)
        let known = try await known(org: org, question, range, networksFrom: sums)
        let days = Self.days(range)
        let (rows, factors) = try await credits(head, org: org, models, question.dimension, days)
        let lines = try Self.lines(rows, question.dimension, known.book)
        let pieces = try Pieces(
            question.dimension, sums, known.book, known.counts, lines, isOfRun: true, hasRefunds: head.hasRefunds)
        var report = CampaignReport(
            question: question, models: try models.map { try pieces.lines($0, question.basis) },
            unmatched: try Self.unmatched(sums, known.book),
            unattributed: try Self.unattributed(rows, models.first), settings: head.settings(models, factors),
            from: range.from, to: range.to, timezone: range.timezone, isTimezoneMixed: range.isMixed, asOf: clock.now)
        report.areTouchesCut = known.isCut
        report.run = CampaignRun(
            head, isBeyond: head.leavesOut(from: days.from, to: days.to, now: report.asOf))
        return report
    }

    /// What a run credits in some days under some models, and the factors of channels where one of them needs them.
    private func credits(
        _ head: LogResultHead, org: String, _ models: [LogModel], _ dimension: CreditQuestion.Dimension,
        _ days: (from: Int, to: Int)
    ) async throws -> (rows: [RunCredit], factors: [ChannelFactor]?) {
        let store = LogResultStore(database: attribution.database)
        let stored = models.filter { $0 != .dataDriven }.map(\.name)
        var rows: [RunCredit] = []
        if !stored.isEmpty {
            rows = try await store.credits(
                head, org: org, models: stored, by: dimension, from: days.from, to: days.to)
        }
        guard models.contains(.dataDriven) else { return (rows, nil) }
        let factors = try await store.factors(head, org: org, now: clock.now)
        rows += try await store.dataDriven(head, org: org, by: dimension, from: days.from, to: days.to, factors)
        return (rows, factors)
    }

    private func newest(org: String, _ definition: String) async throws -> LogResultHead {
        let store = LogResultStore(database: attribution.database)
        if let head = try await store.heads(org: org, conversion: definition, limit: 1).first { return head }
        _ = try await DefinitionStore(database: attribution.database).inForce(org: org, names: [definition])
        throw LogAttributionError.noResult(definition)
    }

    /// The credit of each key, which is found by the rule by which spend finds its campaign.
    private static func lines(
        _ rows: [RunCredit], _ dimension: CreditQuestion.Dimension, _ book: CampaignBook
    ) throws -> [CreditLine] {
        struct Place: Hashable {
            let model: LogModel
            let key: String
            let currency: Currency?
        }
        var lines: [Place: CreditLine] = [:]
        for row in rows {
            guard let model = LogModel(name: row.model) else { continue }
            let place = Place(model: model, key: key(row, dimension, book), currency: Currency(row.currency))
            var line = lines[place] ?? CreditLine(model: model, key: place.key, currency: place.currency)
            try Figures.add(row.creditPPM, to: &line.salesMillionths)
            try Figures.add(row.netMinor(), to: &line.revenueMinor)
            try Figures.add(row.returnedMinor(), to: &line.returnedMinor)
            lines[place] = line
        }
        return Array(lines.values)
    }

    private static func key(
        _ row: RunCredit, _ dimension: CreditQuestion.Dimension, _ book: CampaignBook
    ) -> String {
        if row.isBaseline { return Credit.baseline }
        switch dimension {
        case .day, .week, .month:
            let start = ZoneClock.start(of: dimension.bucket ?? .day, holding: row.day)
            return CivilDate(daysSince1970: start).description
        case .campaign: return row.isOrganic ? Credit.organic : book.key(ofLabel: row.label)
        case .channel: return row.label
        case .network:
            return row.isOrganic ? Credit.none : book.value(of: book.key(ofLabel: row.label), .network) ?? Credit.none
        case .source, .medium, .adGroup, .creative, .keyword, .publisher, .buyer: return Credit.none
        }
    }

    private static func unattributed(_ rows: [RunCredit], _ model: LogModel?) throws -> UnattributedCredit {
        var found = UnattributedCredit()
        for row in rows where row.isOrganic && row.model == model?.name {
            try Figures.add(row.creditPPM, to: &found.conversionsMillionths)
            guard let currency = Currency(row.currency) else { continue }
            try Figures.add(row.netMinor(), to: &found.revenueMinor[currency, default: 0])
        }
        return found
    }
}
