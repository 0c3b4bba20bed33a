internal import AurumCore
internal import Telemetry

/// The metrics of capture and of the log, with every handle asked for once.
struct CaptureMeters: Sendable {
    /// Damaged and lost ranges that health names.
    private static let detailsMax = 20
    private let received: [Counter]
    private let outcomes: [Counter]
    private let replayed: [Counter]
    private let durations: [Histogram]
    private let batches: [Histogram]
    private let commitDuration: Histogram
    private let commitGroup: Histogram
    private let logBytes: Gauge
    private let damagedRanges: Gauge
    private let lostFiles: Gauge
    private let lostRows: Gauge
    private let identifiers: Gauge
    private let window: Gauge
    private let unverified: Counter
    private let health: HealthRegistry
    private let clock: any WallClock

    init(_ registry: MetricRegistry, _ health: HealthRegistry, _ clock: any WallClock) {
        let formats = WireFormat.allCases
        received = formats.map { registry.counter(.eventsReceived, $0.label, "\($0)") }
        outcomes = formats.flatMap { format in
            EventOutcome.allCases.map { registry.counter(.eventsOutcome, $0.name, format.label) }
        }
        replayed = EventOutcome.allCases.map { registry.counter(.eventsReplayed, $0.name) }
        durations = formats.map { registry.histogram(.eventsAcceptDuration, $0.label) }
        batches = formats.map { registry.histogram(.eventsBatch, $0.label) }
        commitDuration = registry.histogram(.logCommitDuration)
        commitGroup = registry.histogram(.logCommitGroup)
        logBytes = registry.gauge(.logSegmentBytes, "all")
        damagedRanges = registry.gauge(.logDamagedRanges)
        lostFiles = registry.gauge(.logLostFiles)
        lostRows = registry.gauge(.logLostRows)
        identifiers = registry.gauge(.dedupIdentifiers)
        window = registry.gauge(.dedupWindow)
        unverified = registry.counter(.dedupUnverified)
        self.health = health
        self.clock = clock
    }

    func answered(_ request: PendingRequest) {
        if request.isReplay {
            for (outcome, counter) in zip(EventOutcome.allCases, replayed) where request.counts[outcome] > 0 {
                counter.increment(by: request.counts[outcome])
            }
            return
        }
        let format = Int(request.format.rawValue)
        received[format].increment(by: request.rowCount)
        for outcome in EventOutcome.allCases where request.counts[outcome] > 0 {
            outcomes[format * EventOutcome.allCases.count + Int(outcome.rawValue)]
                .increment(by: request.counts[outcome])
        }
        batches[format].observe(Double(request.rowCount))
        durations[format].observe(clock.now - Timestamp(microseconds: request.receivedAt))
    }

    func committed(_ duration: Duration, requests: Int) {
        commitDuration.observe(duration)
        commitGroup.observe(Double(requests))
    }

    func logHolds(_ bytes: Int) { logBytes.set(Double(bytes)) }

    /// What the de-duplication index holds, and how many new rows it could not vouch for.
    func remembered(_ index: DeduplicationIndex, unverified count: Int = 0) {
        identifiers.set(Double(index.count))
        unverified.increment(by: count)
        let full = Double(index.limits.windowMicroseconds) / 1e6
        guard index.windowStart > .min else { return window.set(full) }
        let seconds = min(full, max(0, (clock.now - Timestamp(microseconds: index.windowStart)).seconds))
        window.set(seconds)
        let isShort = seconds < full
        health.report(
            "deduplication", isShort ? .degraded : .ok, required: false,
            reason: isShort ? "dedup window shortened" : nil, numbers: ["window_seconds": seconds.rounded()])
    }

    func reportFailed() { health.report("events", .down, reason: "log_failed") }

    func reportFull() { health.report("events", .down, reason: "storage_full") }

    /// - Parameter report: what the start found, for as long as the process lives.
    func reportReady(_ report: RecoveryReport) {
        let files = report.lost.reduce(0) { $0 + ($1.archive == nil ? Int($1.last - $1.first) + 1 : 1) }
        let rows = report.lost.reduce(0) { $0 + ($1.rows ?? 0) }
        damagedRanges.set(Double(report.damaged.count))
        lostFiles.set(Double(files))
        lostRows.set(Double(rows))
        health.report(
            "events", report.hasLosses ? .degraded : .ok, reason: report.hasLosses ? "log_damaged" : nil,
            numbers: [
                "blocks": Double(report.blocks), "rows": Double(report.rows), "cut_bytes": Double(report.cutBytes),
                "damaged_ranges": Double(report.damaged.count), "lost_files": Double(files),
                "lost_rows": Double(rows),
            ], details: report.hasLosses ? report.sentences(most: Self.detailsMax) : nil)
    }
}
