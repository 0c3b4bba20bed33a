package import AurumCore
internal import Foundation
package import Logging
internal import Synchronization
package import Telemetry

/// How capture and the log are set up.
package struct EventsConfiguration: Sendable {
    /// How long the first waiting request waits for company: 0…50 ms.
    package var commitDelay: Duration = .milliseconds(8)
    /// Blocks that are filled at the same time; one a core.
    package var shards = ProcessInfo.processInfo.activeProcessorCount
    /// zstd level of the columns.
    package var compressionLevel = 1
    package var limits = EventLimits()
    package var upkeep = UpkeepSettings()

    package init() {}
}

/// Why the log could not be opened. Nothing on disk was changed.
package enum EventLogError: Error, Equatable, Sendable {
    case cannotOpen(String)
    /// Written by a newer Aurum.
    case unsupportedVersion(segment: String, version: UInt16)
    case readOnly(String)

    /// One sentence for the operator.
    package var sentence: String {
        switch self {
        case .cannotOpen(let sentence), .readOnly(let sentence): sentence
        case .unsupportedVersion(let segment, let version):
            "The event log file \(segment) has format version \(version), which this version of Aurum does not know."
        }
    }
}

/// The event log of one folder: capture, durable segments, and the views of them.
///
/// One process at a time may open a folder; the executable holds the lock.
package final class EventLog: Sendable {
    package let capture: EventCapture
    package let store: BlockEventStore
    package let identity: IdentityService
    package let upkeep: LogUpkeep
    package let recovery: RecoveryReport
    private let writer: CommitWriter
    private let isClosed = Atomic<Bool>(false)

    static let secretName = "secret"

    /// Opens the log in a folder, which is created where it is missing, and recovers it before it returns.
    package static func open(
        directory: String, configuration: EventsConfiguration = EventsConfiguration(), registry: MetricRegistry,
        health: HealthRegistry, clock: any WallClock, logger: Logger, policies: EventPolicies? = nil
    ) throws(EventLogError) -> EventLog {
        let storage: PosixLogStorage
        do throws(LogStorageError) {
            storage = try PosixLogStorage(folder: directory)
        } catch {
            throw error == .readOnly
                ? .readOnly("The folder \(directory) of the event log cannot be written.") : .cannotOpen(error.sentence)
        }
        return try open(
            storage: storage, configuration: configuration, registry: registry, health: health, clock: clock,
            logger: logger, policies: policies)
    }

    /// Opens the log in any storage.
    package static func open(
        storage: any LogStorage, configuration: EventsConfiguration = EventsConfiguration(), registry: MetricRegistry,
        health: HealthRegistry, clock: any WallClock, logger: Logger, policies: EventPolicies? = nil
    ) throws(EventLogError) -> EventLog {
        let began = ContinuousClock.now
        let directory = SegmentDirectory()
        let manifest = try LogManifest.read(storage)
        let ledger = try ErasureLedger.read(storage)
        var recovery = LogRecovery(storage: storage, directory: directory, manifest: manifest)
        let tail = try recovery.run()
        do throws(LogStorageError) {
            try LogUpkeep.clean(storage, manifest)
            try OlderTouches.clean(storage)
            let secret = try loadSecret(storage)
            let visibility = LogVisibility(secret: secret, clock: clock, policies: policies)
            visibility.set(ledger.pending)
            // Places in a segment that is lost are not given again where an erasure names one.
            let next = max(recovery.nextSegment, (ledger.pending.map(\.end.segment).max() ?? 0) + 1)
            let end = recovery.report.isOpenSegmentMissing ? LogPoint(segment: next, offset: 0) : tail?.point
            let persons = try openPersons(
                storage, directory, end, secret, configuration.limits, registry, health, logger)
            let views = LogViews(
                storage, directory: directory, identity: secret.identity, limits: configuration.limits,
                persons: persons, visibility: visibility, registry: registry)
            let (index, replayed) = try openIndex(
                storage, end ?? .start, views, secret, configuration.limits, now: clock.now,
                corrections: manifest.corrections)
            let upkeep = LogUpkeep(
                storage: storage, views: views, visibility: visibility, secret: secret, clock: clock,
                settings: configuration.upkeep, freeBytesMin: configuration.limits.freeBytesMin, manifest: manifest,
                ledger: ledger,
                meters: UpkeepMeters(registry, health, freePercentWarn: configuration.limits.freePercentWarn),
                logger: logger,
                lastReplayed: { persons.lastCoveredSegment })
            let segments = try SegmentWriter(
                storage: storage, directory: directory, limits: configuration.limits, clock: clock, tail: tail,
                next: next, totals: views.totals.checkpoint)
            var report = recovery.report
            report.replayedIdentifiers = replayed
            report.seconds = (ContinuousClock.now - began).seconds
            return EventLog(
                storage: storage, configuration: configuration, meters: CaptureMeters(registry, health, clock),
                clock: clock, logger: logger, secret: secret, views: views, index: index, segments: segments,
                report: report, policies: policies, upkeep: upkeep)
        } catch {
            throw error == .readOnly ? .readOnly(error.sentence) : .cannotOpen(error.sentence)
        }
    }

    private init(
        storage: any LogStorage, configuration: EventsConfiguration, meters: CaptureMeters, clock: any WallClock,
        logger: Logger, secret: InstallationSecret, views: LogViews, index: DeduplicationIndex,
        segments: SegmentWriter, report: RecoveryReport, policies: EventPolicies?, upkeep: LogUpkeep
    ) {
        self.upkeep = upkeep
        let limits = configuration.limits
        let shards = (0..<max(1, configuration.shards)).map { CaptureShard(limits: limits, number: $0) }
        let signal = WriterSignal()
        let state = LogState()
        let inFlight = InFlight(bytesMax: limits.bytesInFlightMax)
        writer = CommitWriter(
            shards: shards, segments: segments, index: index, signal: signal, state: state, views: views,
            secret: secret, configuration: configuration, storage: storage, inFlight: inFlight, meters: meters,
            logger: logger, clock: clock)
        capture = EventCapture(
            shards: shards, signal: signal, state: state, inFlight: inFlight, limits: limits, secret: secret,
            storage: storage, meters: meters, clock: clock, policies: policies, recovery: report)
        store = BlockEventStore(views: views, secret: secret, limits: limits, clock: clock)
        identity = IdentityService(
            capture: capture, store: store, persons: views.persons, secret: secret, clock: clock, logger: logger)
        recovery = report
        meters.reportReady(report)
        meters.remembered(index)
        logger.info(
            "the event log is open",
            metadata: [
                "code": "log_opened", "segments": "\(report.segments)", "rows": "\(report.rows)",
                "milliseconds": "\(Int(report.seconds * 1000))", "replayed_ids": "\(report.replayedIdentifiers)",
            ])
        if report.cutBytes > 0 || !report.damaged.isEmpty {
            logger.warning(
                "the event log was not closed cleanly",
                metadata: [
                    "code": "log_recovered", "cut_bytes": "\(report.cutBytes)", "damaged": "\(report.damaged.count)",
                    "ranges": "\(report.damaged.prefix(20).map(\.sentence).joined(separator: "; "))",
                ])
        }
        for range in report.lost {
            logger.error(
                "events of the event log are lost",
                metadata: ["code": "log_range_lost", "range": "\(range.sentence)", "rows": "\(range.rows ?? 0)"])
        }
        if report.isOpenSegmentMissing {
            logger.error(
                "the open segment of the event log is missing, and with it the newest events; another was begun",
                metadata: ["code": "log_segment_missing", "begun": "\(segments.point.segment)"])
        }
        writer.start()
        // Without the apps' settings nothing is decided by itself.
        if policies != nil { upkeep.start() }
    }

    /// The ids of the window: what is on disk, and what the log says behind it; touchpoints and totals on the way.
    private static func openIndex(
        _ storage: any LogStorage, _ end: LogPoint, _ views: LogViews, _ secret: InstallationSecret,
        _ limits: EventLimits, now: Timestamp, corrections: [CountCorrection]
    ) throws(LogStorageError) -> (DeduplicationIndex, replayed: Int) {
        var window = DeduplicationLimits(identifiersMax: limits.dedupIdentifiersMax)
        window.windowMicroseconds = limits.dedupWindowSeconds * 1_000_000
        let (index, checkpoint) = try DeduplicationIndex.open(
            storage: storage, identity: secret.identity, limits: window, logEnd: end,
            clock: TrustedClock(now: now.microseconds))
        index.durable(through: end)
        let replay = Replay(
            directory: views.directory, limits: limits, secret: secret, now: now, corrections: corrections)
        return (index, try replay.run(into: index, from: checkpoint, views: views))
    }

    /// Who is who: the newest checkpoint, and what the log says behind it.
    private static func openPersons(
        _ storage: any LogStorage, _ directory: SegmentDirectory, _ logEnd: LogPoint?, _ secret: InstallationSecret,
        _ limits: EventLimits, _ registry: MetricRegistry, _ health: HealthRegistry, _ logger: Logger
    ) throws(LogStorageError) -> PersonDirectory {
        let began = ContinuousClock.now
        let checkpoints = IdentityCheckpoints(storage: storage, freeBytesMin: limits.freeBytesMin, logger: logger)
        let persons = PersonDirectory(
            limits: limits.identity, meters: IdentityMeters(registry, health, logger), checkpoints: checkpoints)
        let end = logEnd.map { BlockPlace(segment: $0.segment, offset: UInt32(clamping: $0.offset)) }
        if let checkpoint = checkpoints.newest(logEnd: end) { persons.restore(checkpoint) }
        do {
            try IdentityReplay(secret: secret, persons: persons).run(LogCatalog(directory: directory))
        } catch {
            throw error as? LogStorageError ?? .failed(operation: "read who is who", code: 0)
        }
        persons.opened(within: ContinuousClock.now - began, logger)
        return persons
    }

    /// Reads the installation's secret, or makes one. Losing it loses the receipts and the de-duplication window.
    private static func loadSecret(_ storage: any LogStorage) throws(LogStorageError) -> InstallationSecret {
        if try storage.names().contains(secretName) {
            let bytes = try LogFile(storage, secretName).read(at: 0, count: InstallationSecret.byteCount)
            if bytes.count == InstallationSecret.byteCount { return InstallationSecret(bytes) }
        }
        var random = SystemRandomNumberGenerator()
        let bytes = (0..<InstallationSecret.byteCount).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let file = try LogFile(storage, secretName, create: true)
        try file.write(bytes, at: 0)
        try file.sync()
        try storage.syncFolder()
        return InstallationSecret(bytes)
    }

    /// Refuses new bodies, commits what waits, ends the writer and closes the files. May be called more than once.
    package func close() async {
        guard !isClosed.exchange(true, ordering: .relaxed) else { return }
        capture.close()
        let (writer, persons, upkeep) = (writer, identity.persons, upkeep)
        await withCheckedContinuation { continuation in
            BlockingWork.run {
                upkeep.stop()
                writer.stop()
                persons.close()
                continuation.resume()
            }
        }
    }
}
