package import AurumCore
internal import Events

/// What cohorts are asked.
package struct CohortQuestion: Sendable, Hashable {
    /// What makes somebody a member: its first one.
    package enum Entry: String, Sendable, CaseIterable {
        case leads, conversions

        var kind: CohortPeople.Kind { self == .leads ? .lead : .sale }
    }

    /// How long the stretches are that members are put together by.
    package enum Period: String, Sendable, CaseIterable {
        case day, week, month

        var bucket: TimeBucket {
            switch self {
            case .day: .day
            case .week: .week
            case .month: .month
            }
        }

        /// The first day of the next period, from the first day of one.
        func next(after day: Int) -> Int {
            switch self {
            case .day: return day + 1
            case .week: return day + 7
            case .month:
                let date = CivilDate(daysSince1970: day)
                return day + CivilDate.days(inMonth: date.month, of: date.year)
            }
        }
    }

    package var on = Entry.leads
    package var period = Period.week
    /// One of `dimensions`: periods are the stretches of time, and leads have no buyer.
    package var dimension = CreditQuestion.Dimension.campaign
    /// Whose touch says where a member came from; one of `models`, which leave every member whole.
    package var model = CreditModel.last
    /// nil: `days` before `to`.
    package var from: CivilDate?
    /// Not included; nil: tomorrow. At most `CampaignQuestion.daysMax` after `from`.
    package var to: CivilDate?
    package var days = 90
    /// nil: that of the accounts.
    package var timezone: String?

    package static let models: [CreditModel] = [.first, .last, .lastNonDirect]
    package static let dimensions: [CreditQuestion.Dimension] = [.campaign, .source, .medium, .channel, .network]

    package init() {}
}

/// The members of one period and key, in one currency.
package struct CohortLine: Sendable, Equatable {
    /// The first day of the period.
    package var start: CivilDate
    package var key: String
    package var currency: Currency
    /// Members, the same on every currency of the key.
    package var size: Int64 = 0
    /// Spend of the days of the period.
    package var spendMinor: Int64 = 0
    /// Revenue net of returns within k × 24 hours of each member's entry, by the place of k in `CohortReport.horizons`.
    package var revenueMinor: [Int64]
    /// Revenue net of returns up to now.
    package var lifetimeMinor: Int64 = 0
    /// Whether every member is k days old, by the place of k.
    package var isMature: [Bool]
}

/// Sums over the cohorts of one key that are mature at one horizon. Members count in every currency of the key, also
/// those of periods without any money in it: they earned nothing in it.
package struct CohortAverage: Sendable, Equatable {
    package var cohorts = 0
    package var size: Int64 = 0
    package var spendMinor: Int64 = 0
    package var revenueMinor: Int64 = 0

    /// LTV_k in minor units: revenue ÷ members; nil without members.
    package var lifetimeValueMinor: Int64? { Ratio.of(revenueMinor, by: size) }
    /// ROAS_k in millionths: revenue ÷ spend; nil without spend.
    package var returnOnSpend: Int64? { Ratio.of(revenueMinor, by: spendMinor, scale: 1_000_000) }

    mutating func add(spendMinor spend: Int64, revenueMinor revenue: Int64) throws(SpendError) {
        try Figures.add(spend, to: &spendMinor)
        try Figures.add(revenue, to: &revenueMinor)
    }
}

/// The answer about cohorts.
package struct CohortReport: Sendable {
    package var question: CohortQuestion
    /// Newest periods first, largest cohorts of a period first.
    package var lines: [CohortLine]
    /// By the largest keys and over all keys, by the place of the horizon: mature cohorts alone.
    package var averages: [AverageKey: [CohortAverage]]
    /// There are more keys than have averages.
    package var isAveragesCut: Bool
    package var from: CivilDate
    package var to: CivilDate
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp

    /// k of ROAS_k and LTV_k, in days of 24 hours.
    package static let horizons = [1, 7, 30]
    package static let linesMax = 2000
    /// Keys with averages of their own, those with most members.
    package static let averagedKeysMax = 1000

    package struct AverageKey: Hashable, Sendable {
        /// nil for all keys together.
        package var key: String?
        package var currency: Currency

        package init(key: String?, currency: Currency) { (self.key, self.currency) = (key, currency) }
    }

}

extension CohortReport {
    package var json: JSONValue {
        [
            "on": .string(question.on.rawValue), "by": .string(question.period.rawValue),
            "group_by": .string(question.dimension.rawValue), "model": .string(question.model.rawValue),
            "from": .string(from.description), "to": .string(to.description), "timezone": .string(timezone),
            "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "horizon_days": .array(Self.horizons.map { .integer(Int64($0)) }),
            "rows": .array(lines.prefix(Self.linesMax).map(\.json)), "truncated": .bool(lines.count > Self.linesMax),
            "averages": .array(averageRows), "averages_truncated": .bool(isAveragesCut),
        ]
    }

    private var averageRows: [JSONValue] {
        let sorted = averages.sorted { one, other in
            (one.key.key ?? "", one.key.currency.code) < (other.key.key ?? "", other.key.currency.code)
        }
        return sorted.map { key, averages in
            [
                "key": key.key.map { .string($0) } ?? .null, "currency": .string(key.currency.code),
                "horizons": .array(
                    averages.enumerated().map { place, average in
                        [
                            "days": .integer(Int64(Self.horizons[place])), "cohorts": .integer(Int64(average.cohorts)),
                            "size": .integer(average.size), "spend_minor": .integer(average.spendMinor),
                            "revenue_minor": .integer(average.revenueMinor),
                            "ltv_minor": .whole(average.lifetimeValueMinor),
                            "roas": .millionths(average.returnOnSpend),
                        ]
                    }),
            ]
        }
    }
}

extension CohortLine {
    package var json: JSONValue {
        [
            "start": .string(start.description), "key": .string(key), "currency": .string(currency.code),
            "size": .integer(size), "spend_minor": .integer(spendMinor),
            "lifetime_revenue_minor": .integer(lifetimeMinor),
            "horizons": .array(
                CohortReport.horizons.enumerated().map { place, days in
                    [
                        "days": .integer(Int64(days)), "revenue_minor": .integer(revenueMinor[place]),
                        "ltv_minor": .whole(Ratio.of(revenueMinor[place], by: size)),
                        "roas": .millionths(Ratio.of(revenueMinor[place], by: spendMinor, scale: 1_000_000)),
                        "mature": .bool(isMature[place]),
                    ]
                }),
        ]
    }
}
