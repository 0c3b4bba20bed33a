/// Every bound of capture, log and views. Printed at start; what happens at each bound is tested.
package struct EventLimits: Sendable, Equatable {
    /// Decoded bytes of one body.
    package var bodyBytesMax = 4 << 20
    /// The same on the routes of PostHog's clients.
    package var postHogBodyBytesMax = 6 << 20
    /// Bytes of the query of a pixel or a click.
    package var queryBytesMax = 8 << 10
    /// Events of one request.
    package var batchEventsMax = 2500
    /// Bytes of one event from outside.
    package var eventBytesMax = 32 << 10
    /// Bytes of one event that Aurum itself writes.
    package var internalEventBytesMax = 1 << 20
    /// Decoded bytes for one byte of a compressed body.
    package var inflateRatioMax = 100
    /// Bytes of bodies that wait for their commit; above it new bodies are refused.
    package var bytesInFlightMax = 64 << 20
    /// Free bytes of the volume below which nothing new is accepted.
    package var freeBytesMin = 2 << 30
    /// Hundredths of the volume: below so many free ones health warns.
    package var freePercentWarn = 15
    /// Below so many free ones nothing new is accepted either, and from so many on it is again.
    package var freePercentMin = 5
    package var freePercentAgain = 7
    /// Rows after which a block closes.
    package var blockRowsMax = 24_000
    /// Bytes of dictionaries of one shard after which the segment is sealed.
    package var dictionaryBytesMax = 32 << 20
    /// Bytes after which a segment file is sealed and the next begins.
    package var segmentBytesMax = 256 << 20
    /// Rows after which a segment is sealed.
    package var segmentRowsMax = 10_000_000
    /// Seconds after which a segment with rows is sealed.
    package var segmentSeconds: Int64 = 900
    /// Bytes that a segment file grows by at a time.
    package var preallocateBytes = 16 << 20
    /// Event ids remembered for de-duplication at least, when they are at most seven days old: up to 4 billion.
    package var dedupIdentifiersMax = 50_000_000
    /// Seconds for which event ids are remembered, when they are not more.
    package var dedupWindowSeconds: Int64 = 7 * 86_400
    /// Touchpoints kept in the index, in two generations of half as many.
    package var touchesMax = 1_000_000
    /// Problems that the answer to a request names.
    package var problemsMax = 20
    /// Events one read may answer with.
    package var readEventsMax = 10_000
    package var identity = IdentityLimits()

    package init() {}

    /// Free bytes that a volume needs so that something new is accepted.
    /// - Parameter again: after it had too few.
    func freeBytesNeeded(of total: Int, again: Bool) -> Int {
        max(freeBytesMin, total / 100 * (again ? freePercentAgain : freePercentMin))
    }

    /// Name and value of every bound, in the order of declaration.
    package var rows: [(name: String, value: Int)] {
        [
            ("events.bodyBytesMax", bodyBytesMax), ("events.postHogBodyBytesMax", postHogBodyBytesMax),
            ("events.queryBytesMax", queryBytesMax), ("events.batchEventsMax", batchEventsMax),
            ("events.eventBytesMax", eventBytesMax), ("events.internalEventBytesMax", internalEventBytesMax),
            ("events.inflateRatioMax", inflateRatioMax), ("events.bytesInFlightMax", bytesInFlightMax),
            ("events.freeBytesMin", freeBytesMin),
            ("events.freePercentWarn", freePercentWarn), ("events.freePercentMin", freePercentMin),
            ("events.freePercentAgain", freePercentAgain),
            ("events.blockRowsMax", blockRowsMax),
            ("events.dictionaryBytesMax", dictionaryBytesMax), ("events.segmentBytesMax", segmentBytesMax),
            ("events.segmentRowsMax", segmentRowsMax), ("events.segmentSeconds", Int(segmentSeconds)),
            ("events.preallocateBytes", preallocateBytes), ("events.dedupIdentifiersMax", dedupIdentifiersMax),
            ("events.dedupWindowSeconds", Int(dedupWindowSeconds)),
            ("events.touchesMax", touchesMax), ("events.problemsMax", problemsMax),
            ("events.readEventsMax", readEventsMax),
        ] + identity.rows
    }
}

/// Bounds of the contract itself: the same for everybody, so that one event means the same everywhere.
enum ContractLimits {
    static let identifierBytes = 200
    static let depthMax = 32
    static let objectKeysMax = 256
    static let keyBytesMax = 128
    static let stringBytesMax = 8192
    /// How far a time may lie ahead of the receipt: 24 hours in microseconds.
    static let futureMicroseconds: Int64 = 86_400_000_000
    /// How far back: 400 days in microseconds.
    static let pastMicroseconds: Int64 = 400 * 86_400_000_000
    /// A client clock further off than this is corrected by `sent_at`: 60 seconds in microseconds.
    static let clockToleranceMicroseconds: Int64 = 60_000_000
    /// Events older than this at their receipt are `late`: 24 hours in microseconds.
    static let latenessMicroseconds: Int64 = 86_400_000_000
}
