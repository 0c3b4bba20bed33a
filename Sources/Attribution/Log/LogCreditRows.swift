internal import Events

/// Credit of one campaign on one day under one model.
package struct LogCreditRow: Sendable, Equatable {
    package var conversion: String
    package var model: String
    package var campaign: String
    package var channel: String
    /// Days since 1970, UTC.
    package var day: Int
    /// Empty where the conversions have no value.
    package var currency: String
    /// Millionths of conversions.
    package var creditPPM: Int64
    package var amountMinor: Int64
    /// What refunds took of it.
    package var returnedMinor: Int64 = 0
}

/// The credits of one conversion: model by model, each by campaign, channel, day and currency. A row is made when it is
/// asked for, because so many rows of every sum would take ten times the memory of the sums.
package struct LogCreditRows: Sendable, Sequence, Equatable {
    private let table: LogCreditTable?
    private let name: Int

    /// No rows.
    package init() { (table, name) = (nil, 0) }

    init(_ table: LogCreditTable, name: Int) { (self.table, self.name) = (table, name) }

    package func makeIterator() -> Iterator { Iterator(table, name) }

    /// Rows that there are; looks at every sum.
    package var count: Int { reduce(0) { count, _ in count + 1 } }

    package static func == (left: LogCreditRows, right: LogCreditRows) -> Bool { left.elementsEqual(right) }

    package struct Iterator: IteratorProtocol {
        private let table: LogCreditTable?
        private let name: Int
        private var (model, place) = (0, 0)

        init(_ table: LogCreditTable?, _ name: Int) { (self.table, self.name) = (table, name) }

        package mutating func next() -> LogCreditRow? {
            guard let table else { return nil }
            while model < LogModel.stored.count {
                let keys = table.keys[name]
                while place < keys.count {
                    place += 1
                    if let row = table.row(keys[place - 1], model: model) { return row }
                }
                (model, place) = (model + 1, 0)
            }
            return nil
        }
    }
}

/// Every sum of a run with the words that it goes by.
final class LogCreditTable: Sendable {
    private let names: [String]
    private let campaigns: [String]
    private let currencies: [String]
    private let rules: CreditSums
    private let fitted: CreditSums
    /// By conversion and place in `LogModel.fitted`.
    private let isFitted: [[Bool]]
    /// Of each conversion in the order of their rows.
    let keys: [[CreditTally.Key]]

    /// - Parameters:
    ///   - rules: sums under `LogModel.rules`, and under custom weights where the plan has some; those of organic
    ///     conversions among them.
    ///   - fitted: sums under `LogModel.fitted`.
    init(_ plan: LogRunPlan, rules: CreditSums, fitted: CreditSums, fits: [ConversionFits]) {
        (names, self.rules, self.fitted) = (plan.names, rules, fitted)
        isFitted = fits.map { fit in fit.effects.map { $0 != nil } }
        let (campaignRanks, currencyRanks) = (plan.campaigns.ranks, plan.currencies.ranks)
        campaigns = campaignRanks.indices.map { plan.campaigns.text(UInt32($0)) ?? Credit.none }
        currencies = currencyRanks.indices.map { plan.currencies.text(UInt32($0)) ?? "" }
        // By the order of the words: numbers are given out in the order of arrival.
        func order(_ key: CreditTally.Key) -> (UInt32, UInt8, Int, UInt32) {
            let (campaign, currency) = (Int(TouchLabel.campaign(key.label)), Int(key.currency))
            return (
                campaign < campaignRanks.count ? campaignRanks[campaign] : .max, TouchLabel.channel(key.label), key.day,
                currency < currencyRanks.count ? currencyRanks[currency] : .max
            )
        }
        var keys = [[CreditTally.Key]](repeating: [], count: plan.names.count)
        for key in rules.credited.slots.keys where keys.indices.contains(key.name) { keys[key.name].append(key) }
        for name in keys.indices { keys[name].sort { order($0) < order($1) } }
        self.keys = keys
    }

    /// nil where the model gives the key nothing.
    func row(_ key: CreditTally.Key, model: Int) -> LogCreditRow? {
        let isOrganic = TouchLabel.channel(key.label) == TouchChannel.organic
        let place = model - LogModel.rules.count
        if place == LogModel.fitted.count { return customRow(key) }
        if place >= 0, !isOrganic, !isFitted[key.name][place] { return nil }
        // All models say the same of conversions without touchpoints.
        let isRule = place < 0 || isOrganic
        let (sums, column) = isRule ? (rules, isOrganic ? 0 : model) : (fitted, place)
        return row(key, LogModel.stored[model], sums, column)
    }

    /// Organic conversions have a sum of their own here: other versions of the definition may have no weights.
    private func customRow(_ key: CreditTally.Key) -> LogCreditRow? {
        guard rules.credited.models > LogModel.rules.count else { return nil }
        return row(key, .custom, rules, LogModel.rules.count)
    }

    private func row(_ key: CreditTally.Key, _ model: LogModel, _ sums: CreditSums, _ column: Int) -> LogCreditRow? {
        guard let slot = sums.credited.slots[key] else { return nil }
        let sum = sums.credited.sum(Int(slot), model: column)
        let back = sums.returned.slots[key].map { sums.returned.sum(Int($0), model: column).minor } ?? 0
        if sum == (0, 0), back == 0 { return nil }
        let isOrganic = TouchLabel.channel(key.label) == TouchChannel.organic
        let (campaign, currency) = (Int(TouchLabel.campaign(key.label)), Int(key.currency))
        let text = campaign < campaigns.count ? campaigns[campaign] : LabelTable.otherText
        return LogCreditRow(
            conversion: names[key.name], model: model.name,
            campaign: isOrganic ? Credit.organic : text,
            channel: TouchChannel.name(TouchLabel.channel(key.label)), day: key.day,
            currency: currency < currencies.count ? currencies[currency] : LabelTable.otherText,
            creditPPM: sum.credit, amountMinor: sum.minor, returnedMinor: back)
    }
}
