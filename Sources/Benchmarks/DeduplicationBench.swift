internal import AurumCore
internal import Events
internal import Foundation

/// Fresh ids against the de-duplication index on a real file system: what one costs when the window is full of others.
struct DeduplicationBench {
    private static let batchCount = 8192
    /// Ids in the window when the measuring begins.
    let identifiers: Int
    let seed: UInt64

    /// What the index did for a stretch of fresh ids.
    private struct Stretch {
        /// CPU time of the whole process, keys not counted: the background's work is in it.
        var cpu = 0.0
        /// Time that the writer's thread was held.
        var wall = 0.0
        var slowest = 0.0
        var count = 0
        var known = 0
        /// The most memory that the process held.
        var resident = 0
    }

    private struct WrongAnswer: Error { let known: Int }

    func rows() throws -> [BenchRow] {
        let before = ProcessMemory.residentBytes
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("aurum-dedup-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let storage = try PosixLogStorage(folder: folder.path)
        let index = try DeduplicationIndex.open(
            storage: storage, identity: seed, limits: DeduplicationLimits(identifiersMax: identifiers), logEnd: nil
        ).index
        var random = SeededRandom(seed: seed)
        var point = LogPoint(segment: 1, offset: 0)
        let filling = try run(index, identifiers, &random, &point)
        // Long enough that a generation is closed, merged and forgotten meanwhile.
        let measured = try run(index, max(Self.batchCount, identifiers / 4), &random, &point)
        let n = measured.count
        guard measured.known == 0 else { throw WrongAnswer(known: measured.known) }
        try index.drain()
        let held = Double(index.count)
        let bytes = (memory: Double(index.memoryBytes), disk: Double(index.diskBytes))
        let checks = Double(index.diskChecks) / Double(n + identifiers)
        index.close()
        // A handful of ids measures pages and file systems, not what an id takes.
        let tooFew = identifiers < 200_000 ? "fewer than 200,000 ids" : nil
        return [
            BenchRow(
                name: "events.deduplicate", value: measured.cpu / Double(n) * 1e9, unit: "ns/event", bar: 250, n: n,
                note: "fresh ids with \(identifiers) in the window, CPU time of all threads", notJudged: tooFew),
            BenchRow(
                name: "events.deduplicate.filling", value: filling.cpu / Double(filling.count) * 1e9, unit: "ns/event",
                n: filling.count, note: "fresh ids from an empty to a full window, CPU time of all threads"),
            BenchRow(name: "events.deduplicate.writer", value: measured.wall / Double(n) * 1e9, unit: "ns/event", n: n),
            BenchRow(name: "events.deduplicate.batch_max", value: measured.slowest * 1e3, unit: "ms/8192", n: n),
            BenchRow(
                name: "events.deduplicate.disk_checks", value: max(0.001, checks * 1000), unit: "per 1000 ids", n: n),
            BenchRow(
                name: "events.deduplicate.memory", value: max(0.001, Double(measured.resident - before) / 1048576),
                unit: "MB", bar: (held * 1.25) / 1048576 + 32, n: index.count,
                note: "resident memory of this process, the bar is 1.25 bytes an id and 32 MB", notJudged: tooFew),
            BenchRow(
                name: "events.deduplicate.memory_accounted", value: bytes.memory / 1048576, unit: "MB", n: index.count),
            BenchRow(
                name: "events.deduplicate.disk", value: bytes.disk / held, unit: "bytes/id", bar: 20, n: index.count,
                notJudged: tooFew),
        ]
    }

    private func run(
        _ index: DeduplicationIndex, _ total: Int, _ random: inout SeededRandom, _ point: inout LogPoint
    ) throws -> Stretch {
        var stretch = Stretch()
        let keys = UnsafeMutablePointer<DeduplicationIndex.Key>.allocate(capacity: Self.batchCount)
        let verdicts = UnsafeMutablePointer<Bool>.allocate(capacity: Self.batchCount)
        defer {
            keys.deallocate()
            verdicts.deallocate()
        }
        var generating = 0.0
        let began = Self.seconds(CLOCK_PROCESS_CPUTIME_ID)
        while stretch.count < total {
            let start = Self.seconds(CLOCK_THREAD_CPUTIME_ID)
            for place in 0..<Self.batchCount { keys[place] = (random.next(), random.next()) }
            generating += Self.seconds(CLOCK_THREAD_CPUTIME_ID) - start
            let call = Self.seconds(CLOCK_MONOTONIC)
            try index.settle(
                keys: keys, count: Self.batchCount, receivedAt: Int64(point.offset), at: point, isNew: verdicts)
            point.offset += 1
            index.durable(through: point)
            let held = Self.seconds(CLOCK_MONOTONIC) - call
            stretch.wall += held
            stretch.slowest = max(stretch.slowest, held)
            for place in 0..<Self.batchCount where !verdicts[place] { stretch.known += 1 }
            stretch.count += Self.batchCount
            if stretch.count / Self.batchCount % 32 == 0 {
                stretch.resident = max(stretch.resident, ProcessMemory.residentBytes)
            }
        }
        stretch.resident = max(stretch.resident, ProcessMemory.residentBytes)
        stretch.cpu = Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - began - generating
        return stretch
    }

    private static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
