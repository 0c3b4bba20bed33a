internal import Synchronization

/// The rows that one worker has found, apart by the leading bits of the person.
struct SequenceBuffer: Sendable {
    static let partitionBits = 6
    static let partitionCount = 1 << partitionBits
    private static let chunkRows = 2048

    private struct Partition: Sendable {
        var full: [ContiguousArray<SequenceRow>] = []
        var open: ContiguousArray<SequenceRow> = []

        var count: Int { full.count * SequenceBuffer.chunkRows + open.count }
    }

    private var partitions = [Partition](repeating: Partition(), count: SequenceBuffer.partitionCount)
    private let budget: SequenceBudget
    private let first: Int
    private var end: Int
    private var unreported = 0

    init(_ budget: SequenceBudget) {
        self.budget = budget
        first = budget.first
        end = budget.end
    }

    @inline(__always)
    mutating func add(_ row: SequenceRow) throws(QueryError) {
        let number = Int(row.person >> UInt64(64 - Self.partitionBits))
        guard number >= first, number < end else { return }
        partitions[number].open.append(row)
        if partitions[number].open.count == Self.chunkRows {
            partitions[number].full.append(partitions[number].open)
            partitions[number].open = []
            partitions[number].open.reserveCapacity(Self.chunkRows)
        }
        unreported += 1
        if unreported >= budget.reportEvery { try report() }
    }

    /// Tells the budget what was added; gives up the partitions that have to wait for another pass.
    private mutating func report() throws(QueryError) {
        budget.hold(unreported)
        unreported = 0
        if budget.isSpent { try budget.shrink(from: end) }
        guard budget.end < end else { return }
        var dropped = 0
        for number in budget.end..<end {
            dropped += partitions[number].count
            partitions[number] = Partition()
        }
        end = budget.end
        budget.hold(-dropped)
    }

    /// The rows of one partition, moved to the end of `rows`.
    func append(_ number: Int, to rows: inout ContiguousArray<SequenceRow>) {
        for chunk in partitions[number].full { rows.append(contentsOf: chunk) }
        rows.append(contentsOf: partitions[number].open)
    }

    func count(_ number: Int) -> Int { partitions[number].count }
}

/// How many rows all workers of one pass may hold together, and which partitions the pass still covers.
final class SequenceBudget: Sendable {
    let first: Int
    /// Rows that a worker may add before it tells.
    let reportEvery: Int
    private let rowsMax: Int
    private let rows = Atomic<Int>(0)
    private let last: Atomic<Int>

    /// - Parameter first: the first partition of this pass; it covers as many of the rest as fit.
    init(bytes: Int, first: Int) {
        rowsMax = max(1, bytes / MemoryLayout<SequenceRow>.stride)
        reportEvery = min(4096, rowsMax / 8 + 1)
        self.first = first
        last = Atomic(SequenceBuffer.partitionCount)
    }

    /// The partition after the last of this pass.
    var end: Int { last.load(ordering: .relaxed) }
    var isSpent: Bool { rows.load(ordering: .relaxed) > rowsMax }

    func hold(_ count: Int) { rows.add(count, ordering: .relaxed) }

    /// Halves what the pass covers, once for all workers that saw the same end.
    /// - Throws: `tooLarge` when not even one partition fits.
    func shrink(from seen: Int) throws(QueryError) {
        guard end == seen else { return }
        guard seen - first > 1 else {
            throw .tooLarge("more memory than a query may take for the events of few persons")
        }
        _ = last.compareExchange(expected: seen, desired: first + (seen - first) / 2, ordering: .relaxed)
    }
}
