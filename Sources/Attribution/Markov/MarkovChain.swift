/// What keeps a Markov model from being fitted.
package enum MarkovError: Error, Sendable, Equatable {
    /// More states than are solved; `fitting` is the highest order that would do, 0 when none does.
    case tooLarge(order: Int, states: Int, fitting: Int)
    case noConversions
    /// Without nulls every path converts, and removing a channel says nothing.
    case needsNullColumn
    case notConverged(order: Int, residual: Double)

    /// Stable tag.
    package var code: String {
        switch self {
        case .tooLarge: "markov_too_large"
        case .noConversions: "no_conversions"
        case .needsNullColumn: "needs_null_column"
        case .notConverged: "markov_not_converged"
        }
    }

    package var sentence: String {
        switch self {
        case .tooLarge(let order, let states, let fitting):
            "markov_too_large: order \(order) has \(states) states, more than \(MarkovChain.statesMax); "
                + (fitting > 0 ? "order \(fitting) fits." : "no order fits.")
        case .noConversions: "no_conversions: the input has no conversion."
        case .needsNullColumn:
            "needs_null_column: the Markov model needs the paths that led to nothing; name their column with --columns."
        case .notConverged(let order, let residual):
            "markov_not_converged: the equations of order \(order) stand at a residual of \(residual)."
        }
    }
}

/// Transition probabilities between channels, or between runs of two or three channels, with start, conversion and the
/// value paid at conversion.
///
/// States are the sliding k-grams of the paths; a path shorter than k is one state; consecutive equal states are one.
/// Start → s₁ → … → s_m weighs C + N, s_m → conversion C, s_m → null N. Source: the model that the R and Python
/// package ChannelAttribution documents (Anderl, Becker, von Wangenheim and Schumann, "Mapping the customer
/// journey", 2016).
package struct MarkovChain: Sendable {
    package let order: Int
    package let channels: [String]
    /// Channels of each state, `order` a state; shorter runs repeat their first.
    package let members: [UInt16]
    /// Where each state's row begins in `targets` and `probabilities`; one more than there are states.
    package let rowStarts: [Int]
    package let targets: [Int32]
    package let probabilities: [Double]
    /// Probability of each state to be the first.
    package let start: [Double]
    /// Probability of each state to convert next.
    package let converts: [Double]
    /// Expected value paid at the next step.
    package let pays: [Double]

    package static let statesMax = 200_000

    package var count: Int { start.count }

    /// - Parameters:
    ///   - order: 1, 2 or 3.
    ///   - collapse: whether consecutive equal states are one; kept apart they change the transitions only.
    package init(_ table: PathTable, order: Int, collapse: Bool = true) throws(MarkovError) {
        let counts = Counts(table, order: order, collapse: collapse)
        let codes = counts.stateCodes
        guard codes.count <= Self.statesMax else {
            let fitting = (1..<order).last {
                Counts(table, order: $0, collapse: collapse).stateCodes.count <= Self.statesMax
            }
            throw .tooLarge(order: order, states: codes.count, fitting: fitting ?? 0)
        }
        self.init(counts, codes, channels: table.channels)
    }

    /// - Parameters:
    ///   - counts: of journeys that were counted one by one.
    ///   - channels: names by number.
    init(_ counts: Counts, channels: [String]) throws(MarkovError) {
        let codes = counts.stateCodes
        guard codes.count <= Self.statesMax else {
            throw .tooLarge(order: counts.order, states: codes.count, fitting: 0)
        }
        self.init(counts, codes, channels: channels)
    }

    private init(_ counts: Counts, _ codes: [UInt64], channels: [String]) {
        order = counts.order
        self.channels = channels
        let base = UInt64(channels.count + 1)
        members = Self.members(of: codes, order, base)
        var number: [UInt64: Int32] = [:]
        number.reserveCapacity(codes.count)
        for (index, code) in codes.enumerated() { number[code] = Int32(truncatingIfNeeded: index) }
        let n = codes.count
        var out = [Double](repeating: 0, count: n)
        counts.ends.forEach { code, weight in out[Int(number[code] ?? 0)] += weight }
        let space = counts.space
        var edges: [(from: Int32, to: Int32, weight: Double)] = []
        counts.transitions.forEach { wide, weight in
            let (from, to) = (number[wide / base] ?? 0, number[wide % space] ?? 0)
            edges.append((from, to, weight))
            out[Int(from)] += weight
        }
        edges.sort { ($0.from, $0.to) < ($1.from, $1.to) }
        var rowStarts = [Int](repeating: 0, count: n + 1)
        for edge in edges { rowStarts[Int(edge.from) + 1] += 1 }
        for index in 0..<n { rowStarts[index + 1] += rowStarts[index] }
        self.rowStarts = rowStarts
        targets = edges.map(\.to)
        probabilities = edges.map { $0.weight / out[Int($0.from)] }
        var (start, converts, pays) = (out, out, out)
        for index in 0..<n { (start[index], converts[index], pays[index]) = (0, 0, 0) }
        counts.starts.forEach { code, weight in start[Int(number[code] ?? 0)] = weight / counts.total }
        counts.conversions.forEach { code, weight in
            let index = Int(number[code] ?? 0)
            converts[index] = weight / out[index]
        }
        // C/out × V/C = V/out: the mean value of the rows that end here.
        counts.values.forEach { code, value in
            let index = Int(number[code] ?? 0)
            pays[index] = value / out[index]
        }
        (self.start, self.converts, self.pays) = (start, converts, pays)
    }

    /// Whether a state's run holds the channel.
    func holds(_ state: Int, _ channel: Int) -> Bool {
        for place in 0..<order where Int(members[state * order + place]) == channel { return true }
        return false
    }

    private static func members(of codes: [UInt64], _ order: Int, _ base: UInt64) -> [UInt16] {
        var members: [UInt16] = []
        members.reserveCapacity(codes.count * order)
        for code in codes {
            var digits: [UInt16] = []
            var rest = code
            while rest > 0 {
                digits.append(UInt16(truncatingIfNeeded: rest % base) - 1)
                rest /= base
            }
            while digits.count < order { digits.append(digits[digits.count - 1]) }
            members += digits.prefix(order).reversed()
        }
        return members
    }
}

