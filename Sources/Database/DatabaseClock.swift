package import AurumCore
internal import Synchronization
package import Telemetry

/// The time of a PostgreSQL server, for what all its nodes must agree on: how long a lease lasts, and whether it is
/// over. It is asked of the server once a minute, in whichever transaction comes by, and carried on by a counter that
/// nobody sets: so neither a node's clock that is wrong nor one that is set makes a difference. It is wrong by no more
/// than half a round trip, and half a minute's drift of the counter.
///
/// On SQLite, where one process works, it is the time of the product.
package final class DatabaseClock: Sendable {
    /// How long one answer of the server is carried on.
    package static let askedEvery: Duration = .seconds(60)

    private static let tripMax: Duration = .seconds(1)

    private struct Reading: Sendable {
        let time: Timestamp
        let at: ContinuousClock.Instant
    }

    private let reading = Mutex<Reading?>(nil)
    private let offset: Gauge

    package init(registry: MetricRegistry) { offset = registry.gauge(.databaseClockOffset) }

    /// The server's time now.
    /// - Throws: what the statement throws that asks for it.
    package func now(in transaction: Transaction) throws -> Timestamp {
        guard transaction.dialect == .postgres else { return transaction.now }
        let began = ContinuousClock.now
        if let known = reading.withLock({ $0 }), began - known.at < Self.askedEvery {
            return known.time + (began - known.at)
        }
        let answer = try transaction.value(
            Int64.self, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")
        guard let answer else { throw SQLError.statement("the server does not say what time it is") }
        let ended = ContinuousClock.now
        // It was read somewhere on the way there and back.
        let time = Timestamp(microseconds: answer) + (ended - began) / 2
        // One that took long may be wrong by half of that: it serves once.
        guard ended - began < Self.tripMax else { return time }
        offset.set((transaction.now - time).seconds)
        reading.withLock { $0 = Reading(time: time, at: ended) }
        return time
    }
}
