internal import Dispatch
internal import Synchronization

/// The part of the index that touches the disk: writes runs, merges them, keeps the manifest. Works on two threads of
/// its
/// own, so that the writer of the log never waits for a merge, and hands results back when the writer asks.
final class DeduplicationStore: Sendable {
    /// What the background has done.
    enum Outcome: Sendable {
        /// With a filter for the next generation, when one was asked for.
        case flushed(IdentifierRun, next: IdentifierFilter?)
        /// The volume is full; the keys stay in memory.
        case flushRefused
        case merged(generation: UInt32, replaced: [UInt32], run: IdentifierRun)
        case mergeRefused(generation: UInt32)
        case failed(DeduplicationError)
    }

    /// Keys that are being written; nobody changes them meanwhile.
    struct Frozen: @unchecked Sendable {  // the index owns the table and only reads it until its run is handed back
        let table: IdentifierTable
        let latest: Int64
        let through: LogPoint
    }

    let storage: any LogStorage
    let identity: UInt64
    private let manifest: Mutex<DeduplicationManifest>
    private let outcomes = Mutex<[Outcome]>([])
    private let trash = Mutex<[IdentifierRun]>([])
    private let hasOutcomes = Atomic<Bool>(false)
    private let isStopping = Atomic<Bool>(false)
    private let workingBytes = Atomic<Int>(0)
    private let flushed = DispatchSemaphore(value: 0)
    private let flushLane = DispatchQueue(label: "dedup-flush")
    private let mergeLane = DispatchQueue(label: "dedup-merge", qos: .utility)

    init(_ storage: any LogStorage, manifest: DeduplicationManifest) {
        self.storage = storage
        identity = manifest.identity
        self.manifest = Mutex(manifest)
    }

    // MARK: the writer's side

    /// Memory that background work holds at the moment.
    var bytesAtWork: Int { workingBytes.load(ordering: .relaxed) }

    func takeOutcomes() -> [Outcome] {
        guard hasOutcomes.exchange(false, ordering: .acquiring) else { return [] }
        return outcomes.withLock { list in
            defer { list = [] }
            return list
        }
    }

    private func post(_ outcome: Outcome) {
        outcomes.withLock { $0.append(outcome) }
        hasOutcomes.store(true, ordering: .releasing)
    }

    /// Writes the keys as a run of the generation, lists it, and posts it.
    /// - Parameter nextBlocks: size of a filter to get ready meanwhile: fetching that much memory takes long.
    func flush(_ frozen: Frozen, generation: UInt32, capacity: Int, nextBlocks: Int?) {
        flushLane.async { [self] in
            var outcome = write(frozen, generation: generation, capacity: capacity)
            if case .flushed(let run, _) = outcome, let nextBlocks {
                outcome = .flushed(run, next: IdentifierFilter(blockCount: nextBlocks))
            }
            post(outcome)
            flushed.signal()
        }
    }

    /// Blocks until a flush that was asked for has ended.
    func waitForFlush() { flushed.wait() }

    func merge(_ runs: [IdentifierRun], filter: IdentifierFilter?, generation: UInt32) {
        mergeLane.async { [self] in
            guard let outcome = merged(runs, filter: filter, generation: generation) else { return }
            post(outcome)
        }
    }

    /// Strikes a generation off and removes its files.
    func evict(_ generation: UInt32, windowStart: Int64) {
        mergeLane.async { [self] in
            do throws(LogStorageError) {
                let gone = try update { manifest -> [UInt32] in
                    manifest.windowStart = max(manifest.windowStart, windowStart)
                    let gone = manifest.generations.filter { $0.number == generation }.flatMap(\.runs).map(\.number)
                    manifest.generations.removeAll { $0.number == generation }
                    return gone
                }
                remove(gone)
            } catch {
                // The files stay until the next opening; their ids are remembered a little longer.
            }
        }
    }

    /// Takes runs over from the writer's thread, so that their last reference goes away elsewhere: freeing a large file
    /// takes time. The caller holds none any more when it calls `emptyTrash`.
    func discard(_ runs: some Sequence<IdentifierRun>) { trash.withLock { $0.append(contentsOf: runs) } }

    func emptyTrash() {
        flushLane.async { [self] in
            let runs = trash.withLock { list in
                defer { list = [] }
                return list
            }
            withExtendedLifetime(runs) {}
        }
    }

    /// Reads and checks every hash on disk once, which also brings the files into the page cache.
    func check(_ runs: [IdentifierRun]) {
        guard !runs.isEmpty else { return }
        mergeLane.async { [self] in
            for run in runs {
                do throws(DeduplicationError) {
                    let cursor = RunCursor(run)
                    for slice in 1...UInt64(256) {
                        if isStopping.load(ordering: .relaxed) { return }
                        try cursor.drain(through: slice == 256 ? .max : slice << 56) { _, _ in }
                    }
                } catch {
                    report(error)
                }
            }
        }
    }

    /// Waits until everything that was asked for so far is done.
    func drain() {
        flushLane.sync {}
        mergeLane.sync {}
    }

    /// Cancels merges, lets a flush end, and waits for both.
    func stop() {
        isStopping.store(true, ordering: .relaxed)
        drain()
    }

    // MARK: the manifest

