import Attribution
import Testing

/// When a report that is watched is made anew.
struct LivePaceTests {
    @Test func `a change is shown soon, nothing new seldom, and a slow report is rested from`() {
        let start = ContinuousClock.now
        var pace = LivePace()
        #expect(pace.isDue(0, at: start), "the first one at once")
        pace.done(from: start, to: start + .milliseconds(10))
        #expect(!pace.isDue(1, at: start + .milliseconds(409)))
        #expect(pace.isDue(1, at: start + .milliseconds(410)), "0.4 s after the last")
        pace.done(from: start + .milliseconds(410), to: start + .milliseconds(420))
        #expect(!pace.isDue(1, at: start + .milliseconds(1319)))
        #expect(pace.isDue(1, at: start + .milliseconds(1320)), "what others change, after 0.9 s")
        pace.done(from: start + .milliseconds(1320), to: start + .milliseconds(1820))
        #expect(!pace.isDue(2, at: start + .milliseconds(3819)))
        #expect(pace.isDue(2, at: start + .milliseconds(3820)), "four times as long as it took")
    }
}
