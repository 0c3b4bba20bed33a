import Attribution

/// The Markov model once more, from its definition and by another way: states are arrays of channel numbers in a
/// dictionary, the fundamental matrix of the absorbing chain is inverted by Gauss–Jordan, and the chain of every removed
/// channel is built and inverted anew.
struct MarkovOracle {
    var removalEffects: [Double] = []
    var removalEffectsValue: [Double] = []
    var conversions: [Double] = []
    var values: [Double] = []
    var conversion = 0.0

    /// nil where nothing converts.
    /// - Parameter removing: the channels whose removal is solved; nil for all. Credits need all.
    init?(_ table: PathTable, order: Int, removing: [Int]? = nil) {
        var numbers: [[UInt16]: Int] = [:]
        var rows: [(states: [Int], c: Double, v: Double, n: Double)] = []
        for row in 0..<table.count {
            let path = Array(table.tokens[table.range(row)])
            var grams: [[UInt16]] = []
            if path.count < order { grams = [path] }
            if path.count >= order { grams = (0...(path.count - order)).map { Array(path[$0..<($0 + order)]) } }
            var states: [Int] = []
            for gram in grams {
                let number = numbers[gram] ?? numbers.count
                numbers[gram] = number
                if states.last != number { states.append(number) }
            }
            if table.conversions[row] + table.nulls[row] > 0 {
                rows.append((states, table.conversions[row], table.values[row], table.nulls[row]))
            }
        }
        let n = numbers.count
        guard n > 0 else { return nil }
        var steps = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
        var (starts, ends) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
        var (paid, out) = (ends, ends)
        for row in rows {
            let weight = row.c + row.n
            starts[row.states[0]] += weight
            for (from, to) in zip(row.states, row.states.dropFirst()) {
                steps[from][to] += weight
                out[from] += weight
            }
            let last = row.states[row.states.count - 1]
            out[last] += weight
            ends[last] += row.c
            paid[last] += row.v
        }
        let total = starts.reduce(0, +)
        guard total > 0, ends.contains(where: { $0 > 0 }) else { return nil }
        var gramOf = [[UInt16]](repeating: [], count: n)
        for (gram, number) in numbers { gramOf[number] = gram }
        /// P and E when the states of `removed` lead to nothing.
        func solve(_ removed: UInt16?) -> (Double, Double) {
            let alive = (0..<n).map { state in removed.map { !gramOf[state].contains($0) } ?? true }
            var matrix = (0..<n).map { row in
                (0..<n).map { column -> Double in
                    let q = alive[column] && out[row] > 0 ? steps[row][column] / out[row] : 0
                    return (row == column ? 1 : 0) - q
                }
            }
            let inverse = Self.inverse(&matrix)
            var (p, e) = (0.0, 0.0)
            for from in 0..<n where alive[from] {
                for state in 0..<n where out[state] > 0 {
                    let visits = starts[from] / total * inverse[from][state]
                    p += visits * ends[state] / out[state]
                    e += visits * paid[state] / out[state]
                }
            }
            return (p, e)
        }
        let (p, e) = solve(nil)
        conversion = p
        for channel in removing ?? Array(table.channels.indices) {
            let (pc, ec) = solve(UInt16(channel))
            removalEffects.append((p - pc) / p)
            removalEffectsValue.append(e == 0 ? 0 : (e - ec) / e)
        }
        let (sum, sumValue) = (removalEffects.reduce(0, +), removalEffectsValue.reduce(0, +))
        conversions = removalEffects.map { table.totalConversions * $0 / sum }
        values = removalEffectsValue.map { sumValue == 0 ? 0 : table.totalValue * $0 / sumValue }
    }

    /// Gauss–Jordan with the largest pivot of the column.
    private static func inverse(_ matrix: inout [[Double]]) -> [[Double]] {
        let n = matrix.count
        var inverse = (0..<n).map { row in (0..<n).map { $0 == row ? 1.0 : 0 } }
        for column in 0..<n {
            let pivot = (column..<n).max { matrix[$0][column].magnitude < matrix[$1][column].magnitude } ?? column
            matrix.swapAt(column, pivot)
            inverse.swapAt(column, pivot)
            let scale = matrix[column][column]
            for index in 0..<n {
                matrix[column][index] /= scale
                inverse[column][index] /= scale
            }
            for row in 0..<n where row != column {
                let factor = matrix[row][column]
                if factor == 0 { continue }
                for index in 0..<n {
                    matrix[row][index] -= factor * matrix[column][index]
                    inverse[row][index] -= factor * inverse[column][index]
                }
            }
        }
        return inverse
    }
}
