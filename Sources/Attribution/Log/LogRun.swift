package import AurumCore
internal import Database
internal import Dispatch
package import Events
internal import Foundation
internal import Synchronization

/// What a run found out about one conversion.
package struct LogConversionResult: Sendable, Equatable {
    package var name: String
    package var conversions = 0
    package var organic = 0
    package var truncated = 0
    package var repeated = 0
    package var nulls = 0
    package var touches = 0
    package var flat = 0
    package var fits: [LogFit] = []
    package var paths: [LogPath] = []
    package var rows = LogCreditRows()
    /// nil where the definition names no refunds.
    package var refunds: RefundTally?
}

/// Journeys that converted through the same channels.
package struct LogPath: Sendable, Equatable {
    package var path: String
    package var conversions: Int
}

/// What a run answers, the same to the last byte however often it runs over one log, and on however many threads.
package struct LogRunResult: Sendable {
    package var results: [LogConversionResult] = []
    package var notes: [String] = []
    /// The last row of the log that it covers; nil for an empty log.
    package var position: String?
    package var rowsScanned = 0
    package var touches = 0
    package var persons = 0
    package var refusedConsent = 0
    /// Touches that the fraud rules bar from credit.
    package var rejectedTouches = 0
    package var damagedBlocks = 0
    package var spilledBytes = 0
    package var partitions = 0
    /// Reading; sorting and walking; fitting and dividing.
    package var seconds: [Double] = [0, 0, 0]
}

