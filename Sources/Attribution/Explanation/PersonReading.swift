internal import Events
internal import Foundation
internal import Synchronization

/// Reads of the log what a run keeps of some persons, and walks it as a run does: the same reader, the same order, the
/// same walk. Blocks its thread.
struct PersonReading {
    /// A row of one of the persons that may be a touch.
    struct Row {
        var spot: JourneyWitness.Spot
        var outcome: EventOutcome
        /// Where it stands in the snapshot.
        var segment: Int
        var block: Int
        var row: Int
    }

    let plan: LogRunPlan
    let segments: [ColumnSegment]
    /// After merges.
    let persons: Set<UInt64>
    /// The last row of the log that counts.
    let last: LogPosition
    let budget: ReadingBudget
    let workers: Int
    /// Of its temporary files, which is its alone; removed at the end.
    let folder: String

    /// - Parameters:
    ///   - withRows: whether the rows that may be touches are wanted.
    ///   - refund: what refunds take off a conversion of the persons.
    /// - Returns: the rows, in no order.
    /// - Throws: `tooLarge`, `slow`, `cancelled`, `storage`; what the log throws.
    func walk(_ witness: JourneyWitness, withRows: Bool, refund: LogRecord? = nil) throws -> [Row] {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let files = try SpillFiles(folder: folder + "/records", bits: 0)
        let rows = try read(into: files, withRows: withRows, refund)
        let records = try load(files)
        defer { records.deallocate() }
        let journeys = try SpillFiles(folder: folder + "/journeys", bits: 0)
        let sums = SharedSums(models: plan.ruleModels, rowsMax: plan.request.settings.resultRowsMax)
        var walk = PersonWalk(
            plan, journeys: JourneyWriter(journeys, number: 0), sums: sums, rowsMax: .max, pathsMax: 1,
            control: budget.control, witness: witness)
        witness.budget = budget
        var start = 0
        while start < records.count {
            try witness.check()
            var end = start + 1
            while end < records.count, records[end].person == records[start].person { end += 1 }
            try walk.walk(UnsafeBufferPointer(UnsafeMutableBufferPointer(rebasing: records[start..<end])))
            start = end
        }
        return rows
    }

    private func read(into files: SpillFiles, withRows: Bool, _ refund: LogRecord?) throws -> [Row] {
        var places: [(segment: Int, block: Int)] = []
        for (number, segment) in segments.enumerated() {
            for (index, summary) in segment.blocks.enumerated() where plan.mayHoldJourneys(summary) {
                places.append((number, index))
            }
        }
        let tasks = places
        let next = Atomic(0)
        let found = Mutex<[Row]>([])
        try LogWorkers.share(workers) { isOver in
            let reader = LogBlockReader(plan)
            var spill = SpillWriter(files)
            var finder = PersonRows(org: plan.request.org, persons: persons, resolver: plan.resolver)
            while !isOver() {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < tasks.count else { break }
                let (segment, number) = tasks[index]
                try budget.take(segments[segment].blocks[number].rowCount)
                guard let block = try segments[segment].read(number) else { continue }
                let mine = try finder.rows(block, through: last)
                guard !mine.isEmpty else { continue }
                if withRows {
                    let rows = try touches(of: block, mine, segment: segment, number: number)
                    let count = found.withLock { all in
                        all += rows
                        return all.count
                    }
                    guard count <= budget.limits.recordsMax else { throw tooMany }
                }
                try reader.read(MemoBlock(block, showing: mine), into: &spill)
                // Known before the rest of the log is read, and before the volume is full of them.
                guard count(of: files) <= budget.limits.recordsMax else { throw tooMany }
            }
            try spill.finish()
        }
        var spill = SpillWriter(files)
        try plan.addJoined(to: &spill, of: persons)
        if let refund { try spill.add(refund) }
        try spill.finish()
        return found.withLock { $0 }
    }

    private func touches(of block: any ColumnBlock, _ mine: [UInt32], segment: Int, number: Int) throws -> [Row] {
        let (types, outcomes, times) = (try block.types(), try block.outcomes(), try block.times())
        let shown: Set<EventOutcome> = [.stored, .late, .bot, .duplicate]
        let rows = mine.filter { row in
            guard LogBlockReader.mayTouch(types[Int(row)]), let outcome = EventOutcome(rawValue: outcomes[Int(row)])
            else { return false }
            return shown.contains(outcome)
        }
        guard !rows.isEmpty else { return [] }
        let facts = try block.touchRows(rows, org: plan.request.org)
        return rows.indices.compactMap { index in
            let row = Int(rows[index])
            guard let outcome = EventOutcome(rawValue: outcomes[row]) else { return nil }
            let spot = JourneyWitness.Spot(time: times[row], id: facts.orders[index], tail: facts.tails[index])
            return Row(spot: spot, outcome: outcome, segment: segment, block: number, row: row)
        }
    }

    /// The records in their order; the caller gives the memory back.
    private func load(_ files: SpillFiles) throws(LogAttributionError) -> UnsafeMutableBufferPointer<LogRecord> {
        let count = count(of: files)
        guard count <= budget.limits.recordsMax else { throw tooMany }
        var records = UnsafeMutableBufferPointer<LogRecord>.allocate(capacity: count)
        records.initialize(repeating: LogRecord(person: 0, time: 0, id: 0, kind: 0))
        do throws(LogAttributionError) {
            try files.read(0, at: 0, into: UnsafeMutableRawBufferPointer(records))
        } catch {
            records.deallocate()
            throw error
        }
        records.sort(by: LogRecord.stands)
        return records
    }

    private func count(of files: SpillFiles) -> Int { files.size(0) / MemoryLayout<LogRecord>.stride }

    private var tooMany: LogAttributionError {
        .tooLarge(
            "The persons of these conversions have more than \(budget.limits.recordsMax) events; such journeys are "
                + "credited by runs and not explained.")
    }
}
