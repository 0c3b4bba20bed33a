package import AurumCore

/// Which revenue counts as earned.
package enum RevenueBasis: String, Sendable, CaseIterable {
    /// Booked, what was returned taken out.
    case booked
    /// The part of it whose return window has passed.
    case recognised
}

/// What a campaign report is asked.
package struct CampaignQuestion: Sendable, Hashable {
    /// One end of the range.
    package enum Bound: Sendable, Hashable {
        case moment(Timestamp)
        /// The first moment of a day of the report's time zone.
        case date(CivilDate)
    }

    package var models: [LogModel]
    /// The conversion whose newest run over the log earned what the report shows, by days of UTC; nil: leads and sold
    /// legs of the running server.
    package let definition: String?
    /// The model that the others are compared with; nil for a report of one.
    package var base: LogModel?
    package var dimension = CreditQuestion.Dimension.campaign
    /// Of sold legs; runs over the log know the value of events alone.
    package var basis = RevenueBasis.booked
    package var from: Bound?
    /// Not included.
    package var to: Bound?
    /// Today and the days before it, this many in all; in place of `from` and `to`.
    package var days: Int?
    /// nil: the calendar that all accounts with spend share, else UTC.
    package var timezone: String?
    /// The report as it stood then: only what was stored by this moment counts, and what was taken back since still
    /// counts. `days` are those before it. nil: now.
    package var asOf: Timestamp?

    package static let daysMax = 1100

    package init(models: [CreditModel]) { (self.models, definition) = (models.map { .rule($0) }, nil) }

    /// - Parameter models: of a comparison, those that the run has are answered.
    package init(definition: String, models: [LogModel]) { (self.models, self.definition) = (models, definition) }
}

/// What one key spent, brought and earned, in one currency under one model.
package struct CampaignLine: Sendable, Equatable {
    package let key: String
    package let currency: Currency
    package var spendMinor: Int64 = 0
    /// nil when the imported rows do not say.
    package var networkImpressions: Int64?
    package var networkClicks: Int64?
    package var networkConversionsMillionths: Int64?
    package var networkValueMinor: Int64?
    package var loggedClicks: Int64 = 0
    package var loggedImpressions: Int64 = 0
    package var visits: Int64 = 0
    package var installs: Int64 = 0
    package var leadsMillionths: Int64 = 0
    package var sales = 0
    package var salesMillionths: Int64 = 0
    package var bookedMinor: Int64 = 0
    package var recognisedMinor: Int64 = 0
    package var returnedMinor: Int64 = 0
    /// False where no spend can have the key, and for moments whose spend nobody knows any more. Then neither spend nor
    /// what networks count says anything.
    package var isSpendKnown = true
    /// False where touches and leads cannot have the key.
    package var areTouchesKnown = true
    /// False where no spend can have the key, so that touches are counted by the log alone.
    package var isSpentOn = true
    /// Shares of conversions were worked out from money in part: those of sales that an earlier release took back.
    package var isEstimated = false
    /// What of its credit is on this line because an earlier release did not keep ads.
    package var unrecorded = UnrecordedCredit()
    /// Its conversions are those of a run over the log: nothing is sold or recognised, and no lead counted.
    package var isOfRun = false
    /// The run took refunds off its conversions: what it credits is known before and after.
    package var hasRefunds = false
    /// The part of its conversions that have no value and so no currency: they stand on each line of their key.
    package var valuelessMillionths: Int64 = 0

    package init(key: String, currency: Currency) { (self.key, self.currency) = (key, currency) }

    /// Adds another line of the same currency.
    /// - Throws: `SpendError.figuresTooLarge`.
    package mutating func add(_ other: CampaignLine) throws(SpendError) {
        try Figures.add(other.spendMinor, to: &spendMinor)
        try Figures.addKnown(other.networkImpressions, to: &networkImpressions)
        try Figures.addKnown(other.networkClicks, to: &networkClicks)
        try Figures.addKnown(other.networkConversionsMillionths, to: &networkConversionsMillionths)
        try Figures.addKnown(other.networkValueMinor, to: &networkValueMinor)
        try Figures.add(other.loggedClicks, to: &loggedClicks)
        try Figures.add(other.loggedImpressions, to: &loggedImpressions)
        try Figures.add(other.visits, to: &visits)
        try Figures.add(other.installs, to: &installs)
        try Figures.add(other.leadsMillionths, to: &leadsMillionths)
        sales += other.sales
        try Figures.add(other.salesMillionths, to: &salesMillionths)
        try Figures.add(other.bookedMinor, to: &bookedMinor)
        try Figures.add(other.recognisedMinor, to: &recognisedMinor)
        try Figures.add(other.returnedMinor, to: &returnedMinor)
        isSpendKnown = isSpendKnown && other.isSpendKnown
        areTouchesKnown = areTouchesKnown && other.areTouchesKnown
        isSpentOn = isSpentOn && other.isSpentOn
        isEstimated = isEstimated || other.isEstimated
        try unrecorded.add(other.unrecorded)
        isOfRun = isOfRun || other.isOfRun
        hasRefunds = hasRefunds || other.hasRefunds
        try Figures.add(other.valuelessMillionths, to: &valuelessMillionths)
    }

    /// What was sold before anything came back; nil when 64 bits do not hold it.
    package var grossMinor: Int64? {
        let (gross, isTooLarge) = bookedMinor.addingReportingOverflow(returnedMinor)
        return isTooLarge ? nil : gross
    }
}

