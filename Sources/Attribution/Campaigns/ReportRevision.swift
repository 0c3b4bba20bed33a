internal import Synchronization

/// Grows whenever something that a campaign report shows was changed by this process, so that those who watch one need
/// not ask the database to know.
package final class ReportRevision: Sendable {
    private let count = Atomic<UInt64>(0)

    package init() {}

    package var value: UInt64 { count.load(ordering: .acquiring) }

    package func advance() { count.wrappingAdd(1, ordering: .acquiringAndReleasing) }
}
