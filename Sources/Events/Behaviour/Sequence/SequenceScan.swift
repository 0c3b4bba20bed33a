internal import Dispatch
internal import Synchronization

/// What a query cost.
package struct SequenceStats: Sendable, Equatable {
    package var rowsScanned = 0
    /// Rows that belonged to persons and were looked at.
    package var rowsSelected = 0
    /// Times that the log was read: more than one when the persons did not fit the memory of a query at once.
    package var passes = 0
    /// Blocks that could not be read because they are damaged: their rows are missing from the answer.
    package var damagedBlocks = 0
}

/// Collects the selected rows of every person, a part of all persons at a time so that memory is bounded, sorts them,
/// and walks them. Blocks and persons are shared out to as many threads as asked.
struct SequenceScan: Sendable {
    private struct Task: Sendable {
        var segment: ColumnSegment
        var block: Int
        /// Of its first row in the log, modulo 2³².
        var ordinal: UInt32
    }

    private let plan: SequencePlan
    private let tasks: [Task]
    private let resolver: any PersonResolver
    private let workers: Int
    private let memoryBytes: Int
    private let context: QueryContext

    init(
        _ plan: SequencePlan, segments: [ColumnSegment], resolver: any PersonResolver, workers: Int,
        memoryBytes: Int, context: QueryContext
    ) {
        (self.plan, self.resolver, self.workers) = (plan, resolver, max(1, workers))
        (self.memoryBytes, self.context) = (memoryBytes, context)
        var tasks: [Task] = []
        var ordinal: UInt32 = 0
        for segment in segments {
            for (index, summary) in segment.blocks.enumerated() {
                if plan.mayHold(summary) { tasks.append(Task(segment: segment, block: index, ordinal: ordinal)) }
                ordinal &+= UInt32(truncatingIfNeeded: summary.rowCount)
            }
        }
        self.tasks = tasks
    }

    /// Blocks its thread.
    /// - Parameter makeWalker: called after rows were collected, so that labels are known.
    func run<Walker: SequenceWalker & Sendable>(
        _ makeWalker: @escaping @Sendable () -> Walker
    ) throws -> (walker: Walker, stats: SequenceStats) {
        var total: Walker?
        var stats = SequenceStats()
        var first = 0
        while first < SequenceBuffer.partitionCount {
            let budget = SequenceBudget(bytes: memoryBytes, first: first)
            let (buffers, damaged) = try collect(budget)
            let end = budget.end
            let walker = try walk(buffers, first..<end, makeWalker)
            for buffer in buffers {
                for number in first..<end { stats.rowsSelected += buffer.count(number) }
            }
            if total == nil { total = walker } else { total?.add(walker) }
            stats.passes += 1
            // Every pass meets the same ones.
            stats.damagedBlocks = max(stats.damagedBlocks, damaged)
            first = end
        }
        stats.rowsScanned = context.rowsScanned
        return (total ?? makeWalker(), stats)
    }

    // MARK: reading

    /// What every worker found, and how many blocks were left out because they are damaged.
    private func collect(_ budget: SequenceBudget) throws -> (buffers: [SequenceBuffer], damaged: Int) {
        let next = Atomic(0)
        let damaged = Atomic(0)
        let found = Mutex<[SequenceBuffer]>([])
        try share(among: min(workers, max(1, tasks.count))) { isOver in
            let reader = SequenceReader(plan, resolver)
            var buffer = SequenceBuffer(budget)
            while !isOver() {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < tasks.count else { break }
                try context.check()
                if let rows = try read(tasks[index], reader, &buffer) {
                    context.addScanned(rows)
                } else {
                    damaged.add(1, ordering: .relaxed)
                }
            }
            let mine = buffer
            found.withLock { $0.append(mine) }
        }
        return (found.withLock { $0 }, damaged.load(ordering: .relaxed))
    }

    /// How many rows a block has; nil for one that is damaged. Of that nothing came into the buffer: all columns that
    /// a question needs are read before its first row is added.
    private func read(_ task: Task, _ reader: SequenceReader, _ buffer: inout SequenceBuffer) throws -> Int? {
        try BlockView.readable {
            guard let block = try task.segment.read(task.block) else { return nil }
            try reader.read(block, ordinal: task.ordinal, into: &buffer)
            return block.rowCount
        }
    }

    // MARK: walking

    private func walk<Walker: SequenceWalker & Sendable>(
        _ buffers: [SequenceBuffer], _ partitions: Range<Int>, _ makeWalker: @escaping @Sendable () -> Walker
    ) throws -> Walker {
        let next = Atomic(partitions.lowerBound)
        let done = Mutex<[Walker]>([])
        try share(among: workers) { isOver in
            var walker = makeWalker()
            var sorter = SequenceSorter()
            var rows: ContiguousArray<SequenceRow> = []
            while !isOver() {
                let number = next.add(1, ordering: .relaxed).oldValue
                guard number < partitions.upperBound else { break }
                try context.check()
                rows.removeAll(keepingCapacity: true)
                for buffer in buffers { buffer.append(number, to: &rows) }
                sorter.sort(&rows, skipBits: SequenceBuffer.partitionBits)
                Self.walk(rows, &walker)
            }
            let mine = walker
            done.withLock { $0.append(mine) }
        }
        let walkers = done.withLock { $0 }
        guard var all = walkers.first else { return makeWalker() }
        for other in walkers.dropFirst() { all.add(other) }
        return all
    }

    private static func walk(_ rows: ContiguousArray<SequenceRow>, _ walker: inout some SequenceWalker) {
        rows.withUnsafeBufferPointer { rows in
            var start = 0
            while start < rows.count {
                var end = start + 1
                while end < rows.count, rows[end].person == rows[start].person { end += 1 }
                walker.walk(UnsafeBufferPointer(rebasing: rows[start..<end]))
                start = end
            }
        }
    }

    /// Runs `work` on so many threads, this one among them; the first error ends all.
    private func share(among count: Int, _ work: @Sendable (_ isOver: () -> Bool) throws -> Void) throws {
        let failure = Mutex<(any Error)?>(nil)
        let isOver = Atomic(false)
        DispatchQueue.concurrentPerform(iterations: count) { _ in
            do { try work { isOver.load(ordering: .relaxed) } } catch {
                isOver.store(true, ordering: .relaxed)
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let error = failure.withLock({ $0 }) { throw error }
    }
}
