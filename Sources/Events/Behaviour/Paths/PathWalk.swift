/// What makes a question about paths, without its filters.
package struct PathRule: Sendable {
    package enum Direction: String, Sendable { case from, to }

    package static let depths = 1...10
    package static let branchesMax = 50
    /// Bit of `code` for events that a path may begin (or end) with; the code of the label stands below it.
    package static let anchor: UInt32 = 1 << 31

    package var direction: Direction
    /// Steps besides the one that all paths have in common.
    package var depth: Int
    /// From that one to the last, microseconds.
    package var window: Int64
    /// Where the common step lies.
    package var range: Range<Int64>

    package init(direction: Direction, depth: Int, window: Int64, range: Range<Int64>) {
        (self.direction, self.depth, self.window, self.range) = (direction, depth, window, range)
    }

    /// The path of one person: from (or to) its first event that fits, labels that repeat at once taken as one. The
    /// common step comes first in either direction.
    package func path(_ rows: UnsafeBufferPointer<SequenceRow>) -> [UInt32]? {
        guard let begin = rows.firstIndex(where: { $0.code & Self.anchor != 0 && range.contains($0.time) }) else {
            return nil
        }
        var path = [rows[begin].code & ~Self.anchor]
        let step = direction == .from ? 1 : -1
        var at = begin + step
        while rows.indices.contains(at), path.count <= depth, abs(rows[at].time - rows[begin].time) <= window {
            let label = rows[at].code & ~Self.anchor
            if label != path[path.count - 1] { path.append(label) }
            at += step
        }
        return path
    }
}

/// Counts persons by path.
package struct PathWalker: SequenceWalker {
    /// Paths that are told apart, for each walker.
    static let pathsMax = 500_000
    private let rule: PathRule
    /// By path, the common step first.
    package private(set) var persons: [[UInt32]: Int] = [:]
    /// Persons whose paths came when `pathsMax` others were known.
    package private(set) var uncounted = 0

    package init(_ rule: PathRule) { self.rule = rule }

    package mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>) {
        guard let path = rule.path(rows) else { return }
        if persons.count >= Self.pathsMax, persons[path] == nil {
            uncounted += 1
        } else {
            persons[path, default: 0] += 1
        }
    }

    package mutating func add(_ other: PathWalker) {
        persons.merge(other.persons, uniquingKeysWith: +)
        uncounted += other.uncounted
    }
}
