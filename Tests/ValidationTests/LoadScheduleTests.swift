internal import AurumCore
import Testing
internal import Validation

/// Drives a schedule through simulated time against a server that answers each request after `delay(number, time)`.
private func simulate(
    _ executor: LoadExecutor, phase: Double = 0, delay: (Int, UInt64) -> UInt64
) -> (starts: Int, recorder: LatencyRecorder) {
    var schedule = LoadSchedule(executor, phase: phase)
    var recorder = LatencyRecorder()
    var flights: [(end: UInt64, start: LoadSchedule.Start, sent: UInt64)] = []
    var now: UInt64 = 0
    while true {
        while let start = schedule.next(now: now) {
            flights.append((now + delay(start.index, now), start, now))
        }
        let soonest = flights.map(\.end).min()
        guard let next = [soonest, schedule.wake(now: now)].compactMap({ $0 }).min() else { break }
        now = max(next, now)
        let done = flights.filter { $0.end <= now }.sorted { $0.end < $1.end }
        flights.removeAll { $0.end <= now }
        for flight in done {
            recorder.finished(intended: flight.start.intended, sent: flight.sent, answered: flight.end)
            schedule.finish(user: flight.start.user, now: now)
        }
        if flights.isEmpty, schedule.isExhausted(now: now) { break }
    }
    return (schedule.started, recorder)
}

private let millisecond: UInt64 = 1_000_000

@Suite struct LoadScheduleTests {
    @Test(arguments: [(50.0, 10.0), (137.0, 61.0), (1000.0, 3.0), (0.5, 100.0)])
    func `constant arrival rate starts rate times duration`(rate: Double, seconds: Double) {
        let executor = LoadExecutor.constantArrivalRate(perSecond: rate, seconds: seconds, virtualUsers: 1000)
        let result = simulate(executor) { _, _ in 30 * millisecond }
        let expected = rate * seconds
        #expect(abs(Double(result.starts) - expected) <= max(1, expected * 0.01))
    }

    @Test func `a load that is told to stop starts nothing more and misses nothing`() {
        var schedule = LoadSchedule(.constantArrivalRate(perSecond: 10, seconds: 1000, virtualUsers: 4))
        var users: [Int] = []
        for moment in stride(from: 0, to: 2000 * millisecond, by: 100_000_000) {
            while let start = schedule.next(now: moment) {
                users.append(start.user)
                schedule.finish(user: start.user, now: moment)
            }
        }
        #expect(users.count == 20 && !schedule.isExhausted(now: 1950 * millisecond))
        schedule.stop(now: 1950 * millisecond)
        #expect(schedule.next(now: 3000 * millisecond) == nil && schedule.wake(now: 3000 * millisecond) == nil)
        #expect(schedule.isExhausted(now: 1950 * millisecond) && schedule.unstarted().isEmpty)
    }

    @Test func `steps of a rate start what each of them says, and the threads together the same`() {
        let steps = [
            RateStep(perSecond: 100, seconds: 3), RateStep(perSecond: 300, seconds: 2),
            RateStep(perSecond: 50, seconds: 4),
        ]
        let executor = LoadExecutor.steppedArrivalRate(steps: steps, virtualUsers: 2000)
        #expect(executor.isOpenLoop && executor.lengthNanoseconds == 9000 * millisecond)
        #expect(simulate(executor) { _, _ in 30 * millisecond }.starts == 1100)
        var schedule = LoadSchedule(executor)
        var due: [UInt64] = []
        while let start = schedule.next(now: 9000 * millisecond - 1) { due.append(start.intended) }
        #expect(due.count { $0 < 3000 * millisecond } == 300)
        #expect(due.count { $0 >= 5000 * millisecond } == 200)
        #expect(due == due.sorted())
        let parts = (0..<3).map { part in
            simulate(executor.share(part, of: 3), phase: Double(part) / 3) { _, _ in millisecond }.starts
        }
        #expect(parts.reduce(0, +) == 1100)
    }

    @Test func `shared iterations are each done once and then it is over`() {
        let executor = LoadExecutor.sharedIterations(count: 57, virtualUsers: 5, secondsMax: 60)
        #expect(simulate(executor) { _, _ in 20 * millisecond }.starts == 57)
        let parts = (0..<4).map { part in simulate(executor.share(part, of: 4)) { _, _ in millisecond }.starts }
        #expect(parts.reduce(0, +) == 57)
        #expect(!executor.isOpenLoop)
    }

    @Test func `ramping users start as often as the area under the ramp says`() {
        let stages = [
            LoadStage(target: 10, seconds: 20), LoadStage(target: 10, seconds: 30), LoadStage(target: 0, seconds: 10),
        ]
        let result = simulate(.rampingVirtualUsers(start: 0, stages: stages)) { _, _ in 100 * millisecond }
        // A user joins when the line crosses its number: on a ramp of n users half a user is always still missing.
        let meanOnRamp = 10.0 / 2 - 0.5
        let userSeconds: Double = meanOnRamp * 20 + 300 + meanOnRamp * 10
        let expected: Double = userSeconds / 0.1
        #expect(abs(Double(result.starts) - expected) / expected < 0.01, "\(result.starts) of \(expected)")
    }

