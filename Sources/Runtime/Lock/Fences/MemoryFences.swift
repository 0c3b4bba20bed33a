internal import Synchronization

/// Fences of one process that forgets them: for tests and simulations.
package final class MemoryFences: FenceSequence {
    private let last = Atomic<Int64>(0)

    package init() {}

    package func next() async -> Fence {
        Fence(rawValue: last.wrappingAdd(1, ordering: .relaxed).newValue)
    }
}
