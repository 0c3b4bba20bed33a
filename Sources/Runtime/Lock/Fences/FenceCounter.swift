/// Which fences of a reserved block are left. It decides; `SQLFences` reads and writes.
///
/// Two ways lead to fences: blocks that a commit has made durable, and numbers that a transaction reserves for itself.
/// They overtake each other, so whatever is not larger than the largest number handed out is thrown away.
struct FenceCounter: Sendable {
    /// The largest number that was handed out, or may have been by a transaction that was rolled back.
    private(set) var largest: Int64 = 0
    /// Durable and not handed out yet.
    private var rest: Range<Int64> = 1..<1

    /// `count` fences in a row from the block in hand, and the first of them; nil when it holds less.
    mutating func take(_ count: Int64 = 1) -> Int64? {
        guard count <= rest.upperBound - rest.lowerBound else { return nil }
        let first = rest.lowerBound
        rest = (first + count)..<rest.upperBound
        largest = first + count - 1
        return first
    }

    /// A block became durable: the last of its `count` numbers is `end`.
    mutating func reserved(through end: Int64, count: Int64) {
        let block = max(end - count, largest)..<max(end, largest)
        if block.upperBound > rest.upperBound || rest.isEmpty { rest = (block.lowerBound + 1)..<(block.upperBound + 1) }
    }

    /// A transaction took the numbers up to `end` for itself: nothing smaller may follow.
    mutating func passed(_ end: Int64) {
        largest = max(largest, end)
        rest = (largest + 1)..<max(rest.upperBound, largest + 1)
    }
}
