import AurumCore
import Database
import Foundation
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// What every lock does. Leases are long where nothing must run out, so that a busy machine fails nothing.
struct LockConformance {
    let lock: any Lock
    let unique = UID(now: SystemWallClock().now).hex

    private func key(_ name: String) -> LockKey { LockKey(owner: "test", "\(name) \(unique)") }

    func run() async throws {
        try await oneAtATime()
        try await waiting()
        try await nested()
        try await failing()
        try await losing()
        try await takingOver()
    }

    private func oneAtATime() async throws {
        let inside = Shared(0)
        let most = Shared(0)
        let last = Shared(Fence(rawValue: 0))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    for _ in 0..<5 {
                        try await lock.withLock(key("one"), LockOptions(wait: .seconds(60))) { lease in
                            let now = inside.withLock { count in
                                count += 1
                                return count
                            }
                            most.withLock { $0 = max($0, now) }
                            last.withLock { last in
                                #expect(lease.fence > last)
                                last = lease.fence
                            }
                            #expect(lease.isHeld)
                            await Task.yield()
                            inside.withLock { $0 -= 1 }
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(most.withLock { $0 } == 1)
    }

    private func waiting() async throws {
        let held = key("held")
        try await lock.withLock(held, LockOptions(wait: .zero)) { _ in
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    await HeldElsewhere.run {
                        await #expect(throws: LockError.timedOut) {
                            try await lock.withLock(held, LockOptions(wait: .milliseconds(150))) { _ in }
                        }
                    }
                }
            }
        }
        // Free again.
        #expect(try await lock.withLock(held, LockOptions(wait: .zero)) { _ in 7 } == 7)
    }

    private func nested() async throws {
        let (outer, inner) = (key("outer"), key("inner"))
        try await lock.withLock(outer, LockOptions(wait: .zero)) { _ in
            await #expect(throws: LockError.alreadyHeld) {
                try await lock.withLock(outer, LockOptions(wait: .seconds(60))) { _ in }
            }
            try await lock.withLock(inner, LockOptions(wait: .zero)) { #expect($0.isHeld) }
        }
    }

    private func failing() async throws {
        struct Broken: Error {}
        let broken = key("broken")
        await #expect(throws: Broken.self) {
            try await lock.withLock(broken, LockOptions(wait: .zero)) { _ in throw Broken() }
        }
        try await lock.withLock(broken, LockOptions(wait: .zero)) { _ in }
    }

    /// Extension off: the work is cancelled when the lease runs out, and its end says so.
    private func losing() async throws {
        var options = LockOptions(wait: .zero)
        options.lease = .milliseconds(400)
        options.extends = false
        let lost = key("lost")
        let cancelled = Shared(false)
        await #expect(throws: LockError.lost) {
            try await lock.withLock(lost, options) { lease in
                try? await Task.sleep(for: .seconds(600))
                cancelled.withLock { $0 = Task.isCancelled && !lease.isHeld }
            }
        }
        #expect(cancelled.withLock { $0 })
        // With extension the same lease outlives itself many times.
        options.lease = .seconds(2)
        options.extends = true
        options.wait = .seconds(60)
        try await lock.withLock(lost, options) { lease in
            try await Task.sleep(for: .seconds(3))
            #expect(lease.isHeld)
        }
    }

    /// A token whose holder is gone gives way after its lease, to a larger fence.
    private func takingOver() async throws {
        let (orphan, token) = (key("orphan"), UID(now: SystemWallClock().now))
        let before = try await lock.fences.next()
        #expect(await lock.set(orphan, token: token, lease: .seconds(2)) == .yes)
        #expect(await lock.set(orphan, token: UID(high: 1, low: 2), lease: .seconds(1)) == .no)
        #expect(await lock.confirm(orphan, token: token) == .yes)
        #expect(await lock.release(orphan, token: UID(high: 1, low: 2)) == false)
        try await lock.withLock(orphan, LockOptions(wait: .seconds(60))) { #expect($0.fence > before) }
        #expect(await lock.confirm(orphan, token: token) == .no)
        #expect(await lock.extend(orphan, token: token, lease: .seconds(1)) == .no)
        #expect(await lock.release(orphan, token: token) == false)
    }
}

/// Runs work as another task tree would: without what this one holds.
enum HeldElsewhere {
    static func run(_ work: @escaping @Sendable () async -> Void) async { await Task.detached { await work() }.value }
}

struct MemoryLockTests {
    @Test func `the memory twin conforms`() async throws {
        let lock = MemoryLock(fences: MemoryFences(), meters: LockMeters(registry: MetricRegistry()))
        try await LockConformance(lock: lock).run()
    }

    @Test func `a holder that was overtaken cannot write`() async throws {
        let open = try OpenDatabase()
        let fences = SQLFences(database: open.database)
        let lock = MemoryLock(fences: fences, meters: LockMeters(registry: open.registry))
        var options = LockOptions(wait: .zero)
        options.lease = .milliseconds(400)
        options.extends = false
        let key = LockKey("report")
        let first = Shared<Fence?>(nil)
        await #expect(throws: LockError.lost) {
            try await lock.withLock(key, options) { lease in
                first.withLock { $0 = lease.fence }
                try? await Task.sleep(for: .seconds(600))
            }
        }
        try await lock.withLock(key, LockOptions(wait: .seconds(60))) { lease in
            try await open.database.write("test.successor") { try $0.guarded("report", by: lease.fence) }
        }
        let late = try #require(first.withLock { $0 })
        await #expect(throws: SQLError.staleFence) {
            try await open.database.write("test.late") { try $0.guarded("report", by: late) }
        }
    }
}
