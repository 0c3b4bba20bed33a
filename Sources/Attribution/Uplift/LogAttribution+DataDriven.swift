package import AurumCore

extension LogAttribution {
    /// A report under `dataDriven`: what experiments leave of each channel's credit, the rest as `(baseline)`, and
    /// which experiments they were.
    /// - Throws: `tooLarge` for amounts that do not fit 64 bits; database errors.
    func dataDriven(
        _ head: LogResultHead, org: String, by dimension: LogDimension, from: Int?, to: Int?
    ) async throws -> JSONValue {
        let factors = try await results.factors(head, org: org, now: clock.now)
        let rows = try await results.dataDriven(
            head, org: org, by: dimension.ofCredit, from: from ?? 0, to: to ?? Int(Int32.max), factors)
        var lines: [String: LogReportLine] = [:]
        do throws(SpendError) {
            for row in rows {
                let key =
                    dimension == .day && !row.isBaseline
                    ? CivilDate(daysSince1970: row.day).description : row.label
                let place = key + "\u{0}" + row.currency
                var line =
                    lines[place]
                    ?? LogReportLine(key: key, currency: row.currency, creditPPM: 0, amountMinor: 0, returnedMinor: 0)
                try Figures.add(row.creditPPM, to: &line.creditPPM)
                try Figures.add(row.grossMinor(), to: &line.amountMinor)
                try Figures.add(row.returnedMinor(), to: &line.returnedMinor)
                lines[place] = line
            }
        } catch { throw CreditTally.pastSums }
        var members = try Self.answer(.dataDriven, dimension, head, lines.values.sorted(by: dimension.isBefore))
        members["data_driven"] = ChannelFactor.json(factors)
        return .object(members)
    }

    /// What experiments leave of each channel's credit in the newest run of a conversion; nil where none has ended.
    /// - Throws: database errors.
    package func factors(org: String, conversion: String) async throws -> [ChannelFactor]? {
        guard let head = try await results.heads(org: org, conversion: conversion, limit: 1).first else { return nil }
        return try await results.factors(head, org: org, now: clock.now)
    }

    /// An experiment, its lift, and what it leaves of its channel's credit in the newest run of its conversion.
    /// - Throws: `ExperimentError.unknown`; database errors.
    package func experiment(_ name: String, org: String) async throws -> JSONValue {
        let saved = try await experiments.read(name, org: org)
        guard var members = saved.object, let conversion = members["conversion"]?.string else { return saved }
        members["calibration"] = .null
        if let factors = try await factors(org: org, conversion: conversion) {
            let used = factors.first { $0.experiment?.name == name }
            // Another experiment of the channel counts where this one is not named.
            members["calibration"] = used?.json ?? .null
        }
        return .object(members)
    }
}

extension LogDimension {
    /// The same in campaign reports.
    var ofCredit: CreditQuestion.Dimension {
        switch self {
        case .channel: .channel
        case .campaign: .campaign
        case .day: .day
        }
    }

    /// The order of lines: the largest first, days in their order.
    func isBefore(_ left: LogReportLine, _ right: LogReportLine) -> Bool {
        if self != .day, left.creditPPM != right.creditPPM { return left.creditPPM > right.creditPPM }
        return (left.key, left.currency) < (right.key, right.currency)
    }
}
