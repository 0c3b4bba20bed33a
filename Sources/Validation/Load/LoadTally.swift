internal import Histogram
internal import NIOCore

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

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
    /// Wall clock minus monotonic clock, milliseconds.
    var wallOffsetMilliseconds: Int64 = wallOffset()

    func wallMilliseconds(_ uptimeNanoseconds: UInt64) -> Int64 {
        Int64(uptimeNanoseconds / 1_000_000) + wallOffsetMilliseconds
    }

    private static func wallOffset() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let wall = Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
        return wall - Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000)
    }
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
    package var unanswered = 0
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
        unanswered += other.unanswered
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

/// How late starts were for the generator's own reasons, in microseconds.
struct LagHistogram: Sendable {
    private var histogram = LatencyRecorder.empty

    mutating func record(_ nanoseconds: UInt64) { _ = histogram.record(min(max(1, nanoseconds / 1000), 600_000_000)) }
    mutating func add(_ other: LagHistogram) { histogram.add(other.histogram) }
    var p99Microseconds: UInt64 { histogram.totalCount == 0 ? 0 : histogram.valueAtPercentile(99) }
}

/// CPU time that the calling thread has used.
func threadCPUNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
