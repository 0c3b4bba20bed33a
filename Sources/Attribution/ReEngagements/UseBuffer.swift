internal import AurumCore
internal import Events

/// Uses of apps between the log and the table: what moves no bound, or the end of a visit by little, is not written
/// with every batch of a busy app.
///
/// A use that waits is written before an open of its device is decided, and within `heldFor` in any case. Until then
/// the log is read again from before it after a start, so that nothing is lost: `heldFrom` says from where.
struct UseBuffer: Sendable {
    /// What the table holds at least.
    private var written: [ActivityPlace: ActivitySpan] = [:]
    private var waiting: [ActivityPlace: ActivitySpan] = [:]
    private var waitingSince = Timestamp(microseconds: .max)
    /// Everything that the log holds before it is in the table; nil where nothing waits.
    private(set) var heldFrom: LogPosition?

    /// Half days of devices that are remembered, and that wait.
    static let writtenMax = 200_000
    static let waitingMax = 100_000
    /// A last use that is later by less waits, and none waits longer.
    static let heldFor: Duration = .seconds(600)

    /// Whether something has waited long enough, or too much waits.
    func isDue(_ now: Timestamp) -> Bool {
        heldFrom != nil && (waiting.count >= Self.waitingMax || now >= waitingSince + Self.heldFor)
    }

    /// Takes what a part of the log says of uses and hands out what is to be written now. It counts as written: when
    /// that failed, the buffer is to be dropped with it.
    /// - Parameters:
    ///   - opens: of that part: what waits of their devices is handed out.
    ///   - position: everything up to here was read before that part; nil lets nothing wait.
    /// - Returns: half days to be written, and later last uses of half days that were.
    mutating func take(
        _ found: [ActivityPlace: ActivitySpan], opens: [SeenOpen], after position: LogPosition?, now: Timestamp
    ) -> (new: [ActivityPlace: ActivitySpan], moved: [ActivityPlace: ActivitySpan]) {
        let opened = Set(opens.flatMap(\.seen.keys.devices))
        var (new, moved): ([ActivityPlace: ActivitySpan], [ActivityPlace: ActivitySpan]) = ([:], [:])
        for (place, span) in found {
            var whole = span
            let held = waiting[place]
            if let held { whole.add(held) }
            if position != nil, !opened.contains(place.device), let known = written[place], whole.first >= known.first,
                whole.last - known.last < Self.heldFor.microseconds
            {
                guard whole.last > known.last else { continue }
                waiting[place] = whole
            } else {
                // What waited is of a half day that was in the table: where it is not any more it does not come back.
                waiting[place] = nil
                new[place] = span
                moved[place] = held
            }
        }
        if !opened.isEmpty {
            for (place, span) in waiting where opened.contains(place.device) { moved[place] = span }
            for place in moved.keys { waiting[place] = nil }
        }
        hold(from: position, now)
        remember(new)
        remember(moved)
        if isDue(now) { moved.merge(takeAll()) { $1 } }
        return (new, moved)
    }

    /// Hands out everything that waits: later last uses of half days that were written.
    mutating func takeAll() -> [ActivityPlace: ActivitySpan] {
        let all = waiting
        waiting = [:]
        hold(from: nil, Timestamp(microseconds: .max))
        remember(all)
        return all
    }

    /// Takes nothing for written any more.
    mutating func forgetWritten() { written = [:] }

    private mutating func hold(from position: LogPosition?, _ now: Timestamp) {
        if waiting.isEmpty {
            (heldFrom, waitingSince) = (nil, Timestamp(microseconds: .max))
        } else if heldFrom == nil {
            (heldFrom, waitingSince) = (position, now)
        }
    }

    private mutating func remember(_ ready: [ActivityPlace: ActivitySpan]) {
        if written.count + ready.count > Self.writtenMax { written = [:] }
        for (place, span) in ready.prefix(Self.writtenMax) {
            written[place, default: span].add(span)
        }
    }
}
