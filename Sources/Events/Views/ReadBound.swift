/// How long one read of the log may take, and what it has read. One thread's.
final class ReadBound {
    private let deadline: ContinuousClock.Instant?
    private var rows = 0

    /// - Parameter duration: nil for no bound.
    init(within duration: Duration?) { deadline = duration.map { ContinuousClock.now + $0 } }

    /// To be called before each block.
    /// - Parameter more: rows of the block.
    /// - Throws: `QueryError.timeout` past the deadline.
    func take(_ more: Int) throws(QueryError) {
        if let deadline, ContinuousClock.now >= deadline { throw .timeout(rowsScanned: rows) }
        rows += more
    }
}
