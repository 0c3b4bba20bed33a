#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A moment in UTC: microseconds since 1970-01-01.
package struct Timestamp: Hashable, Sendable, Comparable, Codable {
    package var microseconds: Int64

    package init(microseconds: Int64) { self.microseconds = microseconds }
    /// The first moment of the year 10000: RFC 3339 writes none from here on.
    package static let end = Timestamp(microseconds: 253_402_300_800_000_000)

    /// Whether it is no further from 1970 than the calendar's end: other numbers are no times.
    package var isPlausible: Bool { microseconds.magnitude < Self.end.microseconds.magnitude }

    /// What microseconds cannot hold becomes the earliest or latest moment.
    package init(milliseconds: Int64) {
        let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1000)
        microseconds = overflow ? (milliseconds < 0 ? .min : .max) : product
    }

    package var milliseconds: Int64 {
        microseconds >= 0 ? microseconds / 1000 : (microseconds - 999) / 1000
    }

    package static func < (left: Timestamp, right: Timestamp) -> Bool { left.microseconds < right.microseconds }

    /// The moment `duration` later, to the microsecond.
    package static func + (moment: Timestamp, duration: Duration) -> Timestamp {
        Timestamp(microseconds: moment.microseconds + duration.microseconds)
    }

    package static func - (moment: Timestamp, duration: Duration) -> Timestamp {
        Timestamp(microseconds: moment.microseconds - duration.microseconds)
    }

    /// Time from `earlier` to `later`.
    package static func - (later: Timestamp, earlier: Timestamp) -> Duration {
        .microseconds(later.microseconds - earlier.microseconds)
    }

    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let moment = Timestamp(rfc3339: text) else {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "not RFC 3339"))
        }
        self = moment
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rfc3339)
    }
}

extension Duration {
    /// Whole microseconds, rounded toward zero.
    package var microseconds: Int64 {
        components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    }

    /// Seconds as a floating-point number, for metrics and display.
    package var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

/// The time of day as the product sees it. Injected wherever a decision depends on time.
package protocol WallClock: Sendable {
    var now: Timestamp { get }
}

/// CPU time of threads: other work on the machine does not count.
package enum ThreadTime {
    /// What the calling thread has used, nanoseconds.
    package static var nanoseconds: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

/// The machine's clock.
package struct SystemWallClock: WallClock {
    package init() {}

    package var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}

/// The machine's clock as it stood at a start, and from then on by a counter that nobody sets: for what is measured
/// and forgotten within one process, as limits and breakers are. What is stored or shown has the machine's clock.
package struct SteadyClock: WallClock {
    /// When the counter was at zero, microseconds.
    private let origin: Int64

    package init(from start: Timestamp = SystemWallClock().now) { origin = start.microseconds - Self.counted }

    package var now: Timestamp { Timestamp(microseconds: origin + Self.counted) }

    private static var counted: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }
}
