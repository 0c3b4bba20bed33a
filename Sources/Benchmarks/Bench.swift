/// One measured figure: what `aurum bench` prints.
package struct BenchRow: Sendable, Codable {
    package var name: String
    package var value: Double
    package var unit: String
    /// The figure to reach; nil where none is set.
    package var bar: Double?
    package var higherIsBetter: Bool
    /// Samples behind the figure.
    package var n: Int
    /// How it was measured, and what limits it.
    package var note: String
    /// Why the figure cannot be held to its bar, for example too few samples; nil when it can.
    package var notJudged: String?

    package init(
        name: String, value: Double, unit: String, bar: Double? = nil, higherIsBetter: Bool = false, n: Int,
        note: String = "", notJudged: String? = nil
    ) {
        self.name = name
        self.value = value
        self.unit = unit
        self.bar = bar
        self.higherIsBetter = higherIsBetter
        self.n = n
        self.note = note
        self.notJudged = notJudged
    }

    /// nil where there is no bar, or where the figure cannot be held to it.
    package var met: Bool? {
        guard notJudged == nil else { return nil }
        return bar.map { higherIsBetter ? value >= $0 : value <= $0 }
    }
}

/// Why an area could not be measured: a sentence for the operator.
package struct BenchFailure: Error, CustomStringConvertible, Equatable {
    package let description: String
    package init(_ description: String) { self.description = description }
}
