package import AurumCore
internal import Events
internal import Telemetry

/// What a reconciliation is asked.
package struct ClaimQuestion: Sendable, Hashable {
    /// What networks' `conversions` are compared with.
    package enum Ours: String, Sendable, CaseIterable { case conversions, leads }

    package var ours = Ours.conversions
    package var model = CreditModel.last
    /// The days before today, and today.
    package var days = 30
    /// nil: that of the accounts.
    package var timezone: String?

    package init() {}
}

/// What one network claims of one day in one currency, beside what the log credits it with. Both may be given in parts.
package struct ClaimLine: Sendable, Equatable {
    /// Days since 1970-01-01; nil for all days together.
    package var day: Int?
    package var network: String
    package var currency: Currency
    /// nil where no row of the day says how many.
    package var claimedMillionths: Int64?
    package var claimedValueMinor: Int64?
    /// Credited to touches of the network's campaigns, net of returns.
    package var creditedMillionths: Int64 = 0
    package var creditedValueMinor: Int64 = 0

    /// Claimed ÷ credited in millionths; nil where nothing was claimed or nothing credited.
    package var inflation: Int64? {
        claimedMillionths.flatMap { Ratio.of($0, by: creditedMillionths, scale: 1_000_000) }
    }

    package var valueInflation: Int64? {
        claimedValueMinor.flatMap { Ratio.of($0, by: creditedValueMinor, scale: 1_000_000) }
    }

    mutating func add(_ other: ClaimLine) {
        claimedMillionths = CampaignLine.sum(claimedMillionths, other.claimedMillionths)
        claimedValueMinor = CampaignLine.sum(claimedValueMinor, other.claimedValueMinor)
        creditedMillionths += other.creditedMillionths
        creditedValueMinor += other.creditedValueMinor
    }
}

/// All networks of one day in one currency: how much of what they claim cannot be, whoever is right.
package struct ClaimDay: Sendable, Equatable {
    package var day: Int
    package var currency: Currency
    package var claimedMillionths: Int64 = 0
    /// Everything that happened on the day, whatever led to it.
    package var happenedMillionths: Int64 = 0

    /// Claims beyond everything that happened: at least so many were claimed by two networks, or never were.
    package var impossibleMillionths: Int64 { max(0, claimedMillionths - happenedMillionths) }
}

/// The answer of a reconciliation. Claims change no credit.
package struct ClaimReport: Sendable {
    package var question: ClaimQuestion
    /// Newest days first.
    package var lines: [ClaimLine]
    /// By network over all days; largest claims first.
    package var totals: [ClaimLine]
    /// Newest first, where two networks or more claim.
    package var days: [ClaimDay]
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp

    package static let daysMax = 400
    package static let linesMax = 5000
}

extension GrowthReports {
    /// - Throws: `SpendError.unknownTimeZone`; `QueryError`; database errors.
    package func claims(org: String, _ question: ClaimQuestion) async throws -> ClaimReport {
        try await time {
            let calendar = try await calendar(org: org, timezone: question.timezone)
            let (from, to) = (calendar.today - question.days + 1, calendar.today + 1)
            let book = try await campaigns.book(org: org, .network)
            let sums = try await campaigns.spend.sums(org: org, from: from, to: to, byDay: true)
            let networks = CampaignReports.networks(sums, book).names
            let span = ResultSpan(
                model: question.model, campaign: nil, from: from, to: to, zone: calendar.zone,
                timezone: calendar.timezone)
            let ours =
                switch question.ours {
                case .conversions: try await attribution.soldDays(org: org, span)
                case .leads: try await attribution.leadDays(org: org, span)
                }
            let desk = ClaimDesk(sums, ours, networks)
            let report = ClaimReport(
                question: question, lines: desk.lines, totals: desk.totals, days: desk.days,
                timezone: calendar.timezone, isTimezoneMixed: calendar.isMixed, asOf: calendar.now)
            measure(report.totals)
            return report
        }
    }

    /// Networks that are labels of the metric; a file may name any.
    private static let measured: Set<String> = [
        "amazon", "apple", "bing", "facebook", "google", "linkedin", "meta", "microsoft", "pinterest", "reddit",
        "snapchat", "taboola", "tiktok", "x", "youtube",
    ]

    private func measure(_ totals: [ClaimLine]) {
        // A network with several currencies has several totals: the one with most claims comes first.
        var seen: Set<String> = []
        for total in totals where Self.measured.contains(total.network) && seen.insert(total.network).inserted {
            guard let inflation = total.inflation else { continue }
            campaigns.registry.gauge(.attributionClaimRatio, total.network).set(Double(inflation) / 1_000_000)
        }
    }
}