/// Credits every conversion in the log, in memory that does not depend on how many there are.
///
/// First every block is read once, on all cores, and what attribution needs of its events goes into files, one for each
/// part of all persons. Then one file after another is sorted by person and time and walked: touchpoints, journeys,
/// credits of the models that need one journey alone, and the counts that the others are fitted to. Last the
/// converted journeys are divided under the fitted models. Blocks its thread.
package struct LogRun: Sendable {
    let plan: LogRunPlan
    private let segments: [ColumnSegment]
    private let folder: String
    let control: LogRunControl
    private let workers: Int
    /// A thread keeps room for so many bytes of records; what is larger waits for room.
    let partitionBytes: Int
    let large = SortingRoom(bytes: LogRunSettings.sortingBytes)
    /// Combinations that one thread holds.
    private let rowsMax: Int
    package static let pathsKept = 1000
    /// Blocks between two looks at the room on the volume, and journeys between two looks at the control.
    private static let roomEach = 16
    private static let controlEach = 4096

    /// - Parameters:
    ///   - folder: of its temporary files, which is its alone; removed at the end.
    /// - Throws: `LogAttributionError` for a request that is wrong.
    package init(
        _ request: LogRunRequest, segments: [ColumnSegment], resolver: any PersonResolver, folder: String,
        now: Timestamp, control: LogRunControl = LogRunControl()
    ) throws(LogAttributionError) {
        plan = try LogRunPlan(request, resolver: resolver, now: now)
        (self.segments, self.folder, self.control) = (segments, folder, control)
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let settings = request.settings
        workers = max(1, settings.workers > 0 ? settings.workers : cores)
        partitionBytes = min(settings.partitionBytes, LogRunSettings.sortingBytes / (2 * workers))
        rowsMax = max(1, settings.threadRowsMax / workers)
    }

    /// - Throws: `LogAttributionError`, and what the log throws.
    package func run() throws -> LogRunResult {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var result = LogRunResult()
        let clock = ContinuousClock()
        let began = clock.now
        let tasks = self.tasks()
        let bits = partitionBits(tasks)
        let files = try SpillFiles(folder: folder + "/records", bits: bits)
        let orders =
            plan.refunds.isEmpty ? nil : try SpillFiles(folder: folder + "/orders", bits: min(bits, Self.orderBitsMax))
        control.begin(steps: tasks.count + files.count + (orders?.count ?? 0) + workers)
        var refunds = try read(tasks, files, orders, &result)
        result.spilledBytes = files.bytes + (orders?.bytes ?? 0)
        result.partitions = files.count
        if let orders {
            for (name, tally) in try joinRefunds(orders, files).enumerated() { refunds[name].add(tally) }
        }
        let read = clock.now
        let journeyBits = Int.bitWidth - (workers - 1).leadingZeroBitCount
        let journeys = try SpillFiles(folder: folder + "/journeys", bits: workers == 1 ? 0 : journeyBits)
        var walked = try walk(files, journeys)
        for name in refunds.indices { walked.facts[name].refunds.add(refunds[name]) }
        let sorted = clock.now
        let fits = plan.names.indices.map { name in
            let first = name * LogModel.ordersMax
            let facts = walked.facts[name]
            return ConversionFits(
                walked.counts[first..<first + LogModel.ordersMax], name: plan.names[name],
                converted: facts.conversions - facts.organic - facts.undone)
        }
        let divided = try divide(journeys, fits, &walked)
        collect(walked, divided, fits, &result)
        result.position = try LogCursor.lastPosition(of: segments).map(\.description)
        result.seconds = [(read - began).seconds, (sorted - read).seconds, (clock.now - sorted).seconds]
        return result
    }

    // MARK: reading

    private struct Block: Sendable {
        var segment: ColumnSegment
        var block: Int
    }

    private func tasks() -> [Block] {
        var tasks: [Block] = []
        for segment in segments {
            for (index, summary) in segment.blocks.enumerated() where plan.mayHold(summary) {
                tasks.append(Block(segment: segment, block: index))
            }
        }
        return tasks
    }

    private func partitionBits(_ tasks: [Block]) -> Int {
        let settings = plan.request.settings
        let rows = tasks.reduce(0) { $0 + $1.segment.blocks[$1.block].rowCount }
        let wanted = rows * MemoryLayout<LogRecord>.stride / max(1, partitionBytes) + 1
        let count = settings.partitions > 0 ? settings.partitions : max(wanted, workers)
        var bits = 0
        while 1 << bits < min(count, LogRunSettings.partitionsMax) { bits += 1 }
        return bits
    }

    /// - Throws: `storage` when the volume has less room than it must keep.
    private func checkRoom() throws(LogAttributionError) {
        let least = plan.request.settings.freeBytesMin
        guard least > 0, let space = DiskSpace.of(folder), space.freeBytes < least else { return }
        throw .storage(
            "The volume of the temporary files has \(space.freeBytes) bytes left, less than the \(least) it must keep.")
    }

    /// - Parameter orders: where refunds and what they may be of go; nil without refunds.
    /// - Returns: refunds that are of no order, by name.
    private func read(
        _ tasks: [Block], _ files: SpillFiles, _ orders: SpillFiles?, _ result: inout LogRunResult
    ) throws -> [RefundTally] {
        try checkRoom()
        let next = Atomic(0)
        let found = Mutex((rows: 0, refused: 0, damaged: 0, rejected: 0))
        let refunds = Mutex(plan.names.map { _ in RefundTally() })
        try share { isOver in
            let reader = LogBlockReader(plan)
            var spill = SpillWriter(files)
            let writer = orders.map { OrderWriter($0) }
            let orderReader = writer.map { writer in LogOrderReader(plan) { record, _ in try writer.add(record) } }
            var damaged = 0
            while !isOver() {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < tasks.count else { break }
                try control.step()
                if index % Self.roomEach == 0 { try checkRoom() }
                guard let block = try tasks[index].segment.read(tasks[index].block) else {
                    damaged += 1
                    continue
                }
                let memo = MemoBlock(block)
                try reader.read(memo, into: &spill)
                try orderReader?.read(memo)
            }
            try spill.finish()
            try writer?.finish()
            if let tallies = orderReader?.tallies {
                refunds.withLock { all in
                    for name in all.indices { all[name].add(tallies[name]) }
                }
            }
            let (rows, refused, lost, rejected) = (reader.rows, reader.refused, damaged, reader.rejected)
            found.withLock {
                $0 = ($0.rows + rows, $0.refused + refused, $0.damaged + lost, $0.rejected + rejected)
            }
        }
        var spill = SpillWriter(files)
        try plan.addJoined(to: &spill)
        try spill.finish()
        let sums = found.withLock { $0 }
        (result.rowsScanned, result.refusedConsent, result.damagedBlocks) = (sums.rows, sums.refused, sums.damaged)
        result.rejectedTouches = sums.rejected
        return refunds.withLock { $0 }
    }

    // MARK: walking

    private struct Walked: Sendable {
        /// Of all threads, once they are done.
        var tally = CreditSums(models: LogModel.rules.count)
        var counts: [MarkovChain.Counts]
        var paths: [PathTally]
        var facts: [ConversionTally]
        var touches: Int
        var persons: Int
    }

    private func walk(_ files: SpillFiles, _ journeys: SpillFiles) throws -> Walked {
        let next = Atomic(0)
        let number = Atomic(0)
        let done = Mutex<[Walked]>([])
        let sums = SharedSums(models: plan.ruleModels, rowsMax: plan.request.settings.resultRowsMax)
        let pathsMax = max(
            LogRunSettings.pathsMin, LogRunSettings.threadPathsMax / (workers * max(1, plan.names.count)))
        try share { isOver in
            let mine = number.add(1, ordering: .relaxed).oldValue
            var walk = PersonWalk(
                plan, journeys: JourneyWriter(journeys, number: mine), sums: sums, rowsMax: rowsMax,
                pathsMax: pathsMax, control: control)
            var sorter = LogRecordSorter()
            var room = PartitionRoom()
            while !isOver() {
                let partition = next.add(1, ordering: .relaxed).oldValue
                guard partition < files.count else { break }
                try control.step()
                let bytes = files.size(partition)
                let isLarge = bytes > partitionBytes + partitionBytes / 4
                if isLarge { large.enter(bytes * 2) }
                defer {
                    if isLarge { large.leave(bytes * 2) }
                }
                try self.walk(partition, files, &room, &sorter, &walk)
                if isLarge { room.free() }
            }
            try walk.finish()
            let all = Walked(
                counts: walk.counts, paths: walk.paths, facts: walk.facts, touches: walk.touches,
                persons: walk.persons)
            done.withLock { $0.append(all) }
        }
        var all = done.withLock { all in
            defer { all = [] }
            return all
        }
        guard var sum = all.popLast() else { throw LogAttributionError.cancelled }
        sum.tally = sums.total
        while let other = all.popLast() {
            for index in sum.counts.indices { sum.counts[index].add(other.counts[index]) }
            for index in sum.paths.indices { sum.paths[index].add(other.paths[index]) }
            for index in sum.facts.indices { sum.facts[index].add(other.facts[index]) }
            sum.touches += other.touches
            sum.persons += other.persons
        }
        return sum
    }

    /// Sorts the records of one file and looks at its persons.
    private func walk(
        _ partition: Int, _ files: SpillFiles, _ room: inout PartitionRoom, _ sorter: inout LogRecordSorter,
        _ walk: inout PersonWalk
    ) throws(LogAttributionError) {
        let count = try room.load(files, partition, bytesMax: plan.request.settings.partitionBytesMax)
        files.drop(partition)
        guard count > 0 else { return }
        let records = UnsafeMutableBufferPointer(start: room.records, count: count)
        sorter.sort(
            records, scratch: UnsafeMutableBufferPointer(start: room.scratch, count: count), skipBits: files.bits)
        var (start, checked) = (0, 0)
        while start < count {
            if start - checked > Self.controlEach {
                try control.check()
                checked = start
            }
            var end = start + 1
            while end < count, records[end].person == records[start].person { end += 1 }
            try walk.walk(UnsafeBufferPointer(rebasing: records[start..<end]))
            start = end
        }
    }

    // MARK: dividing

    /// - Returns: the sums of the fitted models.
    private func divide(
        _ journeys: SpillFiles, _ fits: [ConversionFits], _ walked: inout Walked
    ) throws -> CreditSums {
        let next = Atomic(0)
        let done = Mutex<[[ConversionTally]]>([])
        let sums = SharedSums(models: LogModel.fitted.count, rowsMax: plan.request.settings.resultRowsMax)
        try share { isOver in
            var split = FittedSplit(fits, sums: sums, rowsMax: rowsMax)
            var met = 0
            while !isOver() {
                let number = next.add(1, ordering: .relaxed).oldValue
                guard number < journeys.count else { break }
                try control.step()
                try JourneyWriter.read(journeys, number: number) { name, currency, day, minor, returned, labels in
                    met += 1
                    if met % Self.controlEach == 0 { try control.check() }
                    try split.add(name, currency, day, minor, returned, labels)
                }
            }
            try split.finish()
            let facts = split.facts
            done.withLock { $0.append(facts) }
        }
        for facts in done.withLock({ $0 }) {
            for index in facts.indices { walked.facts[index].add(facts[index]) }
        }
        return sums.total
    }

    // MARK: answer

    private func collect(
        _ walked: Walked, _ divided: CreditSums, _ fits: [ConversionFits], _ result: inout LogRunResult
    ) {
        (result.touches, result.persons) = (walked.touches, walked.persons)
        result.notes = fits.flatMap(\.notes) + unweighed(walked.facts) + notes(damaged: result.damagedBlocks)
        let table = LogCreditTable(plan, rules: walked.tally, fitted: divided, fits: fits)
        for (index, name) in plan.names.enumerated() {
            let facts = walked.facts[index]
            var found = LogConversionResult(name: name)
            (found.conversions, found.organic, found.truncated) = (facts.conversions, facts.organic, facts.truncated)
            (found.repeated, found.nulls, found.touches) = (facts.repeated, facts.nulls, facts.touches)
            (found.flat, found.fits) = (facts.flat, fits[index].fits)
            found.paths = walked.paths[index].top(Self.pathsKept).map { LogPath(path: $0.path, conversions: $0.count) }
            found.rows = LogCreditRows(table, name: index)
            if plan.refunds.contains(where: { $0.name == index }) { found.refunds = facts.refunds }
            result.results.append(found)
        }
    }

    private func unweighed(_ facts: [ConversionTally]) -> [String] {
        plan.names.indices.filter { plan.isWeighed($0) && facts[$0].unweighed > 0 }.map { name in
            "custom of \(plan.names[name]) leaves out \(facts[name].unweighed) conversions: the versions that they go "
                + "by have no weights."
        }
    }

    private func notes(damaged: Int) -> [String] {
        var notes: [String] = []
        if plan.campaigns.isFull {
            notes.append(
                "More than \(TouchLabel.campaignsMax) campaigns were met; the rest stand under "
                    + "\(LabelTable.otherText).")
        }
        let apps = plan.appsOfClients
        if !apps.isEmpty {
            notes.append(
                "Sessions of \(apps.prefix(5).joined(separator: ", "))\(apps.count > 5 ? " and others" : "") are the "
                    + "sender's elsewhere; visits here end by the app's gap.")
        }
        if plan.request.joined.count >= JoinedTouch.max {
            notes.append("Only the touches of the newest \(JoinedTouch.max) matched installs were joined to journeys.")
        }
        if plan.request.rejected.isCut {
            notes.append("More than \(RejectedTouches.most) touches are rejected as fraud; older ones are credited.")
        }
        if damaged > 0 { notes.append("\(damaged) damaged blocks of the log could not be read.") }
        return notes
    }

    /// Runs `work` on every worker, this thread among them; the first error ends all.
    func share(_ work: @Sendable (_ isOver: () -> Bool) throws -> Void) throws {
        try LogWorkers.share(workers, work)
    }
}

