package import AurumCore
internal import Events

/// What a report on saturation is asked.
package struct SaturationQuestion: Sendable, Hashable {
    /// Its name as events spell it, whatever the case, or its id.
    package var campaign: String
    package var on = ResultKind.conversions
    /// Whose shares of conversions and leads count.
    package var model = CreditModel.last
    /// nil: the one with most spend.
    package var currency: Currency?
    /// nil: that of the accounts.
    package var timezone: String?

    package init(campaign: String) { self.campaign = campaign }
}

/// The answer to it.
package struct SaturationReport: Sendable {
    package var question: SaturationQuestion
    /// As events spell it.
    package var campaign: String
    /// Whether more than one currency is in it; then there is no curve.
    package var isCurrencyMixed: Bool
    package var currency: Currency
    /// Currencies with spend or sales of this campaign that are not in the answer.
    package var otherCurrencies: [Currency]
    package var answer: SaturationAnswer
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp

    /// Costs of the curve are answered at this many spends.
    private static let stepsOfCurve = 40
}

extension GrowthReports {
    /// - Throws: `GrowthError.unknownCampaign`; `SpendError.unknownTimeZone`; `QueryError`; database errors.
    package func saturation(org: String, _ question: SaturationQuestion) async throws -> SaturationReport {
        try await time {
            let calendar = try await calendar(org: org, timezone: question.timezone)
            let book = try await campaigns.book(org: org, .campaign)
            guard let name = book.name(ofLabel: question.campaign) else { throw GrowthError.unknownCampaign }
            let span = ResultSpan(
                model: question.model, labels: book.labels(of: name),
                from: calendar.today - (SaturationModel.windows.last ?? 0),
                to: calendar.today, zone: calendar.zone, timezone: calendar.timezone)
            let spent = try await spendDays(org: org, name, book, span)
            let currency = question.currency ?? Self.main(spent)
            let results = try await results(org: org, question.on, span)
            let days = (spent[currency] ?? [:]).map { day, minor in
                SpendDay(day: day, spendMinor: minor, results: Double(results.days[day] ?? 0) / 1_000_000)
            }
            let paid = Set(spent.filter { $0.value.values.contains { $0 > 0 } }.keys)
            let isMixed = paid.count > 1 || (paid.count == 1 && !results.currencies.isSubset(of: paid))
            return SaturationReport(
                question: question, campaign: name, isCurrencyMixed: isMixed, currency: currency,
                otherCurrencies: paid.union(results.currencies).subtracting([currency]).sorted { $0.code < $1.code },
                answer: isMixed ? .mixed : try await saturation(days, today: calendar.today),
                timezone: calendar.timezone, isTimezoneMixed: calendar.isMixed, asOf: calendar.now)
        }
    }

    /// Minor units by currency and day of one campaign.
    private func spendDays(
        org: String, _ name: String, _ book: CampaignBook, _ span: ResultSpan
    ) async throws -> [Currency: [Int: Int64]] {
        let known = try await campaigns.spend.campaigns(org: org).filter { book.name(of: $0) == name }
        var answer: [Currency: [Int: Int64]] = [:]
        let sums = try await campaigns.spend.days(org: org, from: span.from, to: span.to, known)
        for sum in sums where book.name(of: sum.campaign) == name {
            try Figures.add(
                sum.figures.spendMinor, to: &answer[sum.currency, default: [:]][sum.day ?? 0, default: 0])
        }
        return answer
    }

    private static func main(_ spent: [Currency: [Int: Int64]]) -> Currency {
        let sums = spent.mapValues { $0.values.reduce(Int128(0)) { $0 + Int128($1) } }
        return sums.max { ($0.value, $1.key.code) < ($1.value, $0.key.code) }?.key ?? .usd
    }

