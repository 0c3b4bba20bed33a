package import AurumCore

/// Two results of one conversion under one model, group by group: what a later run, or other settings, changed.
package struct RunComparison: Sendable, Equatable {
    package struct Figures: Sendable, Equatable {
        package var conversions = 0.0
        /// What refunds left, minor units.
        package var netMinor: Int64 = 0
    }

    package struct Line: Sendable, Equatable {
        package let key: String
        /// Empty for conversions without a value.
        package let currency: String
        package var one = Figures()
        package var other = Figures()

        /// Of the other to the one.
        package var conversionsMore: Double { other.conversions - one.conversions }

        /// nil when 64 bits do not hold it.
        package var netMore: Int64? {
            let (more, isTooLarge) = other.netMinor.subtractingReportingOverflow(one.netMinor)
            return isTooLarge ? nil : more
        }
    }

    /// The largest change first.
    package let lines: [Line]

    /// Takes answers of `LogAttribution.report` with the same groups.
    /// - Throws: `tooLarge` where an answer may lack groups: what is missing there would look like a change.
    package init(_ one: JSONValue, _ other: JSONValue) throws(LogAttributionError) {
        let most = max(one["lines"]?.array?.count ?? 0, other["lines"]?.array?.count ?? 0)
        guard most < LogResultStore.linesMax else {
            throw .tooLarge("A run has \(most) groups or more; compare them by channel or by day.")
        }
        var found: [String: Line] = [:]
        func read(_ report: JSONValue, _ side: WritableKeyPath<Line, Figures>) {
            for line in report["lines"]?.array ?? [] {
                let (key, currency) = (line["key"]?.string ?? "", line["currency"]?.string ?? "")
                let figures = Figures(
                    conversions: line["conversions"]?.double ?? 0, netMinor: line["net_minor"]?.integer ?? 0)
                found[key + "\u{0}" + currency, default: Line(key: key, currency: currency)][keyPath: side] = figures
            }
        }
        read(one, \.one)
        read(other, \.other)
        lines = found.values.sorted {
            let (left, right) = (abs($0.conversionsMore), abs($1.conversionsMore))
            return left == right ? ($0.key, $0.currency) < ($1.key, $1.currency) : left > right
        }
    }
}

extension LogAttribution {
    /// Two results of a conversion side by side.
    /// - Throws: `noResult`, `noCustomWeights`, `tooLarge`; database errors.
    package func compare(
        org: String, conversion: String, model: LogModel, by dimension: LogDimension, version: Int, to other: Int
    ) async throws -> RunComparison {
        let first = try await report(org: org, conversion: conversion, model: model, by: dimension, version: version)
        let second = try await report(org: org, conversion: conversion, model: model, by: dimension, version: other)
        return try RunComparison(first, second)
    }
}
