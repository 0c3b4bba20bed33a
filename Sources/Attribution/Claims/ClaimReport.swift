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
    /// The newest conversions are looked at for evidence, and no more than so many.
    package var paths = PathBudget(most: 200_000)

    package init() {}
}

/// What one network claims of one day, beside what the log credits it with. Both may be given in parts.
package struct ClaimLine: Sendable, Equatable {
    /// Days since 1970-01-01; nil for all days together.
    package var day: Int?
    package var network: String
    /// Over all currencies; nil where no row of the day says how many.
    package var claimedMillionths: Int64?
    /// Credited to touches of the network's campaigns, returned sales left out; over all currencies.
    package var creditedMillionths: Int64 = 0
    /// In order of their codes: money is never added up over currencies.
    package var values: [ClaimValue] = []
    /// Conversions of the day, of a total of all days, by what their paths hold of the network; nil for a network
    /// without imports, and where there were too many conversions to look at.
    package var evidence: EvidenceCounts?

    /// Claimed ÷ credited in millionths; nil where nothing was claimed or nothing credited.
    package var inflation: Int64? {
        claimedMillionths.flatMap { Ratio.of($0, by: creditedMillionths, scale: 1_000_000) }
    }

    /// Evidence is put in once the line is whole.
    /// - Throws: `SpendError.figuresTooLarge`.
    mutating func add(_ other: ClaimLine) throws(SpendError) {
        try Figures.addKnown(other.claimedMillionths, to: &claimedMillionths)
        try Figures.add(other.creditedMillionths, to: &creditedMillionths)
        for value in other.values { try add(value) }
    }

    mutating func add(_ value: ClaimValue) throws(SpendError) {
        let place = values.firstIndex { $0.currency.code >= value.currency.code } ?? values.count
        if place == values.count || values[place].currency != value.currency {
            values.insert(ClaimValue(currency: value.currency), at: place)
        }
        try Figures.addKnown(value.claimedMinor, to: &values[place].claimedMinor)
        try Figures.add(value.creditedMinor, to: &values[place].creditedMinor)
    }
}

/// What a network says its conversions are worth in one currency, beside what was earned.
package struct ClaimValue: Sendable, Equatable {
    package var currency: Currency
    /// nil where no row says a value.
    package var claimedMinor: Int64?
    /// Net of returns.
    package var creditedMinor: Int64 = 0
    /// As of the line's conversions, in minor units.
    package var evidenceMinor: EvidenceCounts?

    package var inflation: Int64? { claimedMinor.flatMap { Ratio.of($0, by: creditedMinor, scale: 1_000_000) } }
}

/// All networks of one day: how much of what they claim cannot be, whoever is right.
package struct ClaimDay: Sendable, Equatable {
    package var day: Int
    package var claimedMillionths: Int64
    /// Everything that happened on the day, whatever led to it.
    package var happenedMillionths: Int64

    /// Claims beyond everything that happened: at least so many were claimed by two networks, or never were.
    package var impossibleMillionths: Int64 {
        let (beyond, isTooLarge) = claimedMillionths.subtractingReportingOverflow(happenedMillionths)
        return isTooLarge ? .max : max(0, beyond)
    }
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
    /// The first day with evidence, when there were more conversions than are looked at; nil when all were.
    package var evidenceFrom: Int?
    package var timezone: String
    package var isTimezoneMixed: Bool
    package var asOf: Timestamp

    package static let daysMax = 400
    package static let linesMax = 5000
}

extension GrowthReports {
    /// Reads claims, credits and evidence, and changes none of them.
    /// - Throws: `SpendError.unknownTimeZone`, `SpendError.figuresTooLarge`; `QueryError`; database errors.
    package func claims(org: String, _ question: ClaimQuestion) async throws -> ClaimReport {
        try await time {
            let ground = try await claimGround(org: org, days: question.days, timezone: question.timezone)
            let calendar = ground.calendar
            let span = ResultSpan(
                model: question.model, labels: nil, from: ground.from, to: ground.to, zone: calendar.zone,
                timezone: calendar.timezone)
            let ours =
                switch question.ours {
                case .conversions: try await attribution.soldDays(org: org, span)
                case .leads: try await attribution.leadDays(org: org, span)
                }
            let evidence = try await evidence(org: org, question, ground)
            let desk = try ClaimDesk(ground.sums, ours, evidence) { ground.network(ofCampaign: $0) }
            let report = ClaimReport(
                question: question, lines: try desk.lines(), totals: try desk.totals(), days: try desk.days(),
                evidenceFrom: evidence.completeFrom, timezone: calendar.timezone, isTimezoneMixed: calendar.isMixed,
                asOf: calendar.now)
            if org == Self.measuredOrg, question == ClaimQuestion() { measure(report.totals) }
            return report
        }
    }

    /// The metric has no label for organisations: it is about this one, and about the question without parameters, or
    /// every question of anybody would change it.
    package static let measuredOrg = "default"
    /// Networks that are labels of the metric; a file may name any.
    private static let measured: Set<String> = [
        "amazon", "apple", "bing", "facebook", "google", "linkedin", "meta", "microsoft", "pinterest", "reddit",
        "snapchat", "taboola", "tiktok", "x", "youtube",
    ]

