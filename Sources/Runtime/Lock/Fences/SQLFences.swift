package import Database
internal import Synchronization

/// Fences of a database.
///
/// On PostgreSQL they come from the sequence `fence`, which no transaction locks: each call to it answers a larger
/// number than every call that ended before, in whichever process. A crash of the server may take numbers back that no
/// durable transaction drew; so whoever tells a fence to others commits something durable first, and `next()` does.
///
/// On SQLite, where one process writes, they come from blocks that were made durable before the first of their numbers
/// is used, so a crash leaves a gap and never a repetition. Owners that share such a file use blocks of one: a block in
/// hand of one would be older than what the other has drawn since.
package final class SQLFences: FenceSequence {
    /// Numbers of one block.
    package static let blockCount: Int64 = 1000

    private let database: Database
    private let blockCount: Int64
    private let counter = Mutex(FenceCounter())

    /// - Parameter isShared: whether others write to the same file; PostgreSQL needs no word about it.
    package init(database: Database, isShared: Bool = false) {
        self.database = database
        blockCount = isShared ? 1 : Self.blockCount
    }

    package func next() async throws -> Fence {
        if database.dialect == .postgres { return try await nextOfSequence() }
        while true {
            if let number = counter.withLock({ $0.take() }) { return Fence(rawValue: number) }
            let (count, floor) = (blockCount, counter.withLock { $0.largest })
            let end = try await database.write("fences.reserve") { try Self.reserve(count, above: floor, in: $0) }
            counter.withLock { $0.reserved(through: end, count: count) }
        }
    }

    /// `nextval` alone writes to the log of the server only now and then, and a commit that wrote nothing there waits
    /// for no disk. The empty message makes this one wait for everything before it.
    private func nextOfSequence() async throws -> Fence {
        let number = try await database.write("fences.next", isolation: .readCommitted) { transaction in
            try transaction.value(
                Int64.self, "SELECT nextval('fence'), pg_logical_emit_message(true, 'aurum', CAST('' AS TEXT))")
        }
        guard let number else { throw SQLError.schema("the sequence of the fences is missing") }
        return Fence(rawValue: number)
    }

    /// `count` fences inside a write, each larger than the one before: for a claim that gives every row its own. What
    /// the transaction took is not handed out again when it is rolled back. The write must write something beside them.
    package func draw(_ count: Int, in transaction: Transaction) throws -> [Fence] {
        precondition(count > 0, "no fences were asked for")
        if transaction.dialect == .postgres {
            let drawn = try transaction.values(Int64.self, "SELECT nextval('fence') FROM generate_series(1, \(count))")
            guard drawn.count == count else { throw SQLError.schema("the sequence of the fences is missing") }
            // In whatever order the rows came.
            return drawn.sorted().map { Fence(rawValue: $0) }
        }
        let first = try firstOfBlock(Int64(count), in: transaction)
        return (first..<(first + Int64(count))).map { Fence(rawValue: $0) }
    }

    /// One fence inside a write.
    package func draw(in transaction: Transaction) throws -> Fence { try draw(1, in: transaction)[0] }

    private func firstOfBlock(_ count: Int64, in transaction: Transaction) throws -> Int64 {
        try counter.withLock { counter in
            if blockCount > 1, let first = counter.take(count) { return first }
            let end = try Self.reserve(count, above: counter.largest, in: transaction)
            counter.passed(end)
            return end - count + 1
        }
    }

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
