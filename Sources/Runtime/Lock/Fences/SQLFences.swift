package import Database
internal import Synchronization

/// Fences of a database. One process draws from blocks that were made durable before the first of their numbers is
/// used, so a crash leaves a gap and never a repetition. Processes that share a database use blocks of one: a block in
/// hand of one would be older than what the other has drawn since.
package final class SQLFences: FenceSequence {
    /// Numbers of one block.
    package static let blockCount: Int64 = 1000

    private let database: Database
    private let blockCount: Int64
    private let counter = Mutex(FenceCounter())

    /// - Parameter isShared: whether other processes write to the same database.
    package init(database: Database, isShared: Bool = false) {
        self.database = database
        blockCount = isShared ? 1 : Self.blockCount
    }

    package func next() async throws -> Fence {
        while true {
            if let number = counter.withLock({ $0.take() }) { return Fence(rawValue: number) }
            let (count, floor) = (blockCount, counter.withLock { $0.largest })
            let end = try await database.write("fences.reserve") { try Self.reserve(count, above: floor, in: $0) }
            counter.withLock { $0.reserved(through: end, count: count) }
        }
    }

    /// `count` fences in a row inside a write, and the first of them: for a claim that gives every row its own. What
    /// the transaction took is not handed out again when it is rolled back.
    package func draw(_ count: Int, in transaction: Transaction) throws -> Fence {
        precondition(count > 0, "no fences were asked for")
        let count = Int64(count)
        return try counter.withLock { counter in
            if blockCount > 1, let first = counter.take(count) { return Fence(rawValue: first) }
            let end = try Self.reserve(count, above: counter.largest, in: transaction)
            counter.passed(end)
            return Fence(rawValue: end - count + 1)
        }
    }

    /// One fence inside a write.
    package func draw(in transaction: Transaction) throws -> Fence { try draw(1, in: transaction) }

    /// Moves the sequence on and answers its new end. `floor` has been handed out by a transaction that may have been
    /// rolled back.
    private static func reserve(_ count: Int64, above floor: Int64, in transaction: Transaction) throws -> Int64 {
        let end = try transaction.value(
            Int64.self,
            """
            UPDATE fences SET reserved = CASE WHEN reserved < \(floor) THEN \(floor) ELSE reserved END + \(count)
            WHERE name = 'fence' RETURNING reserved
            """)
        guard let end else { throw SQLError.schema("the row of the fences is missing") }
        return end
    }
}