    private func measure(_ totals: [ClaimLine]) {
        for total in totals where Self.measured.contains(total.network) {
            guard let inflation = total.inflation else { continue }
            campaigns.registry.gauge(.attributionClaimRatio, total.network).set(Double(inflation) / 1_000_000)
        }
    }
}

/// Puts claims, credits and evidence side by side.
struct ClaimDesk {
    private struct Place: Hashable {
        let day: Int
        let network: String
    }

    private var found: [Place: ClaimLine] = [:]
    private var happened: [Int: Int64] = [:]
    private let evidence: EvidenceTally

    /// - Parameters:
    ///   - ours: what was credited by campaign and day; leads have no currency.
    ///   - network: of a campaign as credits write it.
    /// - Throws: `SpendError.figuresTooLarge`.
    init(
        _ sums: [SpendSum], _ ours: [ResultDay], _ evidence: EvidenceTally, network: (String) -> String?
    ) throws(SpendError) {
        self.evidence = evidence
        for sum in sums where sum.figures.conversionsMillionths != nil || sum.figures.valueMinor != nil {
            var line = ClaimLine(day: sum.day ?? 0, network: sum.network)
            line.claimedMillionths = sum.figures.conversionsMillionths
            if let value = sum.figures.valueMinor {
                line.values = [ClaimValue(currency: sum.currency, claimedMinor: value)]
            }
            try add(line)
        }
        for result in ours {
            try Figures.add(result.millionths, to: &happened[result.day, default: 0])
            guard let network = network(result.campaign) else { continue }
            var line = ClaimLine(day: result.day, network: network)
            line.creditedMillionths = result.millionths
            if let currency = result.currency {
                line.values = [ClaimValue(currency: currency, creditedMinor: result.revenueMinor)]
            }
            try add(line)
        }
        for (place, seen) in evidence.found {
            var line = ClaimLine(day: place.day, network: place.network)
            line.values = seen.minor.keys.map { ClaimValue(currency: $0) }
            try add(line)
        }
    }

    private mutating func add(_ line: ClaimLine) throws(SpendError) {
        let place = Place(day: line.day ?? 0, network: line.network)
        try found[place, default: ClaimLine(day: line.day, network: line.network)].add(line)
    }

    func lines() throws(SpendError) -> [ClaimLine] {
        var lines: [ClaimLine] = []
        for (place, line) in found {
            lines.append(line)
            try evidence.fill(&lines[lines.count - 1], day: place.day)
        }
        return lines.sorted { one, other in
            (other.day ?? 0, one.network) < (one.day ?? 0, other.network)
        }
    }

    func totals() throws(SpendError) -> [ClaimLine] {
        var sums: [String: ClaimLine] = [:]
        for line in found.values {
            try sums[line.network, default: ClaimLine(day: nil, network: line.network)].add(line)
        }
        var totals = sums.values.sorted { one, other in
            (other.claimedMillionths ?? -1, one.network) < (one.claimedMillionths ?? -1, other.network)
        }
        try evidence.fill(&totals)
        return totals
    }

    func days() throws(SpendError) -> [ClaimDay] {
        var claims: [Int: [Int64]] = [:]
        for (place, line) in found {
            if let claimed = line.claimedMillionths, claimed > 0 { claims[place.day, default: []].append(claimed) }
        }
        var days: [ClaimDay] = []
        for (day, claimed) in claims where claimed.count > 1 {
            days.append(
                ClaimDay(
                    day: day, claimedMillionths: try Figures.sum(claimed), happenedMillionths: happened[day] ?? 0))
        }
        return days.sorted { $1.day < $0.day }
    }
}

extension ClaimLine {
    package var json: JSONValue {
        [
            "date": day.map { .string(CivilDate(daysSince1970: $0).description) } ?? .null,
            "network": .string(network), "claimed": .millionths(claimedMillionths),
            "credited": .millionths(creditedMillionths), "inflation": .millionths(inflation),
            "evidence": evidence?.json ?? .null,
            "values": .array(
                values.map {
                    [
                        "currency": .string($0.currency.code), "claimed_value_minor": .whole($0.claimedMinor),
                        "credited_value_minor": .integer($0.creditedMinor),
                        "value_inflation": .millionths($0.inflation),
                        "evidence_minor": $0.evidenceMinor?.json ?? .null,
                    ]
                }),
        ]
    }
}

extension ClaimReport {
    package var json: JSONValue {
        [
            "against": .string(question.ours.rawValue), "model": .string(question.model.rawValue),
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "rows": .array(lines.prefix(Self.linesMax).map(\.json)), "truncated": .bool(lines.count > Self.linesMax),
            "evidence_from": evidenceFrom.map { .string(CivilDate(daysSince1970: $0).description) } ?? .null,
            "totals": .array(totals.map(\.json)),
            "overlaps": .array(
                days.map {
                    [
                        "date": .string(CivilDate(daysSince1970: $0.day).description),
                        "claimed": .millionths($0.claimedMillionths), "happened": .millionths($0.happenedMillionths),
                        "impossible": .millionths($0.impossibleMillionths),
                    ]
                }),
        ]
    }
}
