package import AurumCore
internal import Synchronization
internal import Telemetry

/// Locks among the tasks of one process.
package final class MemoryLock: Lock {
    private struct Entry: Sendable {
        let token: UID
        var until: ContinuousClock.Instant
    }

    package let fences: any FenceSequence
    package let meters: LockMeters
    private let entries = Mutex<[LockKey: Entry]>([:])
    private let waiters = ReleaseWaiters()

    package init(fences: any FenceSequence, meters: LockMeters) {
        self.fences = fences
        self.meters = meters
    }

    package func set(_ key: LockKey, token: UID, lease: Duration) -> LockMachine.Answer {
        let now = ContinuousClock.now
        return entries.withLock { entries in
            if let entry = entries[key], entry.until > now { return .no }
            entries[key] = Entry(token: token, until: now + lease)
            return .yes
        }
    }

    package func confirm(_ key: LockKey, token: UID) -> LockMachine.Answer {
        let now = ContinuousClock.now
        return entries.withLock { entries in
            guard let entry = entries[key], entry.token == token, entry.until > now else { return .no }
            return .yes
        }
    }

    package func extend(_ key: LockKey, token: UID, lease: Duration) -> LockMachine.Answer {
        let now = ContinuousClock.now
        return entries.withLock { entries in
            guard let entry = entries[key], entry.token == token, entry.until > now else { return .no }
            entries[key]?.until = now + lease
            return .yes
        }
    }

    @discardableResult
    package func release(_ key: LockKey, token: UID) -> Bool {
        let wasOurs = entries.withLock { entries in
            guard entries[key]?.token == token else { return false }
            entries[key] = nil
            return true
        }
        if wasOurs { waiters.wake(key) } else { meters.foreignReleases.increment() }
        return wasOurs
    }

    package func waitForRelease(_ key: LockKey, atMost limit: Duration) async {
        await waiters.wait(key, atMost: limit) { entries.withLock { $0[key] == nil } }
    }
}
