import Attribution
import Testing

/// When a report that is watched is made anew.
struct LivePaceTests {
    @Test func `a change is shown soon, nothing new seldom, and a slow report is rested from`() {
        let start = ContinuousClock.now
        var pace = LivePace()
        func isDue(_ revision: UInt64, _ now: ContinuousClock.Instant) -> Bool { pace.isDue(revision, at: now) }
        #expect(isDue(0, start), "the first one at once")
        pace.done(from: start, to: start + .milliseconds(10))
        #expect(!isDue(1, start + .milliseconds(409)))
        #expect(isDue(1, start + .milliseconds(410)), "0.4 s after the last")
        pace.done(from: start + .milliseconds(410), to: start + .milliseconds(420))
        #expect(!isDue(1, start + .milliseconds(1319)))
        #expect(isDue(1, start + .milliseconds(1320)), "what others change, after 0.9 s")
        pace.done(from: start + .milliseconds(1320), to: start + .milliseconds(1820))
        #expect(!isDue(2, start + .milliseconds(3819)))
        #expect(isDue(2, start + .milliseconds(3820)), "four times as long as it took")
    }
}