/// Threads that do the same work beside each other.
enum LogWorkers {
    /// Runs `work` on so many threads, this one among them; the first error ends all.
    static func share(_ count: Int, _ work: @Sendable (_ isOver: () -> Bool) throws -> Void) throws {
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

/// Memory for one partition and for sorting it: grows to the largest. One a thread.
struct PartitionRoom: ~Copyable {
    private(set) var records: UnsafeMutablePointer<LogRecord>
    private(set) var scratch: UnsafeMutablePointer<LogRecord>
    private var capacity = 0

    init() {
        (records, scratch) = (.allocate(capacity: 1), .allocate(capacity: 1))
    }

    deinit {
        records.deallocate()
        scratch.deallocate()
    }

    /// Gives the memory back.
    mutating func free() {
        records.deallocate()
        scratch.deallocate()
        (records, scratch) = (.allocate(capacity: 1), .allocate(capacity: 1))
        capacity = 0
    }

    /// - Returns: records that it holds now.
    mutating func load(_ files: SpillFiles, _ number: Int, bytesMax: Int) throws(LogAttributionError) -> Int {
        let bytes = files.size(number)
        guard bytes <= bytesMax else {
            throw .tooLarge(
                "The events of few persons take \(bytes) bytes, more than the \(bytesMax) of one sorting; "
                    + "take a shorter range.")
        }
        let count = bytes / MemoryLayout<LogRecord>.stride
        if count > capacity {
            records.deallocate()
            scratch.deallocate()
            (records, scratch) = (.allocate(capacity: count), .allocate(capacity: count))
            let empty = LogRecord(person: 0, time: 0, id: 0, kind: 0)
            records.initialize(repeating: empty, count: count)
            scratch.initialize(repeating: empty, count: count)
            capacity = count
        }
        try files.read(number, at: 0, into: UnsafeMutableRawBufferPointer(start: records, count: bytes))
        return count
    }
}

/// Memory for what one thread's share does not hold. Who wants more than there is waits until nobody else is inside.
final class SortingRoom: Sendable {
    private let bytes: Int
    private let condition = NSCondition()
    private let inUse = Mutex(0)

    init(bytes: Int) { self.bytes = bytes }

    func enter(_ count: Int) {
        condition.lock()
        defer { condition.unlock() }
        while !take(count) { condition.wait() }
    }

    func leave(_ count: Int) {
        condition.lock()
        defer { condition.unlock() }
        inUse.withLock { $0 -= count }
        condition.broadcast()
    }

    private func take(_ count: Int) -> Bool {
        inUse.withLock { inUse in
            guard inUse == 0 || inUse + count <= bytes else { return false }
            inUse += count
            return true
        }
    }
}
