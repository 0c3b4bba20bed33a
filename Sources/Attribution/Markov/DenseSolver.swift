/// LU factors of a square matrix with partial pivoting. Source: Golub and Van Loan, "Matrix computations", 3.4.
struct LUFactors {
    let n: Int
    private var matrix: [Double]
    private var pivots: [Int]

    /// - Parameter matrix: n × n values, row after row; regular.
    init(_ matrix: [Double], n: Int) {
        self.n = n
        self.matrix = matrix
        pivots = Array(0..<n)
        for column in 0..<n { eliminate(column) }
    }

    private mutating func eliminate(_ column: Int) {
        let pivot = (column..<n).max { matrix[$0 * n + column].magnitude < matrix[$1 * n + column].magnitude } ?? column
        pivots[column] = pivot
        if pivot != column { for index in 0..<n { matrix.swapAt(column * n + index, pivot * n + index) } }
        let inverse = 1 / matrix[column * n + column]
        matrix.withUnsafeMutableBufferPointer { matrix in
            for row in (column + 1)..<max(n, column + 1) {
                let factor = matrix[row * n + column] * inverse
                matrix[row * n + column] = factor
                if factor == 0 { continue }
                for index in (column + 1)..<n {
                    matrix[row * n + index] -= factor * matrix[column * n + index]
                }
            }
        }
    }

    /// The x of A·x = b.
    func solve(_ b: [Double]) -> [Double] {
        var x = b
        for (row, pivot) in pivots.enumerated() where pivot != row { x.swapAt(row, pivot) }
        for row in 0..<n {
            var sum = x[row]
            for index in 0..<row { sum -= matrix[row * n + index] * x[index] }
            x[row] = sum
        }
        for row in (0..<n).reversed() {
            var sum = x[row]
            for index in (row + 1)..<max(n, row + 1) { sum -= matrix[row * n + index] * x[index] }
            x[row] = sum / matrix[row * n + row]
        }
        return x
    }
}

/// P(conversion), expected value, and for each channel the share of both that walks through it earn.
struct MarkovSolution: Sendable {
    var conversion: Double
    var value: Double
    /// Probability to convert after visiting the channel.
    var through: [Double]
    /// Expected value paid to walks that visit the channel.
    var valueThrough: [Double]
    /// Largest violation of the equations solved; 0 for the direct solver.
    var residual = 0.0
}

/// Solves small chains by LU.
///
/// With M = (I − Q)⁻¹, x = Mᵀs₀ (expected visits) and h = M·p (probability to convert from a state), the walks
/// that visit a set S of states and convert have probability x_Sᵀ · M_SS⁻¹ · h_S: x_Sᵀ·M_SS⁻¹ is the
/// distribution of the first state of S that is met. So one factorisation and one small system a channel give
/// every removal effect, and no difference of nearly equal numbers is taken. Source: Kemeny and Snell, "Finite
/// Markov chains", 1960, chapter III.
struct DenseSolver {
    static let statesMax = 512

    func solve(_ chain: MarkovChain) -> MarkovSolution {
        let n = chain.count
        var matrix = [Double](repeating: 0, count: n * n)
        for state in 0..<n {
            matrix[state * n + state] = 1
            for edge in chain.rowStarts[state]..<chain.rowStarts[state + 1] {
                matrix[state * n + Int(chain.targets[edge])] -= chain.probabilities[edge]
            }
        }
        let factors = LUFactors(matrix, n: n)
        let (h, e) = (factors.solve(chain.converts), factors.solve(chain.pays))
        // columns[j] is column j of M.
        var visits = [Double](repeating: 0, count: n)
        var columns: [[Double]] = []
        for state in 0..<n {
            var unit = [Double](repeating: 0, count: n)
            unit[state] = 1
            let column = factors.solve(unit)
            for index in 0..<n { visits[state] += chain.start[index] * column[index] }
            columns.append(column)
        }
        var solution = MarkovSolution(conversion: 0, value: 0, through: [], valueThrough: [])
        for state in 0..<n {
            solution.conversion += chain.start[state] * h[state]
            solution.value += chain.start[state] * e[state]
        }
        for channel in chain.channels.indices {
            let set = (0..<n).filter { chain.holds($0, channel) }
            var block: [Double] = []
            for row in set { for column in set { block.append(columns[column][row]) } }
            let inner = LUFactors(block, n: set.count)
            func through(_ target: [Double]) -> Double {
                let y = inner.solve(set.map { target[$0] })
                return zip(set, y).reduce(0) { $0 + visits[$1.0] * $1.1 }
            }
            solution.through.append(through(h))
            solution.valueThrough.append(through(e))
        }
        return solution
    }
}