/// Puts claims and credits side by side.
struct ClaimDesk {
    private struct Place: Hashable {
        let day: Int
        let network: String
        let currency: Currency
    }

    private var found: [Place: ClaimLine] = [:]
    private var happened: [Int: [Currency?: Int64]] = [:]

    /// - Parameters:
    ///   - ours: what was credited by campaign and day; leads have no currency and stand on every line of their network
    ///     and day.
    ///   - networks: by campaign.
    init(_ sums: [SpendSum], _ ours: [ResultDay], _ networks: [String: String]) {
        for sum in sums where sum.figures.conversionsMillionths != nil || sum.figures.valueMinor != nil {
            let place = Place(day: sum.day ?? 0, network: sum.network, currency: sum.currency)
            var line = ClaimLine(day: place.day, network: place.network, currency: place.currency)
            line.claimedMillionths = sum.figures.conversionsMillionths
            line.claimedValueMinor = sum.figures.valueMinor
            if let known = found[place] { line.add(known) }
            found[place] = line
        }
        let claimed = Dictionary(grouping: found.keys, by: \.day)
        for result in ours {
            happened[result.day, default: [:]][result.currency, default: 0] += result.millionths
            guard let network = networks[result.campaign] else { continue }
            let places =
                if let currency = result.currency {
                    [Place(day: result.day, network: network, currency: currency)]
                } else { (claimed[result.day] ?? []).filter { $0.network == network } }
            for place in places {
                var line =
                    found[place] ?? ClaimLine(day: place.day, network: place.network, currency: place.currency)
                line.creditedMillionths += result.millionths
                line.creditedValueMinor += result.revenueMinor
                found[place] = line
            }
        }
    }

    var lines: [ClaimLine] {
        found.values.sorted { one, other in
            (other.day ?? 0, one.network, one.currency.code) < (one.day ?? 0, other.network, other.currency.code)
        }
    }

    var totals: [ClaimLine] {
        var sums: [Place: ClaimLine] = [:]
        for line in found.values {
            let place = Place(day: 0, network: line.network, currency: line.currency)
            var sum = sums[place] ?? ClaimLine(day: nil, network: line.network, currency: line.currency)
            sum.add(line)
            sums[place] = sum
        }
        return sums.values.sorted { one, other in
            (other.claimedMillionths ?? -1, one.network, one.currency.code)
                < (one.claimedMillionths ?? -1, other.network, other.currency.code)
        }
    }

    var days: [ClaimDay] {
        struct Key: Hashable {
            let day: Int
            let currency: Currency
        }
        let claims = found.filter { $0.value.claimedMillionths ?? 0 > 0 }
        let groups = Dictionary(grouping: claims) { Key(day: $0.key.day, currency: $0.key.currency) }
        return groups.compactMap { key, lines -> ClaimDay? in
            guard lines.count > 1 else { return nil }
            var day = ClaimDay(day: key.day, currency: key.currency)
            day.claimedMillionths = lines.reduce(0) { $0 + ($1.value.claimedMillionths ?? 0) }
            let all = happened[key.day] ?? [:]
            day.happenedMillionths = (all[key.currency] ?? 0) + (all[Currency?.none] ?? 0)
            return day
        }
        .sorted { ($1.day, $0.currency.code) < ($0.day, $1.currency.code) }
    }
}

extension ClaimLine {
    package var json: JSONValue {
        [
            "date": day.map { .string(CivilDate(daysSince1970: $0).description) } ?? .null,
            "network": .string(network), "currency": .string(currency.code),
            "claimed": .millionths(claimedMillionths), "credited": .millionths(creditedMillionths),
            "inflation": .millionths(inflation), "claimed_value_minor": .whole(claimedValueMinor),
            "credited_value_minor": .integer(creditedValueMinor), "value_inflation": .millionths(valueInflation),
        ]
    }
}

extension ClaimReport {
    package var json: JSONValue {
        [
            "against": .string(question.ours.rawValue), "model": .string(question.model.rawValue),
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "rows": .array(lines.prefix(Self.linesMax).map(\.json)), "truncated": .bool(lines.count > Self.linesMax),
            "totals": .array(totals.map(\.json)),
            "overlaps": .array(
                days.map {
                    [
                        "date": .string(CivilDate(daysSince1970: $0.day).description),
                        "currency": .string($0.currency.code), "claimed": .millionths($0.claimedMillionths),
                        "happened": .millionths($0.happenedMillionths),
                        "impossible": .millionths($0.impossibleMillionths),
                    ]
                }),
        ]
    }
}
