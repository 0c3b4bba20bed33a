internal import AurumCore
internal import Histogram
internal import NIOCore
internal import Synchronization

/// What a driver needs to know besides its schedule.
struct LoadSettings: Sendable {
    var warmUpNanoseconds: UInt64 = 0
    /// How long answers are awaited after the last start.
    var graceNanoseconds: UInt64 = 10_000_000_000
    /// Answers are event receipts whose counts add up.
    var readsReceipts = false
    /// Remember the sequence numbers of bodies that were stored whole.
    var keepsAcknowledged = false
    /// Share of each 50 ms for which the thread is held up, to prove the self-check.
    var starvedShare = 0.0
    /// Ends the load before its time; nil lets it run its length.
    var stop: LoadStop?
    /// Wall clock minus monotonic clock, milliseconds.
    var wallOffsetMilliseconds: Int64 = wallOffset()

    func wallMilliseconds(_ uptimeNanoseconds: UInt64) -> Int64 {
        Int64(uptimeNanoseconds / 1_000_000) + wallOffsetMilliseconds
    }

    private static func wallOffset() -> Int64 {
        SystemWallClock().now.microseconds / 1000
            - Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000)
    }
}

/// Tells a load that runs as long as something else does that it is over. Drivers look once a second.
final class LoadStop: Sendable {
    private let flag = Atomic(false)

    var isSet: Bool { flag.load(ordering: .relaxed) }
    func set() { flag.store(true, ordering: .relaxed) }
}

/// Everything one driver counted.
package struct LoadTally: Sendable {
    package var judged = LatencyRecorder()
    package var warmUp = LatencyRecorder()
    var sendLag = LagHistogram()
    package var requestsSent = 0
    package var itemsSent = 0
    /// Items acknowledged (2xx) within the judged time: the numerator of throughput.
    package var judgedAnswered = 0
    /// Judged requests that ended in anything but 2xx, lost and never begun ones included.
    package var judgedErrors = 0
    package var statuses: [Int: Int] = [:]
    package var outcomes = OutcomeCounts()
    /// Answers 429 and 503: the target said no and stored nothing.
    package var refused = 0
    /// Those of them that did not say when to try again.
    package var refusedWithoutRetryAfter = 0
    package var unanswered = 0
    /// Those of them that were never sent, because their user's connection was gone.
    package var unsent = 0
    package var connectionsLost = 0
    /// Due starts that had a free user and were not begun: the generator's fault.
    package var missedByGenerator = 0
    /// Due starts that found every user waiting for the target.
    package var blockedByTarget = 0
    package var cpuPerSecond: [Double] = []
    package var judgedCPUNanoseconds: UInt64 = 0
    package var loopLagMaxNanoseconds: UInt64 = 0
    package var acknowledged: [UInt64] = []
    package var acknowledgedPerSecond: [Int] = []
    /// Every request's latency by the second of its intended start.
    package var seconds = SecondLatencies()
    /// When the last answer came, nanoseconds after the start.
    package var lastAnswerNanoseconds: UInt64 = 0

    package init() {}

    mutating func recorder(judged isJudged: Bool, _ change: (inout LatencyRecorder) -> Void) {
        if isJudged { change(&judged) } else { change(&warmUp) }
    }

    mutating func count(second: Int, items: Int) {
        guard second >= 0, second < 1_000_000 else { return }
        while acknowledgedPerSecond.count <= second { acknowledgedPerSecond.append(0) }
        acknowledgedPerSecond[second] += items
    }

    package mutating func add(_ other: LoadTally) {
        judged.add(other.judged)
        warmUp.add(other.warmUp)
        sendLag.add(other.sendLag)
        requestsSent += other.requestsSent
        itemsSent += other.itemsSent
        judgedAnswered += other.judgedAnswered
        judgedErrors += other.judgedErrors
        statuses.merge(other.statuses, uniquingKeysWith: +)
        outcomes += other.outcomes
        refused += other.refused
        refusedWithoutRetryAfter += other.refusedWithoutRetryAfter
        seconds.add(other.seconds)
        lastAnswerNanoseconds = max(lastAnswerNanoseconds, other.lastAnswerNanoseconds)
        unanswered += other.unanswered
        unsent += other.unsent
        connectionsLost += other.connectionsLost
        missedByGenerator += other.missedByGenerator
        blockedByTarget += other.blockedByTarget
        judgedCPUNanoseconds += other.judgedCPUNanoseconds
        loopLagMaxNanoseconds = max(loopLagMaxNanoseconds, other.loopLagMaxNanoseconds)
        acknowledged += other.acknowledged
        for (second, value) in other.acknowledgedPerSecond.enumerated() { count(second: second, items: value) }
        for (second, value) in other.cpuPerSecond.enumerated() {
            if second == cpuPerSecond.count { cpuPerSecond.append(0) }
            cpuPerSecond[second] = max(cpuPerSecond[second], value)
        }
    }
}

/// Latencies of a run second by second, so that a percentile can be given for any part of it.
package struct SecondLatencies: Sendable {
    /// Microseconds; `unfinished` for requests without an answer.
    private var seconds: [[UInt32]] = []
    static let unfinished = UInt32.max
    private static let secondsMax = 100_000

    package init() {}

    package var count: Int { seconds.count }

    package mutating func record(second: Int, microseconds: UInt64?) {
        guard second >= 0, second < Self.secondsMax else { return }
        while seconds.count <= second { seconds.append([]) }
        seconds[second].append(microseconds.map { UInt32(min($0, UInt64(Self.unfinished - 1))) } ?? Self.unfinished)
    }

    mutating func add(_ other: SecondLatencies) {
        while seconds.count < other.seconds.count { seconds.append([]) }
        for (second, values) in other.seconds.enumerated() { seconds[second] += values }
    }

    /// How many requests were meant to start in these seconds.
    package func samples(_ range: Range<Int>) -> Int {
        range.clamped(to: seconds.indices).reduce(0) { $0 + seconds[$1].count }
    }

    /// Milliseconds at a share of all requests of these seconds: infinite where it falls among unanswered ones, nil
    /// where there are none.
    package func percentile(_ share: Double, in range: Range<Int>) -> Double? {
        var all = range.clamped(to: seconds.indices).flatMap { seconds[$0] }
        guard !all.isEmpty else { return nil }
        all.sort()
        let value = all[min(all.count - 1, Int((Double(all.count) * share).rounded(.up)) - (share > 0 ? 1 : 0))]
        return value == Self.unfinished ? .infinity : Double(value) / 1000
    }
}

/// How late starts were for the generator's own reasons, in microseconds.
struct LagHistogram: Sendable {
    private var histogram = LatencyRecorder.empty

    mutating func record(_ nanoseconds: UInt64) { _ = histogram.record(min(max(1, nanoseconds / 1000), 600_000_000)) }
    mutating func add(_ other: LagHistogram) { histogram.add(other.histogram) }
    var p99Microseconds: UInt64 { histogram.totalCount == 0 ? 0 : histogram.valueAtPercentile(99) }
}