    /// Millionths of results by day, and the currencies that some were sold in.
    private func results(
        org: String, _ kind: ResultKind, _ span: ResultSpan
    ) async throws -> (days: [Int: Int64], currencies: Set<Currency>) {
        let found =
            switch kind {
            case .installs: try await attribution.installDays(org: org, span)
            case .conversions: try await attribution.soldDays(org: org, span)
            case .leads: try await attribution.leadDays(org: org, span)
            }
        var days: [Int: Int64] = [:]
        for one in found { try Figures.add(one.millionths, to: &days[one.day, default: 0]) }
        return (days, Set(found.compactMap(\.currency)))
    }
}

extension SaturationReport {
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "campaign": .string(campaign), "on": .string(question.on.rawValue),
            "model": .string(question.model.rawValue), "currency": .string(currency.code),
            "other_currencies": .array(otherCurrencies.map { .string($0.code) }),
            "currency_mixed": .bool(isCurrencyMixed), "timezone": .string(timezone),
            "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
        ]
        members.merge(answer.json.object ?? [:]) { $1 }
        members["curve"] = .array(curve)
        return .object(members)
    }

    /// The curve with its band, at equal steps between the smallest and the largest daily spend; empty without one.
    private var curve: [JSONValue] {
        guard let fit = answer.fit else { return [] }
        let spends = answer.points.map { Double($0.spendMinor) }
        guard let low = spends.min(), let high = spends.max() else { return [] }
        return (0...Self.stepsOfCurve).map { step in
            let spend = low + (high - low) * Double(step) / Double(Self.stepsOfCurve)
            let band = fit.costBand(at: spend)
            return [
                "spend_minor": .minor(spend), "cost_minor": .minor(fit.curve.cost(at: spend)),
                "low_minor": .minor(band.lowerBound), "high_minor": .minor(band.upperBound),
            ]
        }
    }
}

extension SaturationAnswer {
    /// No curve is fitted where currencies are mixed.
    static let mixed = SaturationAnswer(
        state: .insufficientData, missing: [.mixedCurrencies], windowDays: SaturationModel.windows.last ?? 0,
        points: [], daysWithoutResults: 0)

    /// Its figures without the curve.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "state": .string(state.rawValue), "missing": .array(missing.map { .string($0.rawValue) }),
            "window_days": .integer(Int64(windowDays)), "days": .integer(Int64(points.count)),
            "days_without_results": .integer(Int64(daysWithoutResults)), "r_squared": .rounded(rSquared),
            "mape": .rounded(meanAbsoluteError), "unbounded": .bool(isUnbounded),
            "usual_spend_minor": usualSpend.map { .minor($0) } ?? .null,
            "saturation": .rounded(saturation), "saturation_band": .null, "parameters": .null,
            "points": .array(
                points.map {
                    [
                        "date": .string(CivilDate(daysSince1970: $0.day).description),
                        "spend_minor": .integer($0.spendMinor), "results": .rounded($0.results),
                        "cost_minor": $0.cost.map { .minor($0) } ?? .null,
                    ]
                }),
        ]
        if let fit, let usualSpend {
            let band = fit.saturationBand(at: usualSpend)
            members["saturation_band"] = [.rounded(band.lowerBound), .rounded(band.upperBound)]
            members["parameters"] = [
                "ceiling_minor": .minor(fit.curve.ceiling), "steepness_per_minor": .number(fit.curve.steepness),
                "midpoint_minor": .minor(fit.curve.midpoint), "evaluations": .integer(Int64(fit.evaluations)),
                "draws": .integer(Int64(fit.draws.count)),
            ]
        }
        return .object(members)
    }
}

extension JSONValue {
    /// Six digits; null of nothing.
    static func rounded(_ value: Double?) -> JSONValue { value.map { .number(($0 * 1e6).rounded() / 1e6) } ?? .null }

    /// Minor units that came out of a curve, to the hundredth.
    static func minor(_ value: Double) -> JSONValue { .number((value * 100).rounded() / 100) }
}
