package import AurumCore
internal import Foundation
internal import Logging
internal import Synchronization

/// What may be asked of the log's upkeep.
package struct UpkeepSettings: Sendable, Equatable {
    /// Bytes of all segments and archives beyond which the oldest leave; 0 for no bound.
    package var logBytesMax = 0
    /// Bytes of the files that one archive takes the place of, at most.
    package var archiveBytesMax = 1 << 30
    /// Sealed segments of the current day that are worth an archive.
    package var segmentsMin = 8
    /// Blocks of few rows each that are worth an archive, in however few segments.
    package var crumbsMin = 500
    /// Seconds between two looks at what is to be done.
    package var intervalSeconds = 300
    /// Share of one core that is used while events come in, in percent.
    package var busyPercent = 25
    /// Rows of a block of an archive.
    package var blockRowsMax = 32_768
    /// Rows of an app in an archive from which on it has blocks of its own.
    package var ownBlockRows = 512
    /// Bytes of rows that wait for their block.
    package var bufferBytesMax = 16 << 20
    /// Bytes of texts that the blocks of an archive share.
    package var dictionaryBytesMax = 12 << 20
    /// Rows of earlier archives of its day that one archive is held against, the newest first.
    package var earlierRowsMax = 100_000_000

    package init() {}

    /// Name and value of every bound, in the order of declaration.
    package var rows: [(name: String, value: Int)] {
        [
            ("events.logBytesMax", logBytesMax), ("events.archiveBytesMax", archiveBytesMax),
            ("events.archiveSegmentsMin", segmentsMin), ("events.upkeepIntervalSeconds", intervalSeconds),
            ("events.upkeepBusyPercent", busyPercent), ("events.archiveBlockRowsMax", blockRowsMax),
            ("events.archiveOwnBlockRows", ownBlockRows), ("events.archiveBufferBytesMax", bufferBytesMax),
            ("events.archiveDictionaryBytesMax", dictionaryBytesMax), ("events.archiveCrumbsMin", crumbsMin),
            ("events.archiveEarlierRowsMax", earlierRowsMax),
        ]
    }
}

/// Why upkeep did not do what was asked.
package enum UpkeepError: Error, Equatable, Sendable {
    /// Another run is not over.
    case running
    /// The log is closing.
    case stopped
    case storage(LogStorageError)
    /// What was written does not hold what was read; nothing was replaced.
    case mismatch

    package var sentence: String {
        switch self {
        case .running: "The log is being compacted already."
        case .stopped: "The log is closing."
        case .storage(let error): error.sentence
        case .mismatch: "An archive did not hold what it was made of; nothing was replaced."
        }
    }
}

