package import AurumCore

/// What is locked: whose, and what.
package struct LockKey: Hashable, Sendable {
    /// An organisation's id, or `system` for work of the installation.
    package let owner: String
    package let name: String

    package init(owner: String = "system", _ name: String) {
        self.owner = owner
        self.name = name
    }

    /// As a Redis server knows it.
    var text: String { "aurum:{\(owner)}:lock:\(name)" }
}

/// Why the work of a lock was not done.
package enum LockError: Error, Sendable, Equatable {
    /// Others held it for as long as the caller would wait.
    case timedOut
    /// The task tree of the caller holds it: locks are not reentrant, pass the lease on.
    case alreadyHeld
    /// The lease ran out under the work, which was cancelled. What it wrote later was refused by its fence.
    case lost
    /// No new leases can be had.
    case unavailable
}

/// A lock being held. Pass it to code that needs to know.
package final class Lease: Sendable {
    package let key: LockKey
    /// Larger than that of everybody who held the lock before. First statement of every write: `guarded(by:)`.
    package let fence: Fence
    private let held: @Sendable () -> Bool

    init(key: LockKey, fence: Fence, held: @escaping @Sendable () -> Bool) {
        self.key = key
        self.fence = fence
        self.held = held
    }

    /// Whether the lease still stands by this node's clock. True says nothing about the store, which the fence guards.
    package var isHeld: Bool { held() }
}

/// How a lock is asked for.
package struct LockOptions: Sendable {
    /// How long the lock outlives a holder that is gone.
    package var lease: Duration = .seconds(30)
    /// Longest time a holder may extend its lease.
    package var maxHold: Duration = .seconds(600)
    /// How long to wait while others hold it.
    package var wait: Duration
    package var extends = true

    package init(wait: Duration) { self.wait = wait }
}

/// One holder at a time, as long as nothing fails: locks give liveness, the fence of a lease gives safety.
///
/// These are the steps; callers use `withLock`.
package protocol Lock: Sendable {
    var fences: any FenceSequence { get }
    /// Where decisions are counted.
    var meters: LockMeters { get }

    /// Sets the token where there is none.
    func set(_ key: LockKey, token: UID, lease: Duration) async -> LockMachine.Answer
    /// Whether the token stands.
    func confirm(_ key: LockKey, token: UID) async -> LockMachine.Answer
    /// Lets the token stand for another lease, if it stands.
    func extend(_ key: LockKey, token: UID, lease: Duration) async -> LockMachine.Answer
    /// Removes the token, if it stands. False when it was another's or gone.
    @discardableResult
    func release(_ key: LockKey, token: UID) async -> Bool
    /// Returns when the key may be free, and in any case after `limit`.
    func waitForRelease(_ key: LockKey, atMost limit: Duration) async
}

/// Keys that the running task tree holds.
enum HeldLocks {
    @TaskLocal static var keys: Set<LockKey> = []
}