/// Weights by code of a run of channels: a flat table where the codes are few, a dictionary otherwise.
struct RunCounts: Sendable {
    private var dense: [Double]
    private var sparse: [UInt64: Double] = [:]
    /// 8 MB of doubles.
    private static let denseMax: UInt64 = 1 << 20

    init(codes: UInt64) { dense = codes <= Self.denseMax ? [Double](repeating: 0, count: Int(codes)) : [] }

    mutating func add(_ code: UInt64, _ weight: Double) {
        if dense.isEmpty { sparse[code, default: 0] += weight } else { dense[Int(code)] += weight }
    }

    mutating func add(_ other: RunCounts) { other.forEach { add($0, $1) } }

    /// Every code with a weight, in rising order.
    func forEach(_ body: (UInt64, Double) -> Void) {
        for (code, weight) in dense.enumerated() where weight != 0 { body(UInt64(code), weight) }
        for (code, weight) in sparse.sorted(by: { $0.key < $1.key }) where weight != 0 { body(code, weight) }
    }
}

extension MarkovChain {
    /// Counted starts, steps and ends. A run of channels is a number in base channels + 1 whose digit 0 means none.
    struct Counts {
        private(set) var starts: RunCounts
        private(set) var transitions: RunCounts
        private(set) var ends: RunCounts
        private(set) var conversions: RunCounts
        private(set) var values: RunCounts
        /// Paths, weighted.
        private(set) var total = 0.0
        /// Runs of `order` digits are numbers below this.
        let space: UInt64
        let order: Int
        private let base: UInt64

        /// Nothing counted yet, over so many channels.
        init(channels: Int, order: Int) {
            precondition((1...3).contains(order))
            let base = UInt64(channels + 1)
            (self.base, self.order) = (base, order)
            space = (0..<order).reduce(UInt64(1)) { power, _ in power * base }
            (starts, ends) = (RunCounts(codes: space), RunCounts(codes: space))
            (conversions, values) = (RunCounts(codes: space), RunCounts(codes: space))
            transitions = RunCounts(codes: space * base)
        }

        init(_ table: PathTable, order: Int, collapse: Bool) {
            self.init(channels: table.channels.count, order: order)
            table.tokens.withUnsafeBufferPointer { tokens in
                var begin = 0
                for row in 0..<table.count {
                    let end = table.ends[row]
                    if table.conversions[row] + table.nulls[row] > 0 {
                        add(
                            UnsafeBufferPointer(rebasing: tokens[begin..<end]), conversions: table.conversions[row],
                            value: table.values[row], nulls: table.nulls[row], collapse: collapse)
                    }
                    begin = end
                }
            }
        }

        /// Counts one path of channel numbers, oldest first, that is not empty.
        @inline(__always)
        mutating func add(
            _ path: UnsafeBufferPointer<UInt16>, conversions converted: Double, value: Double, nulls: Double,
            collapse: Bool = true
        ) {
            let weight = converted + nulls
            var code: UInt64 = 0
            let head = min(order, path.count)
            for index in 0..<head { code = code &* base &+ UInt64(path[index]) &+ 1 }
            total += weight
            starts.add(code, weight)
            for index in head..<path.count {
                let wide = code &* base &+ UInt64(path[index]) &+ 1
                let next = wide &- (UInt64(path[index &- order]) &+ 1) &* space
                if collapse, next == code { continue }
                transitions.add(wide, weight)
                code = next
            }
            ends.add(code, weight)
            if converted > 0 { conversions.add(code, converted) }
            if value != 0 { values.add(code, value) }
        }

        /// Adds what another thread counted over the same channels.
        mutating func add(_ other: Counts) {
            starts.add(other.starts)
            transitions.add(other.transitions)
            ends.add(other.ends)
            conversions.add(other.conversions)
            values.add(other.values)
            total += other.total
        }

        /// Every state, in rising order of its code.
        var stateCodes: [UInt64] {
            // Each state ends a path or is left by a step; what is entered is left or ends.
            var codes: Set<UInt64> = []
            ends.forEach { code, _ in codes.insert(code) }
            let space = space
            transitions.forEach { wide, _ in codes.insert(wide % space) }
            starts.forEach { code, _ in codes.insert(code) }
            return codes.sorted()
        }
    }
}
