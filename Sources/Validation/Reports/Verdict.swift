/// What became of a check. Source: spec/validation.md §5.
package enum Verdict: String, Sendable, Codable, CaseIterable {
    case pass = "PASS"
    case fail = "FAIL"
    /// Generator or data unfit: says nothing about the target.
    case void = "VOID"
    /// Passed on a fallback: never a PASS for the real thing.
    case twin = "TWIN"
    /// This machine cannot offer the load; the measured ceiling is given.
    case machineTooSmall = "MACHINE TOO SMALL"
    case notRun = "NOT RUN"
}

/// One measured figure, and the bar it is held to.
package struct Measure: Sendable, Codable, Hashable {
    package enum Comparison: String, Sendable, Codable {
        case below = "<"
        case atMost = "≤"
        case atLeast = "≥"
        case equals = "="
    }

    package var name: String
    package var value: Double
    package var unit: String
    package var comparison: Comparison?
    package var bar: Double?
    /// nil for a figure without a bar.
    package var met: Bool?
    /// Samples behind the figure.
    package var n: Int?
    /// `≥` when the figure is a lower bound, `n too small` when it must not be read.
    package var note: String?

    package init(
        _ name: String, _ value: Double, _ unit: String, _ comparison: Comparison? = nil, bar: Double? = nil,
        n: Int? = nil, note: String? = nil
    ) {
        self.name = name
        self.value = value
        self.unit = unit
        self.comparison = comparison
        self.bar = bar
        self.n = n
        self.note = note
        met = bar.flatMap { bar in
            switch comparison {
            case .below: value < bar
            case .atMost: value <= bar
            case .atLeast: value >= bar
            case .equals: value == bar
            case nil: nil
            }
        }
        if note != nil, met == true { met = false }
    }

    /// A percentile in milliseconds that must lie below `bar`.
    package init(_ name: String, _ percentile: Percentile, below bar: Double, n: UInt64) {
        self.init(
            name, percentile.milliseconds, "ms", .below, bar: bar, n: Int(n),
            note: percentile.enough ? (percentile.atLeast ? "≥" : nil) : "n too small")
    }

    /// The figure as all forms of a report write it.
    package var text: String {
        let number = decimal(value, value.magnitude >= 1000 || value == value.rounded() ? 0 : 3)
        let prefix = note == "≥" ? "≥ " : ""
        let suffix = note.map { $0 == "≥" ? "" : " (\($0))" } ?? ""
        return "\(prefix)\(number)\(unit.isEmpty ? "" : " " + unit)\(suffix)"
    }

    package var barText: String {
        guard let bar, let comparison else { return "" }
        return "\(comparison.rawValue) \(decimal(bar, bar == bar.rounded() ? 0 : 3))\(unit.isEmpty ? "" : " " + unit)"
    }
}

/// What one check found.
package struct CheckResult: Sendable, Codable {
    package var id: String
    package var title: String
    package var phase: String
    package var threshold: String
    package var source: String
    package var verdict: Verdict
    /// Failed expectations, void reasons, or why it was not run.
    package var findings: [String]
    /// Expectations that held.
    package var held: Int
    package var requests: Int
    package var measures: [Measure]
    package var seconds: Double
    /// Files below `raw/`.
    package var raw: [String]

    package init(
        id: String, title: String, phase: String, threshold: String, source: String, verdict: Verdict,
        findings: [String], held: Int, requests: Int, measures: [Measure], seconds: Double, raw: [String]
    ) {
        self.id = id
        self.title = title
        self.phase = phase
        self.threshold = threshold
        self.source = source
        self.verdict = verdict
        self.findings = findings
        self.held = held
        self.requests = requests
        self.measures = measures
        self.seconds = seconds
        self.raw = raw
    }
}
