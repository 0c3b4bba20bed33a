package import AurumCore
internal import Database

/// How much of a channel's credit an experiment leaves it: incremental conversions ÷ credited ones of the same days,
/// from 0 to 1. Without one the channel keeps all.
package struct ChannelFactor: Sendable, Equatable {
    /// Why there is none.
    package enum Gap: String, Sendable {
        case noExperiment = "no_experiment"
        /// The run does not cover the days of the experiment.
        case runMissesDays = "run_misses_days"
        /// The channel was credited with nothing in these days.
        case noCredit = "no_credit"
    }

    package let channel: String
    /// The experiment that counts; one that cannot be used where there is a gap.
    package let experiment: SavedExperiment?
    package let gap: Gap?
    /// Millionths of conversions in the days of the experiment.
    package let creditedPPM: Int64
    /// Millionths, from 0 to 1,000,000.
    package let factorPPM: Int64
    package let lowPPM: Int64
    package let highPPM: Int64

    static let all: Int64 = 1_000_000

    /// - Parameter creditedPPM: in the days of the experiment.
    init(_ experiment: SavedExperiment, creditedPPM: Int64) {
        func clipped(_ conversions: Double) -> Int64 {
            guard creditedPPM > 0 else { return Self.all }
            let share = conversions / (Double(creditedPPM) / Double(Self.all))
            return Int64((min(max(share, 0), 1) * Double(Self.all)).rounded())
        }
        (channel, self.experiment, self.creditedPPM) = (experiment.channel, experiment, creditedPPM)
        gap = creditedPPM > 0 ? nil : .noCredit
        factorPPM = clipped(experiment.incremental.value)
        (lowPPM, highPPM) = (clipped(experiment.incremental.low), clipped(experiment.incremental.high))
    }

    init(_ channel: String, _ gap: Gap, _ experiment: SavedExperiment? = nil) {
        (self.channel, self.gap, self.experiment, creditedPPM) = (channel, gap, experiment, 0)
        (factorPPM, lowPPM, highPPM) = (Self.all, Self.all, Self.all)
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "channel": .string(channel), "state": .string(gap == nil ? "calibrated" : "uncalibrated"),
            "factor": .millionths(factorPPM), "experiment": experiment?.json ?? .null,
        ]
        if let gap {
            members["reason"] = .string(gap.rawValue)
        } else {
            (members["low"], members["high"]) = (.millionths(lowPPM), .millionths(highPPM))
            members["credited_conversions"] = .millionths(creditedPPM)
        }
        return .object(members)
    }

    /// What an answer says of all channels.
    static func json(_ factors: [ChannelFactor]) -> JSONValue {
        ["of": .string(LogModel.markov(1).name), "channels": .array(factors.map(\.json))]
    }
}

extension LogResultStore {
    private static var markov: String { LogModel.markov(1).name }

    /// The factor of every channel that a result credits or an experiment names, by channel.
    /// - Parameter now: days after it are no gap in a run.
    func factors(_ head: LogResultHead, org: String, now: Timestamp) async throws -> [ChannelFactor] {
        let experiments = try await ExperimentStore(database: database).all(org: org, conversion: head.conversion)
        var credited: [String: Int64] = [:]
        for line in try await lines(head, org: org, model: Self.markov, by: .channel, from: nil, to: nil)
        where line.key != Credit.organicChannel { credited[line.key, default: 0] += line.creditPPM }
        let usable = experiments.filter { !head.leavesOut($0, now: now) }
        let days = try await creditedDays(head, org, usable)
        let (byChannel, names) = (Dictionary(grouping: experiments, by: \.channel), Set(usable.map(\.name)))
        return Set(credited.keys).union(byChannel.keys).sorted().map { channel in
            Self.factor(channel, byChannel[channel] ?? [], usable: names, days[channel] ?? [:])
        }
    }

    /// By the newest experiment that can be used.
    /// - Parameters:
    ///   - experiments: of the channel, the newest first.
    ///   - usable: names of those whose days the run covers.
    ///   - days: the channel's credit by day, in millionths.
    private static func factor(
        _ channel: String, _ experiments: [SavedExperiment], usable: Set<String>, _ days: [Int: Int64]
    ) -> ChannelFactor {
        var useless: ChannelFactor?
        for experiment in experiments {
            let found: ChannelFactor
            if usable.contains(experiment.name) {
                let credited = (experiment.from..<experiment.to).reduce(0) { $0 + (days[$1] ?? 0) }
                found = ChannelFactor(experiment, creditedPPM: credited)
            } else {
                found = ChannelFactor(channel, .runMissesDays, experiment)
            }
            if found.gap == nil { return found }
            useless = useless ?? found
        }
        return useless ?? ChannelFactor(channel, .noExperiment)
    }