    @Test func `the threads of a load together make the whole load`() {
        let whole = LoadExecutor.rampingVirtualUsers(start: 7, stages: [LoadStage(target: 23, seconds: 5)])
        let parts = (0..<4).map { whole.share($0, of: 4) }
        #expect(parts.map(\.usersMax).reduce(0, +) == 23)
        let rate = LoadExecutor.constantArrivalRate(perSecond: 100, seconds: 5, virtualUsers: 12)
        let starts = (0..<3).map { part in
            simulate(rate.share(part, of: 3), phase: Double(part) / 3) { _, _ in millisecond }.starts
        }
        #expect(starts.reduce(0, +) == 500)
    }

    @Test func `a fixed delay is measured as it is`() {
        let executor = LoadExecutor.constantArrivalRate(perSecond: 200, seconds: 60, virtualUsers: 100)
        let summary = simulate(executor) { _, _ in 50 * millisecond }.recorder.summary
        for point in [summary.p50, summary.p90, summary.p95, summary.p99] {
            #expect(abs(point.milliseconds - 50) < 1)
            #expect(point.enough && !point.atLeast)
        }
    }

    @Test func `one percent of slow answers shows above the 99th percentile only`() {
        let executor = LoadExecutor.constantArrivalRate(perSecond: 500, seconds: 60, virtualUsers: 1000)
        let summary = simulate(executor) { number, _ in
            number.isMultiple(of: 100) ? 1000 * millisecond : 10 * millisecond
        }.recorder.summary
        #expect(abs(summary.p95.milliseconds - 10) < 0.3)
        #expect(abs(summary.p999.milliseconds - 1000) < 20)
    }

    @Test func `open loop shows a freeze that closed loop hides`() {
        let begin = 20_000 * millisecond
        let end = 26_000 * millisecond
        func frozen(_ number: Int, _ now: UInt64) -> UInt64 {
            now >= begin && now < end ? end - now + 5 * millisecond : 5 * millisecond
        }
        let open = simulate(
            .constantArrivalRate(perSecond: 100, seconds: 60, virtualUsers: 20), delay: frozen
        ).recorder.summary
        // A tenth of all arrivals falls into the freeze; arrival i of them waits 6 s less 10 ms for each before it, and
        // for the queue that 20 users then clear in steps of 5 ms: 5.42 s for the 60th, 3.08 s for the 300th.
        #expect(abs(open.p99.milliseconds - 5420) / 5420 < 0.01, "\(open.p99.text)")
        #expect(abs(open.p95.milliseconds - 3080) / 3080 < 0.01, "\(open.p95.text)")
        let closed = simulate(
            .rampingVirtualUsers(start: 20, stages: [LoadStage(target: 20, seconds: 60)]), delay: frozen
        ).recorder.summary
        #expect(closed.p99.milliseconds < 10, "closed loop: \(closed.p99.text)")
    }

    @Test func `arrivals that find no free user wait and are not dropped`() {
        let executor = LoadExecutor.constantArrivalRate(perSecond: 100, seconds: 2, virtualUsers: 1)
        let result = simulate(executor) { _, _ in 20 * millisecond }
        #expect(result.starts == 200)
        #expect(result.recorder.summary.p50.milliseconds > 900)
    }

    @Test func `what never began is reported with its due time`() {
        var schedule = LoadSchedule(.constantArrivalRate(perSecond: 10, seconds: 1, virtualUsers: 1))
        let first = schedule.next(now: 0)
        let second = schedule.next(now: 500 * millisecond)
        #expect(first != nil && second == nil)
        #expect(schedule.unstarted() == (1..<10).map { UInt64($0) * 100 * millisecond })
        #expect(!schedule.hasIdleUser)
    }

    @Test func `lag is the generator's own lateness, not the target's`() throws {
        var schedule = LoadSchedule(.constantArrivalRate(perSecond: 10, seconds: 1, virtualUsers: 1))
        let first = schedule.next(now: 0)
        #expect(first?.index == 0)
        schedule.finish(user: 0, now: 350 * millisecond)
        let next = schedule.next(now: 351 * millisecond)
        let late = try #require(next)
        #expect(late.intended == 100 * millisecond)
        #expect(late.lag == millisecond)
    }

    @Test func `a percentile among unanswered requests is a lower bound`() {
        var recorder = LatencyRecorder()
        for _ in 0..<90 { recorder.finished(intended: 0, sent: 0, answered: 10 * millisecond) }
        for _ in 0..<30 { recorder.unfinished(waited: 2000 * millisecond) }
        let summary = recorder.summary
        #expect(!summary.p50.atLeast)
        #expect(summary.p95.atLeast && summary.p95.text.hasPrefix("≥ "))
        #expect(!summary.p95.isBelow(5000))
        #expect(summary.p99.text == "n too small")
    }
}
