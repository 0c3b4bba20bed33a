/// Solves large chains by Gauss–Seidel sweeps over all channels at once.
///
/// For channel c, g_c(s) is the probability to convert from s after visiting c: g_c = h on states that hold c,
/// elsewhere g_c(s) = Σ q(s,t)·g_c(t). The systems of all channels differ only in which rows are pinned, so one
/// pass over Q advances them all, and every term is positive: nothing cancels, and small effects are as exact
/// as large ones. Sweeps go to and fro until no entry moves by more than a few units of its last place; the
/// residual is then measured.
struct SparseSolver {
    /// What no solution may exceed.
    static let residualMax = 1e-12
    static let sweepsMax = 200_000
    /// Relative change of an entry in one sweep that counts as none.
    private static let still = 4e-15
    private static let looksEvery = 64
    /// Channels that are advanced together: 32 columns, 256 bytes a state.
    private static let channelsAtOnce = 16

    /// Called between sweeps, for progress.
    var onSweep: @Sendable (Int) -> Void = { _ in }

    func solve(_ chain: MarkovChain) throws(MarkovError) -> MarkovSolution {
        let n = chain.count
        var system = Sweeps(chain, width: 2)
        for state in 0..<n {
            system.sources[state * 2] = chain.converts[state]
            system.sources[state * 2 + 1] = chain.pays[state]
        }
        var residual = try settle(&system, chain)
        let ends = system.values
        var solution = MarkovSolution(
            conversion: system.expected(chain.start, 0), value: system.expected(chain.start, 1), through: [],
            valueThrough: [])
        for first in stride(from: 0, to: chain.channels.count, by: Self.channelsAtOnce) {
            let group = first..<min(first + Self.channelsAtOnce, chain.channels.count)
            var system = Sweeps(chain, width: group.count * 2)
            for state in 0..<n {
                for channel in group where chain.holds(state, channel) {
                    let column = (channel - first) * 2
                    system.pin(state, column, ends[state * 2])
                    system.pin(state, column + 1, ends[state * 2 + 1])
                }
            }
            residual = max(residual, try settle(&system, chain))
            for column in 0..<group.count {
                solution.through.append(system.expected(chain.start, column * 2))
                solution.valueThrough.append(system.expected(chain.start, column * 2 + 1))
            }
        }
        solution.residual = residual
        return solution
    }

    private func settle(_ system: inout Sweeps, _ chain: MarkovChain) throws(MarkovError) -> Double {
        var last = Double.infinity
        for sweep in 1...Self.sweepsMax {
            onSweep(sweep)
            let change = system.sweep(chain, forward: sweep % 2 == 1)
            if change <= Self.still { break }
            // What moves to and fro in its last place without coming nearer is as near as doubles get.
            if sweep % Self.looksEvery == 0 {
                if change > last * 0.5, system.residual(chain) <= Self.residualMax / 100 { break }
                last = change
            }
        }
        let residual = system.residual(chain)
        guard residual <= Self.residualMax else { throw .notConverged(order: chain.order, residual: residual) }
        return residual
    }
}

/// Several systems v = source + Q·v side by side; entries that are pinned keep their value.
private struct Sweeps {
    /// Nothing that is measured is smaller.
    private static let tiny = 1e-300
    let width: Int
    private(set) var values: [Double]
    var sources: [Double]
    /// 0 where an entry is pinned, 1 elsewhere; pinned values stand in `sources`.
    private var isFree: [Double]
    /// 1 − q(s,s).
    private let leaves: [Double]
    private var sums: [Double]

    init(_ chain: MarkovChain, width: Int) {
        self.width = width
        values = [Double](repeating: 0, count: chain.count * width)
        sources = values
        isFree = [Double](repeating: 1, count: values.count)
        sums = [Double](repeating: 0, count: width)
        leaves = (0..<chain.count).map { state in
            (chain.rowStarts[state]..<chain.rowStarts[state + 1]).reduce(1) { left, edge in
                Int(chain.targets[edge]) == state ? left - chain.probabilities[edge] : left
            }
        }
    }

    mutating func pin(_ state: Int, _ column: Int, _ value: Double) {
        let index = state * width + column
        (values[index], sources[index], isFree[index]) = (value, value, 0)
    }

    func expected(_ start: [Double], _ column: Int) -> Double {
        start.indices.reduce(0) { $0 + start[$1] * values[$1 * width + column] }
    }

    /// One pass over all states; answers the largest relative change.
    mutating func sweep(_ chain: MarkovChain, forward: Bool) -> Double {
        var change = 0.0
        let n = chain.count
        for step in 0..<n {
            let state = forward ? step : n - 1 - step
            gather(chain, state, skipSelf: true)
            let row = state * width
            for column in 0..<width {
                let old = values[row + column]
                let free = isFree[row + column]
                let new = free * ((sources[row + column] + sums[column]) / leaves[state]) + (1 - free) * old
                let moved = (new - old).magnitude
                if moved > Self.tiny { change = max(change, moved / max(new.magnitude, Self.tiny)) }
                values[row + column] = new
            }
        }
        return change
    }

    /// Largest violation of an equation, relative to the largest value of its column where that is above 1.
    mutating func residual(_ chain: MarkovChain) -> Double {
        var largest = [Double](repeating: 1, count: width)
        for index in values.indices { largest[index % width] = max(largest[index % width], values[index].magnitude) }
        var worst = 0.0
        for state in 0..<chain.count {
            gather(chain, state, skipSelf: false)
            for column in 0..<width where isFree[state * width + column] == 1 {
                let index = state * width + column
                worst = max(worst, (sources[index] + sums[column] - values[index]).magnitude / largest[column])
            }
        }
        return worst
    }

    /// Σ q(state, t)·v(t) of every column.
    private mutating func gather(_ chain: MarkovChain, _ state: Int, skipSelf: Bool) {
        let width = width
        sums.withUnsafeMutableBufferPointer { sums in
            values.withUnsafeBufferPointer { values in
                for column in 0..<width { sums[column] = 0 }
                for edge in chain.rowStarts[state]..<chain.rowStarts[state + 1] {
                    let target = Int(chain.targets[edge])
                    if skipSelf, target == state { continue }
                    let weight = chain.probabilities[edge]
                    for column in 0..<width { sums[column] += weight * values[target * width + column] }
                }
            }
        }
    }
}