    private func update<Value: Sendable>(
        _ change: (inout DeduplicationManifest) -> Value
    ) throws(LogStorageError) -> Value {
        let result: Result<Value, LogStorageError> = manifest.withLock { manifest in
            var next = manifest
            let value = change(&next)
            next.sequence += 1
            do throws(LogStorageError) {
                try next.write(storage)
                manifest = next
                return .success(value)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func nextRun() -> UInt32 {
        manifest.withLock { manifest in
            manifest.nextRun += 1
            return manifest.nextRun - 1
        }
    }

    func nextGeneration() -> UInt32 {
        manifest.withLock { manifest in
            manifest.nextGeneration += 1
            return manifest.nextGeneration - 1
        }
    }

    /// The next manifest, and so the first that lists anything newer, says since when everything is remembered.
    func forget(before windowStart: Int64) {
        manifest.withLock { $0.windowStart = max($0.windowStart, windowStart) }
    }

    /// Strikes off the run of that name and all newer ones: the next opening asks the log for their ids.
    func report(_ error: DeduplicationError) {
        if case .damaged(let name) = error, let number = RunFormat.number(name) {
            _ = try? update { $0.cut(before: number) }
        }
        post(.failed(error))
    }

    private func remove(_ runs: [UInt32]) {
        // What cannot be removed now is removed at the next opening, because nothing lists it.
        for run in runs { try? storage.remove(RunFormat.name(run)) }
    }

    // MARK: background work

    private func write(_ frozen: Frozen, generation: UInt32, capacity: Int) -> Outcome {
        let number = nextRun()
        let header = RunHeader(
            identity: identity, number: number, level: 0, latest: frozen.latest, through: frozen.through)
        workingBytes.add(RunWriter.workingBytes, ordering: .relaxed)
        defer { workingBytes.subtract(RunWriter.workingBytes, ordering: .relaxed) }
        do throws(LogStorageError) {
            let needed = frozen.table.count * 17 + (1 << 20)
            if try storage.freeBytes() < needed { throw .noSpace }
            var writer = try RunWriter(storage, header: header, keys: frozen.table.count, filter: nil)
            var scan = IdentifierTable.Scan()
            var keys = IdentifierList(capacity: 4096)
            defer { keys.deallocate() }
            repeat {
                keys.removeAll()
                frozen.table.sorted(&scan, into: &keys, atLeast: 2048)
                try writer.append(keys)
            } while keys.count > 0
            let run = try writer.finish()
            let entry = DeduplicationManifest.Run(number: number, crc: run.header.crc)
            try update { manifest in
                if let index = manifest.generations.firstIndex(where: { $0.number == generation }) {
                    manifest.generations[index].runs.append(entry)
                } else {
                    manifest.generations.append(
                        DeduplicationManifest.Generation(
                            number: generation, capacity: UInt64(capacity), runs: [entry]))
                }
            }
            return .flushed(run, next: nil)
        } catch {
            remove([number])
            return error == .noSpace ? .flushRefused : .failed(.storage(error))
        }
    }

    private func merged(_ runs: [IdentifierRun], filter: IdentifierFilter?, generation: UInt32) -> Outcome? {
        let number = nextRun()
        let working = RunMerge.workingBytes(runs.count)
        workingBytes.add(working, ordering: .relaxed)
        defer { workingBytes.subtract(working, ordering: .relaxed) }
        let merge = RunMerge(runs: runs, filter: filter) { [self] in isStopping.load(ordering: .relaxed) }
        do throws(DeduplicationError) {
            guard let run = try merge.write(storage, identity: identity, number: number) else {
                remove([number])
                return nil
            }
            let gone = runs.map(\.number)
            let isListed = try replace(gone, by: run, generation)
            remove(isListed ? gone : [number])
            return isListed ? .merged(generation: generation, replaced: gone, run: run) : nil
        } catch {
            remove([number])
            if case .storage(.noSpace) = error { return .mergeRefused(generation: generation) }
            report(error)
            return nil
        }
    }

    private func replace(
        _ gone: [UInt32], by run: IdentifierRun, _ generation: UInt32
    ) throws(DeduplicationError) -> Bool {
        let entry = DeduplicationManifest.Run(number: run.number, crc: run.header.crc)
        do throws(LogStorageError) {
            return try update { manifest in
                guard let index = manifest.generations.firstIndex(where: { $0.number == generation }),
                    let first = manifest.generations[index].runs.firstIndex(where: { $0.number == gone.first })
                else { return false }
                let range = first..<min(first + gone.count, manifest.generations[index].runs.count)
                guard manifest.generations[index].runs[range].map(\.number) == gone else { return false }
                manifest.generations[index].runs.replaceSubrange(range, with: [entry])
                return true
            }
        } catch {
            throw .storage(error)
        }
    }
}

extension DeduplicationManifest {
    /// Forgets a run and everything newer than it.
    mutating func cut(before number: UInt32) {
        guard let index = generations.firstIndex(where: { $0.runs.contains { $0.number == number } }) else { return }
        let kept = generations[index].runs.prefix { $0.number != number }
        generations[index].runs = Array(kept)
        generations.removeSubrange((kept.isEmpty ? index : index + 1)...)
    }
}
