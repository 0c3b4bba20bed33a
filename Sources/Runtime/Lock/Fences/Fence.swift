package import Database

/// A number from the one sequence of a database. Whoever began later holds a larger one, whatever was paused between;
/// a store that remembers the largest fence it has seen refuses everybody who came before.
package struct Fence: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Positive.
    package let rawValue: Int64

    package init(rawValue: Int64) { self.rawValue = rawValue }

    /// What outbound calls carry it in.
    package static let header = "Aurum-Fence"

    package var description: String { String(rawValue) }

    package static func < (left: Fence, right: Fence) -> Bool { left.rawValue < right.rawValue }
}

extension Fence: SQLBindable {
    package var sqlValue: SQLValue { .integer(rawValue) }

    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue, value >= 0 else { return nil }
        self.init(rawValue: value)
    }
}

/// Where fences come from. Each is larger than all that were handed out before it, in this process or another that
/// draws from the same place, before a crash or after it.
package protocol FenceSequence: Sendable {
    /// - Throws: what the store throws; then nothing was handed out.
    func next() async throws -> Fence
}

extension Transaction {
    /// The first statement of every guarded write: `UPDATE … SET fence = ? WHERE … AND fence <= ?`.
    /// - Throws: `SQLError.staleFence` when no row took the fence, which rolls the transaction back.
    package func guarded(by guardStatement: SQLStatement) throws {
        guard try run(guardStatement) > 0 else { throw SQLError.staleFence }
    }

    /// Guards work that has no row of its own: `name` is that of the lock, from a closed set.
    /// - Throws: `SQLError.staleFence` when somebody with a larger fence has written under this name.
    package func guarded(_ name: String, by fence: Fence) throws {
        try run("INSERT INTO fence_guards (name, fence) VALUES (\(name), 0) ON CONFLICT (name) DO NOTHING")
        try guarded(
            by: "UPDATE fence_guards SET fence = \(fence) WHERE name = \(name) AND fence <= \(fence)")
    }
}
