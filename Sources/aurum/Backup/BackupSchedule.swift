internal import AurumCore
internal import Database
internal import Foundation
internal import Logging
internal import ServiceLifecycle
internal import Telemetry

/// Makes backups by itself as long as the server runs, and removes those that `BackupRetention` does not keep. What is
/// removed was made here and has a newer, whole one after it.
struct BackupSchedule: Service {
    /// How often it looks whether one is due.
    private static let lookEvery: Duration = .seconds(10)
    /// After one that failed, or found no room.
    private static let retryAfter: Duration = .seconds(300)
    /// Room for a backup, in sizes of the last one.
    private static let room = 1.2

    let backups: Backups
    let directory: String
    let every: Duration
    /// Of the disk, what must be free.
    var freeShareMin = BulkWrites.freeShareMin
    let registry: MetricRegistry
    let clock: any WallClock
    var logger = Logger(label: "backup")

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var notBefore = ContinuousClock.now
            while !Task.isCancelled {
                if BackupRetention.untilDue(names, every: every, now: clock.now) <= .zero, notBefore <= .now {
                    if await !makeUntilStopped() { notBefore = ContinuousClock.now + Self.retryAfter }
                } else {
                    try? await Task.sleep(for: Self.lookEvery)
                }
            }
        }
    }

    private var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [] }
    private var newest: (name: String, time: Timestamp)? {
        names.compactMap { name in BackupRetention.time(of: name).map { (name, $0) } }.max { $0.1 < $1.1 }
    }

    /// Makes one, but does not wait for it when the server stops: reading all of it back cannot be cancelled, and the
    /// gateway stops after this. What is at work then ends with the process.
    private func makeUntilStopped() async -> Bool {
        let (answers, answer) = AsyncStream.makeStream(of: Bool.self)
        let work = Task {
            answer.yield(await make())
            answer.finish()
        }
        // Ends without an answer when this task is cancelled.
        for await isMade in answers { return isMade }
        work.cancel()
        return false
    }

    /// False when there is no new backup.
    private func make() async -> Bool {
        let target = directory + "/" + BackupRetention.name(at: clock.now)
        do {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            if let lacking { return noRoom(lacking) }
            let answer = try await backups.make(at: target)
            guard answer["verified"] == true else { return setAside(target) }
        } catch {
            if Task.isCancelled { return false }
            logger.error("no backup was made", metadata: ["code": "backup_failed", "error": "\(error)"])
            return count("failed", isMade: false)
        }
        registry.gauge(.backupNewest).set(Double(clock.now.microseconds) / 1e6)
        removeOld()
        return count("made", isMade: true)
    }

    private func count(_ outcome: String, isMade: Bool) -> Bool {
        registry.counter(.backupRuns, outcome).increment()
        return isMade
    }

    /// One that is not whole takes the place of no other; `Backups` has said what is wrong with it.
    private func setAside(_ target: String) -> Bool {
        try? FileManager.default.moveItem(atPath: target, toPath: target + BackupRetention.damaged)
        remove(BackupRetention.leftovers(names, now: clock.now))
        return count("unverified", isMade: false)
    }

    // MARK: Room

    /// What is free and what is needed, where that is too little.
    private var lacking: (free: Int, needed: Int)? {
        guard let space = DiskSpace.of(directory) else { return nil }
        let needed = newest.map { Int(Double(Self.bytes(of: directory + "/" + $0.name)) * Self.room) } ?? 0
        if space.freeBytes < needed || space.freeShare < freeShareMin {
            return (space.freeBytes, needed)
        }
        return nil
    }

    private static func bytes(of folder: String) -> Int {
        guard let walker = FileManager.default.enumerator(atPath: folder) else { return 0 }
        var bytes = 0
        while walker.nextObject() != nil {
            if walker.fileAttributes?[.type] as? FileAttributeType == .typeRegular {
                bytes += (walker.fileAttributes?[.size] as? NSNumber)?.intValue ?? 0
            }
        }
        return bytes
    }

    private func noRoom(_ lacking: (free: Int, needed: Int)) -> Bool {
        logger.error(
            "no backup was made: the disk of \(directory) is too full",
            metadata: ["code": "backup_no_room", "free": "\(lacking.free)", "needed": "\(lacking.needed)"])
        return count("no_room", isMade: false)
    }

    // MARK: Removing

    private func removeOld() {
        let (names, now) = (names, clock.now)
        remove(BackupRetention.superfluous(names, now: now) + BackupRetention.leftovers(names, now: now))
    }

    private func remove(_ old: [String]) {
        var gone = 0
        for name in old {
            do {
                try FileManager.default.removeItem(atPath: directory + "/" + name)
                gone += 1
            } catch {
                logger.warning(
                    "an old backup could not be removed",
                    metadata: ["code": "backup_not_removed", "folder": "\(name)", "error": "\(error)"])
            }
        }
        if gone > 0 {
            logger.info("old backups were removed", metadata: ["code": "backups_removed", "count": "\(gone)"])
        }
    }
}