/// The formulas of docs/attribution.md. Each is nil when its divisor is 0; money is whole minor units, rounded to the
/// nearest, ratios are millionths.
extension CampaignLine {
    /// Whether what the network does not count may be taken from the log.
    private var areCountsKnown: Bool { isSpendKnown || (!isSpentOn && areTouchesKnown) }

    /// What the network says, else what the log knows.
    package var impressions: Int64? {
        areCountsKnown ? networkImpressions ?? (loggedImpressions > 0 ? loggedImpressions : nil) : nil
    }

    /// What the network says; else clicks of the log; else visits, which follow a click.
    package var clicks: Int64? {
        areCountsKnown ? networkClicks ?? (loggedClicks > 0 ? loggedClicks : visits) : nil
    }

    package var clicksFrom: String? {
        guard areCountsKnown else { return nil }
        return networkClicks != nil ? "network" : loggedClicks > 0 ? "log" : "visits"
    }

    /// Leads where they are counted.
    package var knownLeadsMillionths: Int64? { areTouchesKnown && !isOfRun ? leadsMillionths : nil }

    package func revenueMinor(_ basis: RevenueBasis) -> Int64 { basis == .booked ? bookedMinor : recognisedMinor }

    /// Spend where it is known.
    package var knownSpendMinor: Int64? { isSpendKnown ? spendMinor : nil }

    package var clickRate: Int64? {
        guard let clicks, let impressions else { return nil }
        return Ratio.of(clicks, by: impressions, scale: 1_000_000)
    }
    package var conversionRate: Int64? { clicks.flatMap { Ratio.of(salesMillionths, by: $0) } }
    package var costPerClickMinor: Int64? { clicks.flatMap { cost(of: $0, scale: 1) } }
    package var costPerInstallMinor: Int64? { cost(of: installs, scale: 1) }
    package var costPerLeadMinor: Int64? { cost(of: leadsMillionths, scale: 1_000_000) }
    package var costPerConversionMinor: Int64? { cost(of: salesMillionths, scale: 1_000_000) }

    private func cost(of count: Int64, scale: Int64) -> Int64? {
        knownSpendMinor.flatMap { Ratio.of($0, by: count, scale: scale) }
    }

    package func returnOnSpend(_ basis: RevenueBasis) -> Int64? {
        knownSpendMinor.flatMap { Ratio.of(revenueMinor(basis), by: $0, scale: 1_000_000) }
    }
}

/// Division of whole numbers without a floating-point number on the way.
package enum Ratio {
    /// `number` × `scale` ÷ `divisor` to the nearest whole number, halves away from zero; nil for a divisor of 0 and
    /// for what 64 bits do not hold.
    package static func of(_ number: Int64, by divisor: Int64, scale: Int64 = 1) -> Int64? {
        guard divisor != 0 else { return nil }
        let product = Int128(number) * Int128(scale)
        let half = Int128(divisor.magnitude) / 2
        let magnitude = (Int128(product.magnitude) + half) / Int128(divisor.magnitude)
        return Int64(exactly: (product < 0) != (divisor < 0) ? -magnitude : magnitude)
    }
}

/// Spend that found no campaign.
package struct UnmatchedSpend: Sendable, Equatable {
    package var network: String
    package var campaign: SpendCampaign
    package var currency: Currency
    package var spendMinor: Int64
}

