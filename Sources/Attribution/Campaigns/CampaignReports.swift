package import AurumCore
internal import Database
package import Events
package import Telemetry

/// What campaigns cost and what they earned: joins imported spend, the log's touches, what led to installs and the
/// credits of the running server. Currencies are never added to each other.
package struct CampaignReports: Sendable {
    package let attribution: AttributionService
    package let spend: SpendStore
    let touches: CampaignTouches
    package let clock: any WallClock
    let registry: MetricRegistry

    package init(
        attribution: AttributionService, spend: SpendStore, engine: QueryEngine, clock: any WallClock,
        registry: MetricRegistry
    ) {
        (self.attribution, self.spend, self.clock, self.registry) = (attribution, spend, clock, registry)
        touches = CampaignTouches(engine: engine)
    }

    /// - Throws: `QueryError` when the log cannot be counted in time; `SpendError.unknownTimeZone`,
    ///   `SpendError.figuresTooLarge`; of a definition `LogAttributionError.unknownConversion`, `noResult` and
    ///   `notFitted`; database errors.
    package func report(org: String, _ question: CampaignQuestion) async throws -> CampaignReport {
        let began = ContinuousClock.now
        defer { registry.histogram(.attributionReportDuration).observe(ContinuousClock.now - began) }
        let range = try await range(org: org, question)
        let sums = try await sums(org: org, question, range)
        if let definition = question.definition {
            return try await report(org: org, question, range, sums, of: definition)
        }
        let now = try await view(org: org, question, range, sums, networksFrom: sums)
        var report = CampaignReport(
            question: question, models: now.models, unmatched: now.unmatched, unattributed: now.unattributed,
            settings: settings(question.models), from: range.from, to: range.to,
            timezone: range.timezone, isTimezoneMixed: range.isMixed, asOf: clock.now)
        report.areTouchesCut = now.areTouchesCut
        report.restatedAt = try await attribution.restatedAt(
            org: org, question.models.compactMap(\.rule), from: range.from, to: range.to,
            asOf: question.asOf ?? report.asOf)
        guard let asOf = question.asOf else { return report }
        let earlier = try await self.sums(org: org, question, range, asOf: asOf)
        // Where nobody knows what was spent, campaigns keep the networks that they have now.
        let then = try await view(org: org, question, range, earlier, networksFrom: earlier ?? sums, asOf: asOf)
        (report.comparedAt, report.asOf) = (report.asOf, asOf)
        report.spendKnownSince = try await spend.knownSince(org: org)
        let kept = clock.now - AttributionService.restatedKept
        report.creditKnownSince = asOf < kept ? kept : nil
        report.models = zip(then.models, now.models).map { $0.beside($1) }
        (report.unmatched, report.unattributed) = (then.unmatched, then.unattributed)
        report.areTouchesCut = now.areTouchesCut || then.areTouchesCut
        return report
    }

    private struct View {
        let models: [ModelLines]
        let unmatched: [UnmatchedSpend]
        let unattributed: UnattributedCredit
        let areTouchesCut: Bool
    }

    /// The figures as they were at `asOf`, or as they are.
    /// - Parameter sums: nil when nobody knows what was spent.
    private func view(
        org: String, _ question: CampaignQuestion, _ range: Range, _ sums: [SpendSum]?,
        networksFrom networkSums: [SpendSum], asOf: Timestamp? = nil
    ) async throws -> View {
        let known = try await known(org: org, question, range, networksFrom: networkSums, asOf: asOf)
        var credits = CreditQuestion(
            models: question.models.compactMap(\.rule), dimension: question.dimension, from: range.from, to: range.to)
        (credits.zone, credits.networks, credits.asOf) = (range.zone, known.book.networks, asOf)
        credits.campaigns = known.book.campaigns
        let lines = try await attribution.report(org: org, credits)
        let pieces = try Pieces(question.dimension, sums, known.book, known.counts, lines)
        return View(
            models: try question.models.map { try pieces.lines($0, question.basis) },
            unmatched: try Self.unmatched(sums ?? [], known.book),
            unattributed: try await unattributed(org: org, credits, lines, question.basis),
            areTouchesCut: known.isCut)
    }

    /// What no touch led to: of one model, as all say the same, and asked for apart where it is no key of its own.
    private func unattributed(
        org: String, _ credits: CreditQuestion, _ lines: [CreditLine], _ basis: RevenueBasis
    ) async throws -> UnattributedCredit {
        var (credits, lines) = (credits, lines)
        if ![.campaign, .channel].contains(credits.dimension) {
            (credits.models, credits.dimension) = (Array(credits.models.prefix(1)), .channel)
            lines = try await attribution.report(org: org, credits)
        }
        let key = credits.dimension == .campaign ? Credit.organic : Credit.organicChannel
        var found = UnattributedCredit(leadsMillionths: 0)
        for line in lines where line.key == key && line.model.rule == credits.models.first {
            try Figures.add(line.salesMillionths, to: &found.conversionsMillionths)
            try Figures.addKnown(line.leadsMillionths, to: &found.leadsMillionths)
            guard let currency = line.currency else { continue }
            let revenue = basis == .booked ? line.revenueMinor : line.recognisedMinor
            try Figures.add(revenue, to: &found.revenueMinor[currency, default: 0])
        }
        return found
    }

    /// What leads and sold legs are credited by.
    private func settings(_ models: [LogModel]) -> JSONValue {
        var known: [String: JSONValue] = [:]
        for model in models {
            switch model {
            case .rule(.timeDecay):
                known[model.name] = ["half_life_hours": .number(JourneyCredit.halfLifeSeconds / 3600)]
            case .rule(.wShaped), .rule(.wShaped30303010):
                known[model.name] = ["milestone": .string(ConversionDefinition.milestone)]
            case .rule, .markov, .shapley, .custom, .dataDriven: continue
            }
        }
        let window = attribution.window
        return [
            "click_hours": .number(window.click.seconds / 3600), "view_hours": .number(window.view.seconds / 3600),
            "models": .object(known),
        ]
    }

    /// What is known before anything is credited.
    struct Known {
        let book: CampaignBook
        /// Touches and installs by key.
        let counts: [String: TouchCounts]
        /// There are more keys than were counted.
        let isCut: Bool
    }

    /// - Parameter networksFrom: spend that says which campaign is of which network.
    func known(
        org: String, _ question: CampaignQuestion, _ range: Range, networksFrom sums: [SpendSum],
        asOf: Timestamp? = nil
    ) async throws -> Known {
        let seen = try await book(org: org, question.dimension, asOf: asOf)
        let book = try Self.networks(sums, seen).book
        var counts = try await touches.counts(
            org: org, question.dimension, from: range.from, to: range.to, timezone: range.timezone, book, asOf: asOf)
        let installs = try await CampaignInstalls(database: attribution.database).counts(
            org: org, question.dimension, range, book, asOf: asOf)
        for (key, count) in installs.byKey { counts.byKey[key, default: TouchCounts()].installs += count }
        return Known(book: book, counts: counts.byKey, isCut: counts.isCut || installs.isCut)
    }

    /// Campaigns that were seen in events or credited, by name, at most `limit`: the rows of a template.
    package func knownCampaigns(org: String, limit: Int) async throws -> [(campaign: String, network: String)] {
        let sightings = try await touches.sightings(org: org, .network)
        var seen = Set<String>()
        return sightings.compactMap { one in
            guard let name = one.name ?? one.id, seen.insert(name).inserted, seen.count <= limit else { return nil }
            return (name, one.value ?? "")
        }
    }

    /// Which campaigns of an import nobody ever came from.
    package func unmatched(org: String, _ campaigns: Set<SpendCampaign>) async throws -> [SpendCampaign] {
        let book = try await book(org: org, .campaign)
        return campaigns.filter { book.name(of: $0) == nil }.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }

    // MARK: range

    struct Range {
        var from: Timestamp?
        var to: Timestamp?
        var timezone: String
        var isMixed: Bool
        var zone: ZoneClock
    }

    func range(org: String, _ question: CampaignQuestion) async throws -> Range {
        var (timezone, isMixed) = ("UTC", false)
        if let wanted = question.timezone {
            timezone = wanted
        } else {
            (timezone, isMixed) = try await spend.timezone(org: org)
            // Runs over the log keep days of UTC.
            if question.definition != nil { (timezone, isMixed) = ("UTC", isMixed || timezone != "UTC") }
        }
        guard let zone = ZoneClock(timezone) else { throw SpendError.unknownTimeZone }
        var range = Range(timezone: timezone, isMixed: isMixed, zone: zone)
        if let days = question.days {
            let today = Int(zone.key(.day, at: (question.asOf ?? clock.now).microseconds))
            range.from = zone.start(ofDay: CivilDate(daysSince1970: today - days + 1))
            range.to = zone.start(ofDay: CivilDate(daysSince1970: today + 1))
        } else {
            func moment(_ bound: CampaignQuestion.Bound?) -> Timestamp? {
                switch bound {
                case .moment(let moment)?: moment
                case .date(let date)?: zone.start(ofDay: date)
                case nil: nil
                }
            }
            (range.from, range.to) = (moment(question.from), moment(question.to))
        }
        return range
    }

    /// Days whose first moment lies in the range.
    func sums(org: String, _ question: CampaignQuestion, _ range: Range) async throws -> [SpendSum] {
        let days = Self.days(range)
        return try await spend.sums(
            org: org, from: days.from, to: days.to, byDay: question.dimension.bucket != nil,
            part: question.dimension.spendPart)
    }

    /// The same as they stood at a moment; nil when nobody knows.
    private func sums(
        org: String, _ question: CampaignQuestion, _ range: Range, asOf: Timestamp
    ) async throws -> [SpendSum]? {
        let days = Self.days(range)
        return try await spend.sums(
            org: org, from: days.from, to: days.to, byDay: question.dimension.bucket != nil,
            part: question.dimension.spendPart, asOf: asOf)
    }

    static func days(_ range: Range) -> (from: Int, to: Int) {
        func first(_ moment: Timestamp?, none: Int32) -> Int {
            guard let moment else { return Int(none) }
            let day = Int(range.zone.key(.day, at: moment.microseconds))
            return range.zone.start(ofDay: CivilDate(daysSince1970: day)) < moment ? day + 1 : day
        }
        return (first(range.from, none: .min), first(range.to, none: .max))
    }

    // MARK: campaigns

    func book(
        org: String, _ dimension: CreditQuestion.Dimension, asOf: Timestamp? = nil
    ) async throws -> CampaignBook {
        let sightings = try await touches.sightings(org: org, dimension, asOf: asOf)
        return CampaignBook(sightings, dimension, credited: try await credited(org: org, asOf: asOf))
    }

    /// Every campaign that a sale or a lead was credited to, by `asOf` where that is told.
    func credited(org: String, asOf: Timestamp? = nil) async throws -> [CreditedCampaign] {
        let until = asOf ?? Timestamp(microseconds: .max)
        return try await attribution.database.read("attribution.knownCampaigns") { transaction in
            try transaction.all(
                CreditedCampaign.self,
                """
                SELECT campaign, source, medium, channel FROM attribution_campaigns
                WHERE org = \(org) AND created_at <= \(until)
                """)
        }
    }

    /// The network of each campaign: the one it has most spend with, else the one that most of its events name.
    static func networks(_ sums: [SpendSum], _ book: CampaignBook) throws(SpendError) -> (
        names: [String: String], book: CampaignBook
    ) {
        var spent: [String: [String: Int64]] = [:]
        for sum in sums {
            guard let name = book.name(of: sum.campaign) else { continue }
            try Figures.add(sum.figures.spendMinor, to: &spent[name, default: [:]][sum.network, default: 0])
        }
        var book = book
        for (campaign, networks) in spent {
            guard let most = networks.max(by: { ($0.value, $1.key) < ($1.value, $0.key) })?.key else { continue }
            book.setNetwork(most, of: campaign)
        }
        return (book.networks, book)
    }

    static func unmatched(
        _ sums: [SpendSum], _ book: CampaignBook
    ) throws(SpendError) -> [UnmatchedSpend] {
        struct Key: Hashable {
            let network: String
            let campaign: SpendCampaign
            let currency: Currency
        }
        var found: [Key: Int64] = [:]
        for sum in sums where book.name(of: sum.campaign) == nil {
            let key = Key(network: sum.network, campaign: sum.campaign, currency: sum.currency)
            try Figures.add(sum.figures.spendMinor, to: &found[key, default: 0])
        }
        return found.map {
            UnmatchedSpend(network: $0.network, campaign: $0.campaign, currency: $0.currency, spendMinor: $1)
        }
        .sorted {
            ($1.spendMinor, $0.network, $0.campaign.name, $0.campaign.id, $0.currency.code)
                < ($0.spendMinor, $1.network, $1.campaign.name, $1.campaign.id, $1.currency.code)
        }
    }
}
