/// The wall clock as far as forgetting may believe it: it follows a clock back at once, and ahead only at twice the
/// pace of the monotonic clock. So a wrong reading lets nothing be forgotten that the right one would not, however far
/// it jumps; after a long stop the age is caught up with in as long again, and until then more is remembered.
package struct TrustedClock: Sendable {
    /// The wall clock when the index was opened.
    private let openedAt: Int64
    private let uptime: @Sendable () -> Int64
    private var readAt: Int64
    private var believed: Int64?
    /// The last reading, believed or not.
    private(set) var latest: Int64 = .min

    /// - Parameters:
    ///   - now: the wall clock, microseconds since 1970; ids that were received later do not say what time it is.
    ///   - uptime: microseconds of a clock that never jumps.
    package init(now: Int64 = .max, uptime: @escaping @Sendable () -> Int64 = TrustedClock.uptime) {
        (openedAt, self.uptime) = (now, uptime)
        readAt = uptime()
    }

    private static let origin = ContinuousClock.now
    package static let uptime: @Sendable () -> Int64 = {
        let (seconds, attoseconds) = (ContinuousClock.now - origin).components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }

    /// What is believed; 0 before anything was read.
    var now: Int64 { believed ?? 0 }

    /// Takes the receive time of ids that were accepted before the start.
    mutating func remember(_ receivedAt: Int64) {
        guard receivedAt > .min else { return }
        latest = max(latest, min(receivedAt, openedAt))
        believed = max(believed ?? .min, min(receivedAt, openedAt))
    }

    /// Takes a reading of the wall clock.
    mutating func read(_ moment: Int64) {
        let at = uptime()
        let most = believed.map { $0 &+ 2 &* max(0, at &- readAt) } ?? moment
        (believed, readAt, latest) = (min(moment, most), at, moment)
    }
}
