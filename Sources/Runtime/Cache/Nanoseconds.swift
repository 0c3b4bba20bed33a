#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A moment of the machine's steady clock in one number: comparing it costs an instruction, not a sum of 128 bits.
package struct Nanoseconds: Comparable, Sendable {
    private let count: Int64

    static let min = Nanoseconds(count: .min)

    package init(count: Int64) { self.count = count }

    /// Goes on while the machine sleeps, as `ContinuousClock`.
    static var now: Nanoseconds {
        var time = timespec()
        #if canImport(Glibc)
            clock_gettime(CLOCK_BOOTTIME, &time)
        #else
            clock_gettime(CLOCK_MONOTONIC, &time)
        #endif
        return Nanoseconds(count: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    package static func < (left: Nanoseconds, right: Nanoseconds) -> Bool { left.count < right.count }

    /// - Parameter duration: what is longer than the clock can count is as long as that.
    func after(_ duration: Duration) -> Nanoseconds {
        let (seconds, attoseconds) = duration.components
        let (product, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !isTooLong else { return Nanoseconds(count: seconds < 0 ? .min : .max) }
        let (span, _) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        let (sum, isTooLate) = count.addingReportingOverflow(span)
        return Nanoseconds(count: isTooLate ? (span < 0 ? .min : .max) : sum)
    }

    /// From an earlier moment to this one.
    func since(_ earlier: Nanoseconds) -> Duration { .nanoseconds(count &- earlier.count) }

    /// Seconds from an earlier moment to this one.
    func seconds(after earlier: Nanoseconds) -> Double { Double(count &- earlier.count) / 1e9 }
}

/// The same clock, read for a few nanoseconds instead of fifty and at most a tick of the kernel (1 to 10 ms) behind.
struct TickClock: Sendable {
    #if canImport(Glibc)
        private var tick: (seconds: Int, nanoseconds: Int) = (.min, 0)
        private var known = Nanoseconds.min

        mutating func read() -> Nanoseconds {
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
            if (time.tv_sec, time.tv_nsec) != tick { (tick, known) = ((time.tv_sec, time.tv_nsec), .now) }
            return known
        }
    #else
        func read() -> Nanoseconds { .now }
    #endif
}
