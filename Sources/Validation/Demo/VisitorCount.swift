internal import Synchronization

/// How many visitors are there now.
final class VisitorCount: Sendable {
    private let count = Mutex(0)

    /// False when it is full.
    func enter(max: Int) -> Bool {
        count.withLock { count in
            guard count < max else { return false }
            count += 1
            return true
        }
    }

    func leave() { count.withLock { $0 -= 1 } }
}
