/// When a report that is watched is made anew: soon after a change, and seldom enough that who watches does not keep
/// others waiting.
package struct LivePace: Sendable {
    /// How soon a change of this process is looked for, and how often a report is made at most.
    package static let lookEvery: Duration = .milliseconds(100)
    package static let makeEvery: Duration = .milliseconds(400)
    /// Clicks and what other processes change are seen after this long at the latest.
    package static let freshFor: Duration = .milliseconds(900)
    /// A report that takes long is rested from for so many times as long.
    package static let restShare = 4

    private var seen: UInt64?
    private var made = ContinuousClock.now
    private var took = Duration.zero

    package init() {}

    /// Whether a report is to be made now; then the caller makes one and says so by `done`.
    /// - Parameter revision: grows with every change of this process.
    package mutating func isDue(_ revision: UInt64, at now: ContinuousClock.Instant) -> Bool {
        let pause = seen == revision ? Self.freshFor : Self.makeEvery
        guard seen == nil || now - made >= max(pause, took * Self.restShare) else { return false }
        seen = revision
        return true
    }

    /// A report was made, or could not be.
    package mutating func done(from start: ContinuousClock.Instant, to end: ContinuousClock.Instant) {
        (made, took) = (end, end - start)
    }
}