    /// Millionths of conversions by channel and day, of the channels and days of some experiments: one question,
    /// however many there are.
    private func creditedDays(
        _ head: LogResultHead, _ org: String, _ experiments: [SavedExperiment]
    ) async throws -> [String: [Int: Int64]] {
        guard let from = experiments.map(\.from).min(), let to = experiments.map(\.to).max() else { return [:] }
        let (name, version, model) = (head.conversion, head.version, Self.markov)
        let channels = Set(experiments.map(\.channel)).sorted()
        let rows = try await database.read("attribution.experimentCredit", limit: .report) { transaction in
            try transaction.all(
                ChannelDay.self,
                """
                SELECT channel, day, CAST(SUM(credit_ppm) AS BIGINT) AS credit FROM attribution_log_credits
                WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model = \(model)
                    AND channel IN (\(list: channels)) AND day >= \(from) AND day < \(to)
                GROUP BY channel, day
                """)
        }
        return rows.reduce(into: [:]) { $0[$1.channel, default: [:]][$1.day] = $1.creditPPM }
    }

    /// Credits of `dataDriven` as `credits` has those of stored models: each stored sum of `markov1` is divided in two,
    /// to the nearest millionth and minor unit, so that both parts are the same however they are grouped. Gross and
    /// returned are divided by the same factor, so that no part has more returned than there was.
    func dataDriven(
        _ head: LogResultHead, org: String, by dimension: CreditQuestion.Dimension, from: Int, to: Int,
        _ factors: [ChannelFactor]
    ) async throws -> [RunCredit] {
        let (name, version, isOfTime) = (head.conversion, head.version, dimension.bucket == nil ? 0 : 1)
        let column = isOfTime == 1 ? "" : dimension == .channel ? "channel" : "campaign"
        let (factor, model) = (Self.factor(factors), Self.markov)
        let rows = try await database.read("attribution.dataDriven", limit: .report) { transaction in
            try transaction.all(
                DividedCredit.self,
                """
                SELECT 'markov1' AS model, label, civil_day, is_organic, currency,
                    CAST(SUM(credit_ppm) AS BIGINT) AS credit,
                    CAST(SUM(amount_minor / 1000000) AS BIGINT) AS high,
                    CAST(SUM(amount_minor % 1000000) AS BIGINT) AS low,
                    CAST(SUM(returned_minor / 1000000) AS BIGINT) AS returned_high,
                    CAST(SUM(returned_minor % 1000000) AS BIGINT) AS returned_low,
                    CAST(SUM(kept_ppm) AS BIGINT) AS kept_credit,
                    CAST(SUM(kept_minor / 1000000) AS BIGINT) AS kept_high,
                    CAST(SUM(kept_minor % 1000000) AS BIGINT) AS kept_low,
                    CAST(SUM(kept_returned / 1000000) AS BIGINT) AS kept_returned_high,
                    CAST(SUM(kept_returned % 1000000) AS BIGINT) AS kept_returned_low
                FROM (
                    SELECT label, civil_day, is_organic, currency, credit_ppm, amount_minor, returned_minor,
                        \(part: Self.kept("credit_ppm")) AS kept_ppm,
                        \(part: Self.kept("amount_minor")) AS kept_minor,
                        \(part: Self.kept("returned_minor")) AS kept_returned
                    FROM (
                        SELECT CASE \(column) WHEN 'campaign' THEN campaign WHEN 'channel' THEN channel ELSE '' END
                                AS label,
                            CASE WHEN \(isOfTime) = 1 THEN day ELSE 0 END AS civil_day,
                            CASE WHEN channel = 'organic' THEN 1 ELSE 0 END AS is_organic, currency, credit_ppm,
                            amount_minor, returned_minor, \(part: factor) AS factor
                        FROM attribution_log_credits
                        WHERE org = \(org) AND conversion = \(name) AND version = \(version) AND model = \(model)
                            AND day >= \(from) AND day < \(to)
                    ) AS stored
                ) AS divided
                GROUP BY label, civil_day, is_organic, currency
                """)
        }
        return rows.flatMap(\.parts)
    }

    /// A column times the factor of its row, to the nearest whole number; no product is too large for a database.
    private static func kept(_ column: SQLStatement) -> SQLStatement {
        """
        \(part: column) / 1000000 * factor + (\(part: column) % 1000000 * factor
            + CASE WHEN \(part: column) < 0 THEN -500000 ELSE 500000 END) / 1000000
        """
    }

    /// The factor of a row's channel, in millionths.
    private static func factor(_ factors: [ChannelFactor]) -> SQLStatement {
        var cases: SQLStatement = ""
        for one in factors where one.gap == nil {
            cases = "\(part: cases) WHEN \(one.channel) THEN CAST(\(one.factorPPM) AS BIGINT)"
        }
        return cases.values.isEmpty
            ? "CAST(1000000 AS BIGINT)" : "CASE channel \(part: cases) ELSE CAST(1000000 AS BIGINT) END"
    }
}

/// What a channel was credited with on one day.
private struct ChannelDay: RowDecodable, Sendable {
    let channel: String
    let day: Int
    let creditPPM: Int64

    init(row: Row) throws {
        (channel, day, creditPPM) = (try row.get("channel"), try row.get("day"), try row.get("credit"))
    }
}

/// A sum of stored credit as what a factor leaves of it, and the rest.
private struct DividedCredit: RowDecodable, Sendable {
    let parts: [RunCredit]

    init(row: Row) throws { parts = try RunCredit.parts(row) }
}
