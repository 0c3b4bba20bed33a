internal import AurumCore
internal import Events

/// What a campaign report is put together from, before the lines of a model are made of it.
struct Pieces {
    private struct Place: Hashable {
        let key: String
        let currency: Currency
    }

    /// Spend, the same under every model.
    private var spent: [Place: CampaignLine] = [:]
    private let counts: [String: TouchCounts]
    private let credits: [LogModel: [CreditLine]]
    /// The currency of lines that have none: that of most money.
    private let main: Currency
    private let isSpendKnown: Bool
    private let dimension: CreditQuestion.Dimension
    private let isOfRun: Bool
    private let hasRefunds: Bool

    /// - Parameters:
    ///   - sums: nil when nobody knows what was spent.
    ///   - isOfRun: the lines are what a run over the log credits.
    ///   - hasRefunds: the run took refunds off its conversions.
    init(
        _ dimension: CreditQuestion.Dimension, _ sums: [SpendSum]?, _ book: CampaignBook,
        _ counts: [String: TouchCounts], _ lines: [CreditLine], isOfRun: Bool = false, hasRefunds: Bool = false
    ) throws(SpendError) {
        (self.dimension, self.isOfRun, self.hasRefunds) = (dimension, isOfRun, hasRefunds)
        isSpendKnown = sums != nil && dimension.isSpentOn
        for sum in sums ?? [] where isSpendKnown {
            let place = Place(key: Self.key(sum, dimension, book), currency: sum.currency)
            var line = CampaignLine(key: place.key, currency: place.currency)
            line.spendMinor = sum.figures.spendMinor
            line.networkImpressions = sum.figures.impressions
            line.networkClicks = sum.figures.clicks
            line.networkConversionsMillionths = sum.figures.conversionsMillionths
            line.networkValueMinor = sum.figures.valueMinor
            try spent[place, default: CampaignLine(key: place.key, currency: place.currency)].add(line)
        }
        self.counts = counts
        credits = Dictionary(grouping: lines, by: \.model)
        var uses: [Currency: Int] = [:]
        for place in spent.keys { uses[place.currency, default: 0] += 1 }
        for line in lines { if let currency = line.currency { uses[currency, default: 0] += 1 } }
        main = uses.max { ($0.value, $1.key.code) < ($1.value, $0.key.code) }?.key ?? .usd
    }

    static func key(_ sum: SpendSum, _ dimension: CreditQuestion.Dimension, _ book: CampaignBook) -> String {
        switch dimension {
        case .day, .week, .month:
            let start = ZoneClock.start(of: dimension.bucket ?? .day, holding: sum.day ?? 0)
            return CivilDate(daysSince1970: start).description
        case .network: return sum.network
        case .campaign: return book.name(of: sum.campaign) ?? CampaignBook.unmatched
        case .source, .medium, .channel:
            guard let name = book.name(of: sum.campaign) else { return CampaignBook.unmatched }
            return book.value(of: name, dimension) ?? Credit.none
        case .adGroup, .creative: return AdNames.label(sum.part)
        case .keyword, .publisher, .buyer: return Credit.none
        }
    }

    func lines(_ model: LogModel, _ basis: RevenueBasis) throws(SpendError) -> ModelLines {
        var lines = spent
        var leads: [String: Int64] = [:]
        var valueless: [String: Int64] = [:]
        var unrecorded: [String: UnrecordedCredit] = [:]
        for credit in credits[model] ?? [] {
            guard let currency = credit.currency else {
                if dimension.isOfSalesOnly { continue }
                try Figures.add(credit.leadsMillionths, to: &leads[credit.key, default: 0])
                try Figures.add(credit.salesMillionths, to: &valueless[credit.key, default: 0])
                try unrecorded[credit.key, default: UnrecordedCredit()].add(credit.unrecorded)
                continue
            }
            let place = Place(key: credit.key, currency: currency)
            var line = lines[place] ?? CampaignLine(key: place.key, currency: currency)
            line.sales += credit.sales
            try Figures.add(credit.salesMillionths, to: &line.salesMillionths)
            try Figures.add(credit.revenueMinor, to: &line.bookedMinor)
            try Figures.add(credit.recognisedMinor, to: &line.recognisedMinor)
            try Figures.add(credit.returnedMinor, to: &line.returnedMinor)
            line.isEstimated = line.isEstimated || credit.isEstimated
            try line.unrecorded.add(credit.unrecorded)
            lines[place] = line
        }
        // What has no currency stands on every line of its key, and on one of its own where there is no other.
        let currencies = Dictionary(grouping: lines.keys, by: \.key).mapValues { $0.map(\.currency) }
        for key in Set(counts.keys).union(leads.keys).union(valueless.keys) {
            for currency in currencies[key] ?? [main] {
                let place = Place(key: key, currency: currency)
                var line = lines[place] ?? CampaignLine(key: key, currency: currency)
                line.leadsMillionths = leads[key] ?? 0
                line.valuelessMillionths = valueless[key] ?? 0
                try Figures.add(line.valuelessMillionths, to: &line.salesMillionths)
                if let missing = unrecorded[key] { try line.unrecorded.add(missing) }
                if let count = counts[key] {
                    (line.loggedClicks, line.loggedImpressions) = (count.clicks, count.impressions)
                    (line.visits, line.installs) = (count.visits, count.installs)
                }
                lines[place] = line
            }
        }
        for place in lines.keys {
            lines[place]?.isSpendKnown = isSpendKnown
            lines[place]?.areTouchesKnown = !dimension.isOfSalesOnly
            lines[place]?.isSpentOn = dimension.isSpentOn
            lines[place]?.isOfRun = isOfRun
            lines[place]?.hasRefunds = hasRefunds
        }
        return try sorted(lines, model, basis)
    }

    private func sorted(
        _ lines: [Place: CampaignLine], _ model: LogModel, _ basis: RevenueBasis
    ) throws(SpendError) -> ModelLines {
        var totals: [Currency: CampaignLine] = [:]
        for line in lines.values {
            try totals[line.currency, default: CampaignLine(key: "", currency: line.currency)].add(line)
        }
        // A sale stands on every line that it credits, but its shares add up to one sale.
        let sums = totals.values.map { total in
            var total = total
            total.sales = Int(total.salesMillionths / 1_000_000)
            return total
        }
        var answer = ModelLines(
            model: model,
            lines: lines.values.sorted { one, other in
                let (left, right) = (one.revenueMinor(basis), other.revenueMinor(basis))
                return (right, other.spendMinor, one.key, one.currency.code)
                    < (left, one.spendMinor, other.key, other.currency.code)
            },
            totals: sums.sorted { $0.currency.code < $1.currency.code })
        (answer.isSpendKnown, answer.areTouchesKnown) = (isSpendKnown, !dimension.isOfSalesOnly)
        answer.isSpentOn = dimension.isSpentOn
        return answer
    }
}