/// Keeps the log in order behind capture: writes sealed segments again as archives, takes out what has expired, was
/// erased or came twice, and removes what is beyond the bound of bytes. One run at a time, on a thread of its own.
///
/// A run changes the log by renaming one manifest, after everything new is durable and before anything old goes: a
/// stop at any instruction leaves the state before or the state after.
package final class LogUpkeep: Sendable {
    struct State: Sendable {
        var manifest: LogManifest
        var ledger: ErasureLedger
        var isRunning = false
        /// The disk failed between old and new: no more is changed until the log is opened again.
        var hasFailed = false
        /// Segments, archived ones included, that could not be read: they stay as they are.
        var unreadable: Set<UInt32> = []
        /// Files that were damaged when the log was last open, until the first run has looked at them.
        var recheck: [ClosedRange<UInt32>] = []
        /// Rows taken out for erasures, by organisation, since each was asked for.
        var erasedRows: [Int64: Int] = [:]
        var lastRun: Timestamp?
        var lastTally = RewriteTally()
    }

    let storage: any LogStorage
    let views: LogViews
    let visibility: LogVisibility
    let secret: InstallationSecret
    let clock: any WallClock
    let settings: UpkeepSettings
    let freeBytesMin: Int
    let logger: Logger
    let meters: UpkeepMeters
    let state: Mutex<State>
    /// The last segment that no start reads in the order of the log any more.
    private let lastReplayed: @Sendable () -> UInt32
    private let isStopped = Atomic(false)
    private let wakes = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)
    private let hasThread = Atomic(false)

    init(
        storage: any LogStorage, views: LogViews, visibility: LogVisibility, secret: InstallationSecret,
        clock: any WallClock, settings: UpkeepSettings, freeBytesMin: Int, manifest: LogManifest,
        ledger: ErasureLedger, meters: UpkeepMeters, logger: Logger,
        lastReplayed: @escaping @Sendable () -> UInt32
    ) {
        (self.storage, self.views, self.visibility, self.secret) = (storage, views, visibility, secret)
        (self.clock, self.settings, self.freeBytesMin) = (clock, settings, freeBytesMin)
        (self.meters, self.logger, self.lastReplayed) = (meters, logger, lastReplayed)
        var first = State(manifest: manifest, ledger: ledger)
        first.recheck = manifest.unreadable
        for range in manifest.unreadable { first.unreadable.formUnion(range) }
        state = Mutex(first)
    }

    /// The last segment that may be rewritten now.
    var lastRewritable: UInt32 { min((views.directory.segments.last?.number ?? 1) - 1, lastReplayed()) }

    // MARK: in the background

    /// Starts looking from time to time for what is to be done.
    func start() {
        hasThread.store(true, ordering: .relaxed)
        let thread = Thread { [self] in
            UpkeepPace.lowerPriority()
            while !isStopped.load(ordering: .relaxed) {
                _ = wakes.wait(timeout: .now() + .seconds(settings.intervalSeconds))
                guard !isStopped.load(ordering: .relaxed) else { break }
                do throws(UpkeepError) {
                    _ = try run()
                } catch {
                    guard error != .stopped, error != .running else { continue }
                    logger.error(
                        "the log was not compacted: \(error.sentence)", metadata: ["code": "log_upkeep_failed"])
                }
            }
            ended.signal()
        }
        thread.name = "log-upkeep"
        thread.stackSize = 1 << 20
        thread.start()
    }

    /// Ends the thread; a run that is under way stops after its block and leaves the log as it was.
    func stop() {
        isStopped.store(true, ordering: .relaxed)
        guard hasThread.exchange(false, ordering: .relaxed) else { return }
        wakes.signal()
        ended.wait()
    }

    /// Looks at once.
    func wake() { wakes.signal() }

    // MARK: a run

    /// Does what is to be done. Blocks.
    ///
    /// - Parameters:
    ///   - all: also archives every sealed segment, however few there are and whatever the day.
    ///   - isPaced: leaves most of the core to others while events come in.
    @discardableResult
    package func run(all: Bool = false, isPaced: Bool = true) throws(UpkeepError) -> RewriteTally {
        try begin()
        let began = ContinuousClock.now
        var tally = RewriteTally()
        let pace = UpkeepPace(
            busyPercent: isPaced ? settings.busyPercent : 100,
            isStopped: { [self] in isStopped.load(ordering: .relaxed) },
            bytes: { [self] in views.directory.byteCount })
        // One step that fails does not keep the others from their work: a disk that is too full to rewrite on is the
        // very one that the bound of bytes has to help.
        let steps: [(inout RewriteTally) throws -> Void] = [
            { _ in try self.recheckDamaged(pace) }, { try self.removeExpired(&$0) },
            { try self.compact(all: all, pace, &$0) }, { try self.renewArchives(pace, &$0) },
            { try self.removeBeyondBound(&$0) }, { _ in try self.finishErasures() },
        ]
        var failure: UpkeepError?
        for step in steps where !isStopped.load(ordering: .relaxed) && !state.withLock({ $0.hasFailed }) {
            do { try step(&tally) } catch { failure = failure ?? Self.reason(error) }
        }
        if isStopped.load(ordering: .relaxed) { failure = failure ?? .stopped }
        let (moment, done) = (clock.now, tally)
        state.withLock { state in
            state.isRunning = false
            state.lastRun = moment
            state.lastTally = done
        }
        report(tally, within: ContinuousClock.now - began)
        if let failure { throw failure }
        return tally
    }

    /// The same away from the threads that serve requests.
    package func runAside(all: Bool) async throws -> RewriteTally {
        try await BlockingWork.value { [self] in try run(all: all) }
    }

    private static func reason(_ error: any Error) -> UpkeepError {
        switch error {
        case let error as UpkeepError: error
        case let error as LogStorageError: .storage(error)
        default: .mismatch
        }
    }

    private func begin() throws(UpkeepError) {
        guard !isStopped.load(ordering: .relaxed) else { throw .stopped }
        let refusal: UpkeepError? = state.withLock { state in
            if state.isRunning { return .running }
            if state.hasFailed { return .storage(.failed(operation: "be changed after a failure", code: 5)) }
            state.isRunning = true
            return nil
        }
        if let refusal { throw refusal }
    }

    private func report(_ tally: RewriteTally, within duration: Duration) {
        let (archives, segments) = views.directory.snapshot
        let last = lastRewritable
        let backlog = segments.filter { $0.number <= last }.reduce(0) { $0 + $1.durableBytes }
        meters.report(
            tally, archives: archives.count, segments: segments.count, backlog: backlog,
            erasures: state.withLock { $0.ledger.pending.count }, duration: duration)
        let disk = try? (free: storage.freeBytes(), total: storage.totalBytes())
        meters.reportDisk(disk, used: views.directory.byteCount)
        guard tally.files > 0 else { return }
        logger.info(
            "the log was compacted",
            metadata: [
                "code": "log_compacted", "files": "\(tally.files)", "rows": "\(tally.rowsRead)",
                "bytes_before": "\(tally.bytesBefore)", "bytes_after": "\(tally.bytesAfter)",
                "expired": "\(tally.expired)", "erased": "\(tally.erased)", "duplicates": "\(tally.duplicates)",
                "seconds": "\(duration.seconds)",
            ])
    }

    // MARK: state

    /// What the log consists of, and what the last run did, for the API.
    package var status: JSONValue {
        let (archives, segments) = views.directory.snapshot
        let (isRunning, lastRun, tally, pending) = state.withLock {
            ($0.isRunning, $0.lastRun, $0.lastTally, $0.ledger.pending.count)
        }
        let last = lastRewritable
        let backlog = segments.filter { $0.number <= last }
        return [
            "running": .bool(isRunning), "archives": .integer(Int64(archives.count)),
            "segments": .integer(Int64(segments.count)),
            "archive_bytes": .integer(Int64(archives.reduce(0) { $0 + $1.entry.bytes })),
            "segment_bytes": .integer(Int64(segments.reduce(0) { $0 + $1.durableBytes })),
            "backlog_segments": .integer(Int64(backlog.count)),
            "backlog_bytes": .integer(Int64(backlog.reduce(0) { $0 + $1.durableBytes })),
            "log_bytes_max": .integer(Int64(settings.logBytesMax)),
            "erasures_pending": .integer(Int64(pending)),
            "last_run_at": lastRun.map { .string($0.rfc3339) } ?? .null, "last_run": tally.json,
        ]
    }
}

extension RewriteTally {
    /// In answers.
    package var json: JSONValue {
        [
            "files": .integer(Int64(files)), "rows_read": .integer(Int64(rowsRead)),
            "rows_written": .integer(Int64(rowsWritten)), "bytes_before": .integer(Int64(bytesBefore)),
            "bytes_after": .integer(Int64(bytesAfter)), "expired": .integer(Int64(expired)),
            "erased": .integer(Int64(erased)), "quarantine_over": .integer(Int64(quarantineOver)),
            "duplicates": .integer(Int64(duplicates)),
        ]
    }
}
