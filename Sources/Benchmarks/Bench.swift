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

    package init(name: String, value: Double, unit: String, bar: Double? = nil, higherIsBetter: Bool = false, n: Int) {
        self.name = name
        self.value = value
        self.unit = unit
        self.bar = bar
        self.higherIsBetter = higherIsBetter
        self.n = n
    }

    /// nil where there is no bar.
    package var met: Bool? { bar.map { higherIsBetter ? value >= $0 : value <= $0 } }
}
