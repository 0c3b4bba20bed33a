package import AurumCore
internal import Foundation

/// The newest backup, as far as anybody told.
package struct BackupFigures: Sendable, Equatable, Codable {
    package var madeAt: Timestamp
    /// Whether it was read back whole after it was made.
    package var isVerified: Bool

    package init(madeAt: Timestamp, isVerified: Bool) { (self.madeAt, self.isVerified) = (madeAt, isVerified) }
}

/// How much waits for the event log.
package struct OutboxFigures: Sendable, Equatable {
    /// At most `DatabaseJudge.outboxRowsMax`: more are not counted.
    package var rows: Int
    package var oldestAt: Timestamp?

    package init(rows: Int, oldestAt: Timestamp?) { (self.rows, self.oldestAt) = (rows, oldestAt) }
}

/// What the figures of a database say against it. Each reason goes away with what caused it, at the latest two probes
/// later.
struct DatabaseJudge: Sendable {
    static let slowCommit: Duration = .milliseconds(100)
    /// Commits that a percentile is taken of.
    static let commitSamples = 20
    /// So many quick commits in a row end a slow time, whatever was before.
    static let calmSamples = 2
    static let fullShare = 0.9
    static let fullFor: Duration = .seconds(60)
    static let walBytesMax = 256 << 20
    static let diskFreeShareMin = 0.15
    static let outboxRowsMax = 1_000_000
    static let outboxAgeMax: Duration = .seconds(6 * 3600)
    static let backupAgeMax: Duration = .seconds(26 * 3600)

    /// One look at everything. What is nil nobody knows, and it is no reason.
    struct Sample: Sendable {
        var at: Timestamp
        var commit: Duration?
        var engine: EngineFigures
        var disk: DiskSpace?
        var diskFreeShareMin = DatabaseJudge.diskFreeShareMin
        var outbox: OutboxFigures?
        var backup: BackupFigures?
        var isFailing = false
    }

    /// Why a database is degraded: a stable code, and a sentence with the number.
    struct Reason: Sendable, Equatable {
        let code: String
        let sentence: String
    }

    private var commits: [Duration] = []
    private var fullSince: Timestamp?

    /// All that is wrong, the gravest first.
    mutating func reasons(_ sample: Sample) -> [Reason] {
        note(sample)
        return [
            disk(sample), outbox(sample), wal(sample), pool(sample), failures(sample), slowness(), backup(sample),
        ].compactMap { $0 }
    }

    /// The 95th percentile of the last commits.
    var commitP95: Duration? {
        let sorted = commits.sorted()
        guard !sorted.isEmpty else { return nil }
        return sorted[max(0, (sorted.count * 95 + 99) / 100 - 1)]
    }

    private mutating func note(_ sample: Sample) {
        if let commit = sample.commit { commits = (commits + [commit]).suffix(Self.commitSamples) }
        let engine = sample.engine
        let isFull = engine.busy > 0 && Double(engine.busy) >= Double(engine.connectionsMax) * Self.fullShare
        fullSince = isFull ? fullSince ?? sample.at : nil
    }

    private func disk(_ sample: Sample) -> Reason? {
        guard let disk = sample.disk, disk.freeShare < sample.diskFreeShareMin else { return nil }
        return Reason(
            code: "disk_filling",
            sentence: "\(Self.percent(disk.freeShare)) of the disk is free, less than "
                + "\(Self.percent(sample.diskFreeShareMin))")
    }

    private func outbox(_ sample: Sample) -> Reason? {
        guard let outbox = sample.outbox else { return nil }
        if outbox.rows >= Self.outboxRowsMax {
            return Reason(code: "outbox", sentence: "\(outbox.rows) events or more wait for the event log")
        }
        guard let oldest = outbox.oldestAt, sample.at - oldest >= Self.outboxAgeMax else { return nil }
        return Reason(
            code: "outbox", sentence: "the oldest event has waited \(Self.hours(sample.at - oldest)) for the event log")
    }

    private func wal(_ sample: Sample) -> Reason? {
        guard let bytes = sample.engine.walBytes, bytes > Self.walBytesMax else { return nil }
        return Reason(
            code: "wal_large",
            sentence: "the write-ahead log has \(bytes >> 20) MiB, more than \(Self.walBytesMax >> 20)")
    }

    private func pool(_ sample: Sample) -> Reason? {
        guard let since = fullSince, sample.at - since >= Self.fullFor else { return nil }
        let engine = sample.engine
        return Reason(
            code: "pool_full",
            sentence: "\(engine.busy) of \(engine.connectionsMax) connections have been busy for "
                + "\(Int((sample.at - since).seconds)) s")
    }

    private func failures(_ sample: Sample) -> Reason? {
        sample.isFailing
            ? Reason(code: "error_rate", sentence: "more than 1 % of the statements of five minutes failed") : nil
    }

    private func slowness() -> Reason? {
        guard commits.count >= Self.commitSamples, let p95 = commitP95, p95 > Self.slowCommit else { return nil }
        if commits.suffix(Self.calmSamples).allSatisfy({ $0 <= Self.slowCommit }) { return nil }
        return Reason(
            code: "slow_commits",
            sentence: "the 95th percentile of a commit is \(p95.milliseconds) ms, more than 100 ms")
    }

    private func backup(_ sample: Sample) -> Reason? {
        guard let backup = sample.backup else { return nil }
        let age = sample.at - backup.madeAt
        if age > Self.backupAgeMax {
            return Reason(code: "backup_old", sentence: "the last backup is \(Self.hours(age)) old, more than 26 h")
        }
        guard !backup.isVerified else { return nil }
        return Reason(
            code: "backup_unverified", sentence: "the last backup, of \(backup.madeAt.rfc3339), was not read back whole"
        )
    }

    private static func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }
    private static func hours(_ duration: Duration) -> String { String(format: "%.1f h", duration.seconds / 3600) }

    /// For `/health`, beside what the probe itself measured.
    func numbers(_ sample: Sample) -> [String: Double] {
        var numbers: [String: Double] = [:]
        numbers["commit_p95_ms"] = commitP95.map { $0.seconds * 1000 }
        numbers["listening"] = sample.engine.isListening.map { $0 ? 1 : 0 }
        numbers["wal_bytes"] = sample.engine.walBytes.map(Double.init)
        numbers["disk_free_ratio"] = sample.disk?.freeShare
        numbers["outbox_rows"] = sample.outbox.map { Double($0.rows) }
        numbers["outbox_oldest_s"] = sample.outbox.map { outbox in
            outbox.oldestAt.map { max(0, (sample.at - $0).seconds) } ?? 0
        }
        numbers["backup_age_s"] = sample.backup.map { (sample.at - $0.madeAt).seconds }
        numbers["backup_verified"] = sample.backup.map { $0.isVerified ? 1 : 0 }
        return numbers
    }
}
