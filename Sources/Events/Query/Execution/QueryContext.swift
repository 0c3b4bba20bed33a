internal import Synchronization

/// What all threads of one query share: when it must be done, what it has read and how much memory it holds.
package final class QueryContext: Sendable {
    private let deadline: ContinuousClock.Instant
    private let memoryBytesMax: Int
    private let rows = Atomic<Int>(0)
    private let kept = Atomic<Int>(0)
    private let bytes = Atomic<Int>(0)
    private let estimates = Atomic<Bool>(false)
    private let cancelled = Atomic<Bool>(false)

    init(limits: QueryLimits) {
        deadline = ContinuousClock.now + limits.duration
        memoryBytesMax = limits.memoryBytesMax
    }

    /// Rows of the blocks that were read for this query.
    package var rowsScanned: Int { rows.load(ordering: .relaxed) }
    package func addScanned(_ count: Int) { rows.wrappingAdd(count, ordering: .relaxed) }

    /// Rows that kept partial answers stood for.
    package var rowsKept: Int { kept.load(ordering: .relaxed) }
    package func addKept(_ count: Int) { kept.wrappingAdd(count, ordering: .relaxed) }

    /// To be called before each block.
    /// - Throws: `timeout` past the deadline, `cancelled` when nobody waits.
    package func check() throws(QueryError) {
        if cancelled.load(ordering: .relaxed) { throw .cancelled }
        if ContinuousClock.now >= deadline { throw .timeout(rowsScanned: rowsScanned) }
    }

    package func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// Counts memory that was taken or, negative, given back.
    package func addBytes(_ count: Int) {
        let total = bytes.wrappingAdd(count, ordering: .relaxed).newValue
        if total > memoryBytesMax { estimates.store(true, ordering: .relaxed) }
    }

    package var isOverMemory: Bool { bytes.load(ordering: .relaxed) > memoryBytesMax }

    /// Whether distinct counts must be estimates from now on, because exact ones took too much memory.
    package var mustEstimate: Bool { estimates.load(ordering: .relaxed) }
}
