internal import Synchronization

/// How long one question about single conversions may read the log.
package struct ExplanationLimits: Sendable {
    /// The whole question.
    package var duration: Duration = .seconds(20)
    /// Records of the persons that are looked at, and rows of theirs that may be touches.
    package var recordsMax = 500_000
    /// Touches that one answer names; those that earn come first, then the newest.
    package var touchesMax = 500

    package init() {}
}

/// What all threads of one question share: when it must be done, and whether anybody still waits.
final class ReadingBudget: Sendable {
    let limits: ExplanationLimits
    let control = LogRunControl()
    private let deadline: ContinuousClock.Instant
    private let rows = Atomic<Int>(0)

    init(_ limits: ExplanationLimits) {
        self.limits = limits
        deadline = ContinuousClock.now + limits.duration
    }

    var rowsRead: Int { rows.load(ordering: .relaxed) }

    /// To be called before each block.
    /// - Throws: `slow` past the deadline, `cancelled` when nobody waits.
    func take(_ count: Int) throws(LogAttributionError) {
        try control.check()
        if ContinuousClock.now >= deadline { throw .slow(rowsRead) }
        rows.wrappingAdd(count, ordering: .relaxed)
    }
}
