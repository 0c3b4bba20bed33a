package import Database
internal import Telemetry

extension Lock {
    /// One relay of the outbox delivers at a time; its deletions carry a fence, so one that was overtaken deletes
    /// nothing. Where no lock can be had the relays go on beside each other: safety rests on the fence, and what two of
    /// them deliver the log knows by its id.
    package var relayTurn: OutboxRelay.Exclusive {
        let lock = self
        let refused = meters.fenceRefused("outbox")
        return { work in
            do {
                do {
                    try await lock.withLock(LockKey("outbox"), LockOptions(wait: .zero)) { lease in
                        try await work { try $0.guarded("outbox", by: lease.fence) }
                    }
                } catch LockError.unavailable {
                    let fence = try await lock.fences.next()
                    try await work { try $0.guarded("outbox", by: fence) }
                }
            } catch LockError.timedOut {
                // Another relay is at it.
            } catch SQLError.staleFence { refused.increment() }
        }
    }
}
