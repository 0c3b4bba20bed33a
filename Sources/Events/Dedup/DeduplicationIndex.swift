/// The ids of accepted events inside the de-duplication window: exact, bounded, on disk.
///
/// The newest ids are in a table in memory. A full table is frozen and written in the background as a sorted file, a
/// run; the runs of a generation share one filter in memory, and when a generation is full its runs become one. An id
/// is
/// new when the tables do not hold it and every run whose filter seems to know it was asked on disk. The oldest
/// generation leaves as a whole, once everything newer fills the window or all of it is too old; so what is remembered
/// is always the newest `count` ids that were accepted.
///
/// Confined to the writer's thread. It never answers "new" for an id of the window: when a disk fails or a file is
/// damaged it throws, and goes on throwing. Everything it keeps can be rebuilt from the log.
package final class DeduplicationIndex {
    package typealias Key = (UInt64, UInt64)

    /// A stretch of time with one filter. Its runs are oldest first.
    final class Generation {
        let number: UInt32
        let capacity: Int
        let filter: IdentifierFilter
        var runs: [IdentifierRun] = []
        var count = 0
        var latest = Int64.min
        var isMerging = false

        init(number: UInt32, capacity: Int, filter: IdentifierFilter) {
            self.number = number
            self.capacity = capacity
            self.filter = filter
        }

        /// One file with its filter: nothing more is to be done.
        var isFinished: Bool { runs.count == 1 && runs[0].hasFilter }

        /// The newest runs of one level, when there are enough of them to become one of the next.
        func alikeRuns(_ enough: Int) -> [IdentifierRun]? {
            guard let level = runs.last?.header.level else { return nil }
            let alike = runs.reversed().prefix { $0.header.level == level }
            return alike.count >= enough ? Array(alike.reversed()) : nil
        }
    }

    /// What is being written, and whether that was asked for already.
    private struct Pending {
        var frozen: DeduplicationStore.Frozen
        var generation: UInt32 = 0
        var nextCapacity = 0
        var isSubmitted = false
        /// Whether the volume was full when it was tried last.
        var isRefused = false
    }

    /// Keys that are looked up together: their cache lines are fetched at the same time.
    private static let groupKeys = 16
    /// More than this many generations would not fit the bits of one word.
    private static let generationsMax = 60
    let limits: DeduplicationLimits
    let store: DeduplicationStore
    private var active = IdentifierTable()
    private var activeLatest = Int64.min
    private var pending: Pending?
    private var spare: IdentifierTable?
    /// Oldest first; only the last may take more runs.
    private(set) var generations: [Generation] = []
    private var probes: [IdentifierFilter.Probe] = []
    /// For the next generation, made ready while the last run of this one was written.
    private var prepared: (capacity: Int, filter: IdentifierFilter)?
    private var failure: DeduplicationError?
    private var durablePoint = LogPoint.start
    private var lastPoint = LogPoint.start
    private var clock: TrustedClock
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: RunFormat.blockBytes, alignment: 64)
    private let candidates = UnsafeMutablePointer<UInt64>.allocate(capacity: groupKeys)

    /// Microseconds of receive time from which on every accepted id is certainly remembered; `.min` while nothing was
    /// ever forgotten.
    package private(set) var windowStart: Int64
    /// Times that a run was asked on disk, and how many of them found the id.
    package private(set) var diskChecks = 0
    package private(set) var diskHits = 0

    init(
        store: DeduplicationStore, limits: DeduplicationLimits, generations: [Generation], windowStart: Int64,
        clock: TrustedClock = TrustedClock()
    ) {
        self.clock = clock
        self.store = store
        self.limits = limits
        self.generations = generations
        self.windowStart = windowStart
        for generation in generations { self.clock.remember(generation.latest) }
        refreshProbes()
        for generation in generations { continueMerging(generation) }
        if limits.checksAtOpen { store.check(generations.flatMap(\.runs).filter(\.hasFilter)) }
    }

    deinit {
        // Nothing reads the tables behind this.
        store.stop()
        active.deallocate()
        spare?.deallocate()
        pending?.frozen.table.deallocate()
        scratch.deallocate()
        candidates.deallocate()
    }

    // MARK: figures

    /// Ids remembered: the newest ones that were accepted.
    package var count: Int { generations.reduce(active.count + (pending?.frozen.table.count ?? 0)) { $0 + $1.count } }

    /// Bytes of memory that grow with use: tables, filters, directories, work in the background.
    package var memoryBytes: Int {
        let tables =
            active.byteCount + (pending?.frozen.table.byteCount ?? 0) + (spare?.byteCount ?? 0)
            + (prepared?.filter.memory.byteCount ?? 0)
        return generations.reduce(tables + store.bytesAtWork) { sum, generation in
            sum + generation.filter.memory.byteCount + generation.runs.reduce(0) { $0 + $1.memoryBytes }
        }
    }

    package var diskBytes: Int { generations.flatMap(\.runs).reduce(0) { $0 + $1.header.fileBytes } }
    package var runCount: Int { generations.reduce(0) { $0 + $1.runs.count } }
    package var generationCount: Int { generations.count }

    // MARK: the one entry point

    /// Decides for each key whether it is new, in order, so that the first copy of a batch wins; remembers the new
    /// ones.
    ///
    /// The ids must come into the log at `point` or behind it, and everything settled before must stand before `point`.
    /// After an error the index must be opened anew.
    /// - Parameters:
    ///   - keys: keyed hashes, none of them (0, 0).
    ///   - receivedAt: the latest receive time of the batch, microseconds; `.min` where it does not tell the time.
    ///   - isNew: room for `count` verdicts.
    package func settle(
        keys: UnsafePointer<Key>, count: Int, receivedAt: Int64, at point: LogPoint,
        isNew: UnsafeMutablePointer<Bool>
    ) throws(DeduplicationError) {
        if receivedAt > .min { clock.read(receivedAt) }
        lastPoint = max(lastPoint, point)
        try makeRoom(point)
        guard count > 0 else { return }
        activeLatest = max(activeLatest, clock.latest)
        do throws(DeduplicationError) {
            try settleAll(keys, count, isNew, &active, pending?.frozen.table.view)
        } catch {
            throw fail(error)
        }
    }

    /// Takes accepted ids of the log back at start, before anything is settled.
    ///
    /// They are not looked up: a crash may have brought back a generation that was forgotten already, and an id
    /// that was accepted a second time since belongs to the newest all the same.
    package func remember(
        keys: UnsafePointer<Key>, count: Int, receivedAt: Int64, at point: LogPoint
    ) throws(DeduplicationError) {
        clock.remember(receivedAt)
        lastPoint = max(lastPoint, point)
        try makeRoom(point)
        guard count > 0 else { return }
        activeLatest = max(activeLatest, receivedAt)
        for index in 0..<count { _ = active.insert(keys[index].0, keys[index].1) }
    }

    /// Says that everything before `point` is durable in the log. Only then may its ids reach the disk here, because a
    /// block that a crash takes away must take its ids with it.
    package func durable(through point: LogPoint) {
        durablePoint = max(durablePoint, point)
        submit()
    }

    /// One key, for tests: it counts as durable at once.
    package func insert(_ high: UInt64, _ low: UInt64, receivedAt: Int64 = 0) throws(DeduplicationError) -> Bool {
        var key = (high, low)
        var isNew = false
        try settle(keys: &key, count: 1, receivedAt: receivedAt, at: lastPoint, isNew: &isNew)
        durable(through: lastPoint)
        return isNew
    }

    /// Declares ids received before this as possibly forgotten: the log no longer holds them, or was not read so far
    /// back.
    package func forgets(before receivedAt: Int64) {
        windowStart = max(windowStart, receivedAt)
        store.forget(before: windowStart)
    }

    /// Waits until the background has nothing left to do.
    package func drain() throws(DeduplicationError) {
        repeat {
            store.drain()
            try integrate()
        } while pending?.isSubmitted == true || generations.contains(where: \.isMerging)
    }

    /// Writes what is worth it and ends the background work. The next opening replays less.
    package func close() {
        if failure == nil, pending == nil, active.count >= limits.memoryIdentifiers / 2, durablePoint > lastPoint {
            freeze(durablePoint)
        }
        store.stop()
        failure = failure ?? .storage(.failed(operation: "use the closed de-duplication index", code: 0))
    }

    // MARK: a group of keys

    private func settleAll(
        _ keys: UnsafePointer<Key>, _ count: Int, _ isNew: UnsafeMutablePointer<Bool>, _ active: inout IdentifierTable,
        _ frozen: IdentifierTable.View?
    ) throws(DeduplicationError) {
        var start = 0
        fetch(keys, min(Self.groupKeys, count), active.view, frozen)
        while start < count {
            let group = min(Self.groupKeys, count &- start)
            let next = start &+ group
            if next < count { fetch(keys + next, min(Self.groupKeys, count &- next), active.view, frozen) }
            sift(keys + start, group)
            for index in 0..<group {
                let key = keys[start &+ index]
                let isKnown =
                    if let frozen, frozen.contains(key.0, key.1) {
                        true
                    } else if candidates[index] == 0 || active.view.contains(key.0, key.1) {
                        false
                    } else {
                        try isOnDisk(key, candidates[index])
                    }
                isNew[start &+ index] = !isKnown && active.insert(key.0, key.1)
            }
            start &+= group
        }
    }

    /// Asks memory for everything a group will look at, while the group before it is looked up.
    @inline(__always)
    private func fetch(
        _ keys: UnsafePointer<Key>, _ count: Int, _ active: IdentifierTable.View, _ frozen: IdentifierTable.View?
    ) {
        for index in 0..<count { active.prefetch(keys[index].0) }
        if let frozen {
            for index in 0..<count { frozen.prefetch(keys[index].0) }
        }
        probes.withUnsafeBufferPointer { probes in
            for probe in probes {
                for index in 0..<count { probe.prefetch(keys[index].0) }
            }
        }
    }

    /// For each key the generations whose filter seems to know it, a bit each.
    @inline(__always)
    private func sift(_ keys: UnsafePointer<Key>, _ count: Int) {
        probes.withUnsafeBufferPointer { probes in
            for index in 0..<count {
                let key = keys[index]
                let mask = IdentifierFilter.mask(key.1)
                var found: UInt64 = 0
                for number in 0..<probes.count where probes[number].mayContain(key.0, mask) {
                    found |= 1 &<< UInt64(number)
                }
                candidates[index] = found
            }
        }
    }

    /// Newest generation first: copies mostly follow soon.
    @inline(never)
    private func isOnDisk(_ key: Key, _ candidates: UInt64) throws(DeduplicationError) -> Bool {
        var left = candidates
        while left != 0 {
            let number = 63 - left.leadingZeroBitCount
            left &= ~(1 &<< UInt64(number))
            for run in generations[number].runs.reversed() where !run.certainlyLacks(key.0, key.1) {
                diskChecks &+= 1
                if try run.contains(key.0, key.1, scratch: scratch) {
                    diskHits &+= 1
                    return true
                }
            }
        }
        return false
    }

    // MARK: room

    /// Takes over what the background did, forgets what may be forgotten, and freezes a full table.
    private func makeRoom(_ point: LogPoint) throws(DeduplicationError) {
        if let failure { throw failure }
        try integrate()
        evict()
        guard active.count >= limits.memoryIdentifiers else { return }
        submit()
        // Disk slower than capture: wait here rather than take more memory. A full volume is not waited for.
        while active.count >= limits.memoryIdentifiersMost, let waiting = pending, waiting.isSubmitted,
            !waiting.isRefused
        {
            store.waitForFlush()
            try integrate()
        }
        if pending == nil { freeze(point) }
    }

    /// false while the volume has no space for ids that memory should no longer hold; capture then waits for space.
    /// Tries
    /// again with every call.
    package func hasRoom() throws(DeduplicationError) -> Bool {
        try integrate()
        guard let waiting = pending, waiting.isRefused, active.count >= limits.memoryIdentifiersMost else {
            return true
        }
        submit()
        return false
    }

    /// Whether a table may be kept: one that had to grow while the disk was slow is given back.
    private func isSpare(_ table: IdentifierTable) -> Bool { table.capacity < 2 * limits.memoryIdentifiers }

    private func freeze(_ point: LogPoint) {
        pending = Pending(
            frozen: DeduplicationStore.Frozen(table: active, latest: activeLatest, through: point))
        // The next one fills up like this one, and need not grow as often.
        active = spare ?? (isSpare(active) ? IdentifierTable(capacity: active.capacity, isFilled: true) : .init())
        spare = nil
        activeLatest = .min
        submit()
    }

    /// Has the frozen keys written once their blocks are durable.
    private func submit() {
        guard var waiting = pending, !waiting.isSubmitted, waiting.frozen.through <= durablePoint else { return }
        let generation = openGeneration()
        waiting.generation = generation.number
        waiting.isSubmitted = true
        let isLast = isFull(generation, with: waiting.frozen.table.count)
        waiting.nextCapacity = isLast ? limits.generationIdentifiers(count: count) : 0
        pending = waiting
        store.flush(
            waiting.frozen, generation: generation.number, capacity: generation.capacity,
            nextBlocks: isLast ? limits.filterBlocks(identifiers: waiting.nextCapacity) : nil)
    }

    private func isFull(_ generation: Generation, with more: Int = 0) -> Bool {
        generation.count + more >= generation.capacity - limits.memoryIdentifiers / 2
    }

    private func openGeneration() -> Generation {
        if let last = generations.last, !isFull(last) { return last }
        if generations.count >= Self.generationsMax { evictOldest() }
        let capacity = prepared?.capacity ?? limits.generationIdentifiers(count: count)
        let filter =
            prepared?.filter ?? IdentifierFilter(blockCount: limits.filterBlocks(identifiers: capacity))
        prepared = nil
        let generation = Generation(number: store.nextGeneration(), capacity: capacity, filter: filter)
        generations.append(generation)
        refreshProbes()
        return generation
    }

    private func integrate() throws(DeduplicationError) {
        for outcome in store.takeOutcomes() {
            switch outcome {
            case .flushed(let run, let filter): add(run, next: filter)
            case .flushRefused:
                pending?.isSubmitted = false
                pending?.isRefused = true
            case .merged(let number, let replaced, let run): replace(number, replaced, run)
            case .mergeRefused(let number): generations.first { $0.number == number }?.isMerging = false
            case .failed(let error): failure = error
            }
        }
        if let failure { throw failure }
    }

    /// The frozen keys are on disk: from now on filter and run answer for them.
    private func add(_ run: IdentifierRun, next: IdentifierFilter?) {
        guard let done = pending, let generation = generations.first(where: { $0.number == done.generation }) else {
            return
        }
        done.frozen.table.forEach { generation.filter.insert($0, $1) }
        generation.runs.append(run)
        generation.count += run.count
        generation.latest = max(generation.latest, run.header.latest)
        pending = nil
        prepared = next.map { (done.nextCapacity, $0) }
        if spare == nil, isSpare(done.frozen.table) {
            var table = done.frozen.table
            table.removeAll()
            spare = table
        } else {
            done.frozen.table.deallocate()
        }
        for generation in generations { continueMerging(generation) }
    }

    private func replace(_ number: UInt32, _ replaced: [UInt32], _ run: IdentifierRun) {
        guard let generation = generations.first(where: { $0.number == number }),
            let first = generation.runs.firstIndex(where: { $0.number == replaced.first })
        else { return }
        generation.isMerging = false
        let range = first..<first + replaced.count
        store.discard(generation.runs[range])
        generation.runs.replaceSubrange(range, with: [run])
        store.emptyTrash()
        continueMerging(generation)
    }

    /// A full generation becomes one file; in one that still grows, many files of one size become one.
    private func continueMerging(_ generation: Generation) {
        guard !generation.isMerging, !generation.isFinished, !generation.runs.isEmpty else { return }
        let isOpen = generation === generations.last && !isFull(generation)
        if isOpen {
            guard let runs = generation.alikeRuns(limits.mergedRuns) else { return }
            generation.isMerging = true
            store.merge(runs, filter: nil, generation: generation.number)
        } else if pending?.generation != generation.number || pending?.isSubmitted != true {
            generation.isMerging = true
            store.merge(generation.runs, filter: generation.filter, generation: generation.number)
        }
    }

    // MARK: forgetting

    private func evict() {
        while let oldest = generations.first, oldest.count > 0 {
            if oldest === generations.last, pending?.isSubmitted == true { return }
            let isOld = oldest.latest < clock.now - limits.windowMicroseconds
            guard isOld || count - oldest.count >= limits.identifiersMax else { return }
            evictOldest()
        }
    }

    private func evictOldest() {
        let oldest = generations.removeFirst()
        store.discard(oldest.runs)
        oldest.runs = []
        store.emptyTrash()
        // What was received under a clock that ran ahead was received before now all the same.
        windowStart = max(windowStart, min(oldest.latest, clock.latest) &+ 1)
        refreshProbes()
        store.evict(oldest.number, windowStart: windowStart)
    }

    private func refreshProbes() { probes = generations.map { IdentifierFilter.Probe($0.filter) } }

    private func fail(_ error: DeduplicationError) -> DeduplicationError {
        failure = error
        store.report(error)
        return error
    }
}
