internal import Telemetry

/// The metrics and the health of the log's upkeep.
struct UpkeepMeters: Sendable {
    private let backlog: Gauge
    private let files: [Gauge]
    private let removed: [Counter]
    private let duplicates: Counter
    private let rows: Counter
    private let duration: Histogram
    private let erasures: Gauge
    private let health: HealthRegistry
    /// Share of the volume in use above which health warns.
    private let diskShareMax: Double

    init(_ registry: MetricRegistry, _ health: HealthRegistry, freePercentWarn: Int) {
        diskShareMax = Double(100 - freePercentWarn) / 100
        backlog = registry.gauge(.logBacklogBytes)
        files = ["segment", "archive"].map { registry.gauge(.logFiles, $0) }
        removed = ["expired", "erased", "quarantine_over"].map { registry.counter(.logRowsRemoved, $0) }
        duplicates = registry.counter(.logDuplicatesFound)
        rows = registry.counter(.logRowsCompacted)
        duration = registry.histogram(.logUpkeepDuration)
        erasures = registry.gauge(.logErasuresPending)
        self.health = health
    }

    func report(
        _ tally: RewriteTally, archives: Int, segments: Int, backlog bytes: Int, erasures pending: Int,
        duration: Duration
    ) {
        backlog.set(Double(bytes))
        files[0].set(Double(segments))
        files[1].set(Double(archives))
        for (counter, count) in zip(removed, [tally.expired, tally.erased, tally.quarantineOver]) where count > 0 {
            counter.increment(by: count)
        }
        if tally.duplicates > 0 { duplicates.increment(by: tally.duplicates) }
        if tally.rowsRead > 0 { rows.increment(by: tally.rowsRead) }
        if tally.files > 0 { self.duration.observe(duration) }
        erasures.set(Double(pending))
    }

    /// Warns when the volume of the log fills.
    func reportDisk(_ disk: (free: Int, total: Int)?, used: Int) {
        guard let disk, disk.total > 0 else { return }
        let share = 1 - Double(disk.free) / Double(disk.total)
        let isFull = share > diskShareMax
        health.report(
            "disk", isFull ? .degraded : .ok, required: false, reason: isFull ? "disk_filling" : nil,
            numbers: ["used_ratio": share, "log_bytes": Double(used), "free_bytes": Double(disk.free)])
    }
}