/// The lines of one model with their sums by currency.
package struct ModelLines: Sendable, Equatable {
    package var model: LogModel
    /// Largest revenue first, then largest spend.
    package var lines: [CampaignLine]
    /// Sums over all lines, one a currency.
    package var totals: [CampaignLine]
    /// What the same lines and totals say now, in their order; empty unless an earlier moment was asked for.
    package var linesNow: [CampaignLine] = []
    package var totalsNow: [CampaignLine] = []
    /// What its lines know, those that it has not among them.
    package var isSpendKnown = true
    package var areTouchesKnown = true
    package var isSpentOn = true
}

extension ModelLines {
    /// These lines beside those of now; each has a line of nothing for what only the other has.
    func beside(_ now: ModelLines) -> ModelLines {
        var both = self
        (both.lines, both.linesNow) = paired(lines, now.lines, now)
        (both.totals, both.totalsNow) = paired(totals, now.totals, now)
        return both
    }

    private func paired(
        _ then: [CampaignLine], _ now: [CampaignLine], _ other: ModelLines
    ) -> (then: [CampaignLine], now: [CampaignLine]) {
        let later = Dictionary(now.map { ($0.place, $0) }, uniquingKeysWith: { $1 })
        let known = Set(then.map(\.place))
        let lines = then + now.filter { !known.contains($0.place) }.map { nothing($0) }
        return (lines, lines.map { later[$0.place] ?? other.nothing($0) })
    }

    /// A line as it is here where nothing was spent, brought or earned.
    private func nothing(_ line: CampaignLine) -> CampaignLine {
        var empty = CampaignLine(key: line.key, currency: line.currency)
        (empty.isSpendKnown, empty.areTouchesKnown, empty.isSpentOn) = (isSpendKnown, areTouchesKnown, isSpentOn)
        return empty
    }
}

extension CampaignLine {
    /// Tells lines of one report apart.
    var place: String { key + "\u{0}" + currency.code }
}

/// Credit that no touch led to, the same under every model.
package struct UnattributedCredit: Sendable, Equatable {
    /// Of sold legs, or of a run over the log.
    package var conversionsMillionths: Int64
    /// nil where no leads are counted.
    package var leadsMillionths: Int64?
    /// Minor units by currency.
    package var revenueMinor: [Currency: Int64]

    package init(
        conversionsMillionths: Int64 = 0, leadsMillionths: Int64? = nil, revenueMinor: [Currency: Int64] = [:]
    ) {
        (self.conversionsMillionths, self.leadsMillionths) = (conversionsMillionths, leadsMillionths)
        self.revenueMinor = revenueMinor
    }

    var json: JSONValue {
        let revenue = revenueMinor.map { ($0.key.code, JSONValue.integer($0.value)) }
        return [
            "conversions": .millionths(conversionsMillionths), "leads": .millionths(leadsMillionths),
            "revenue_minor": .object(Dictionary(uniqueKeysWithValues: revenue)),
        ]
    }
}

/// The answer of a campaign report.
package struct CampaignReport: Sendable {
    package var question: CampaignQuestion
    package var models: [ModelLines]
    package var unmatched: [UnmatchedSpend]
    /// Of the report's days.
    package var unattributed: UnattributedCredit
    /// The windows and what models go by beside their formulas.
    package var settings: JSONValue
    /// What was asked for, with the bounds as moments.
    package var from: Timestamp?
    package var to: Timestamp?
    package var timezone: String
    /// Accounts keep days by different calendars, and the report by UTC.
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp
    /// When the figures of now were taken that those of an earlier moment stand beside; nil unless one was asked for.
    package var comparedAt: Timestamp?
    /// Before this moment spend is not known as it stood; nil when every moment's is, or none was asked for.
    package var spendKnownSince: Timestamp?
    /// Before this moment credit that was restated is not known as it stood; nil when the moment asked for is later.
    package var creditKnownSince: Timestamp?
    /// When credit that the report counts was last restated; nil where none was, and for runs over the log.
    package var restatedAt: Timestamp?
    /// The run over the log that the conversions are of; nil for leads and sold legs.
    package var run: CampaignRun?
    /// The log has touches under more keys than a report counts: those of the least frequent are on no line.
    package var areTouchesCut = false

    /// Lines of one model in an answer; totals are of all.
    package static let linesMax = 1000
    package static let unmatchedMax = 100
}
