internal import AurumCore
internal import NIOCore

/// Bodies of the standard profile, every event of them drawn anew, with times that go evenly from `from` to `to`.
///
/// Body k belongs to app k mod count of heads, as the profile says. The bodies of one round through the apps share one
/// stretch of the time, so that each app has events at all times and the log grows in the order of the events' times.
struct HistoryBodies: RequestSource, Sendable {
    private let population = EventPopulation(.standard, seed: HistoryBodies.seed)
    private let heads: [String]
    private let seed: UInt64
    private let salt: UInt64
    private let stride: Int
    private let from: Int64
    /// Milliseconds of one round, and of one event's step in it.
    private let round: Double
    private let step: Double
    private var sequence: Int
    private var minute = MinuteText()
    private var body: [UInt8] = []

    static let batch = 800
    /// Persons, pages and campaigns are those of the load generator's bodies.
    static let seed: UInt64 = 7
    /// Events are up to so much older than their place says: senders are not in step.
    private static let jitterMilliseconds = 80

    /// - Parameters:
    ///   - heads: one HTTP head (all lines but Content-Length, each ended) an app.
    ///   - from: milliseconds since 1970.
    init(
        heads: [String], bodies: Int, from: Int64, to: Int64, seed: UInt64, salt: UInt64, thread: Int, threads: Int
    ) {
        self.heads = heads
        self.seed = seed
        self.salt = salt
        self.from = from
        let rounds = (bodies + heads.count - 1) / heads.count
        round = Double(to - from) / Double(max(1, rounds))
        step = round / Double(Self.batch)
        sequence = thread
        stride = threads
        body.reserveCapacity(Self.batch * 360)
    }

    mutating func next(nowMilliseconds: Int64) -> LoadRequest? {
        defer { sequence += stride }
        var random = SeededRandom(seed: seed &+ UInt64(sequence))
        body.removeAll(keepingCapacity: true)
        let drawn = (0..<Self.batch).map { _ in population.append(to: &body, &random) }
        let start = Double(sequence / heads.count) * round
        let first = UInt64(sequence) &* UInt64(Self.batch)
        body.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            for (index, event) in drawn.enumerated() {
                let (high, low) = identifier(salt, first &+ UInt64(index))
                writeUUID(high, low, into: base + event.id)
                minute.move(to: from + Int64(start + Double(index) * step))
                minute.write(
                    age: Int(random.next() % UInt64(Self.jitterMilliseconds)), into: base + event.time)
            }
        }
        let head = "\(heads[sequence % heads.count])Content-Length: \(body.count)\r\n\r\n"
        var buffer = ByteBuffer()
        buffer.reserveCapacity(head.utf8.count + body.count)
        buffer.writeString(head)
        buffer.writeBytes(body)
        return LoadRequest(buffer: buffer, items: Self.batch, slot: 0, sequence: UInt64(sequence))
    }

    mutating func recycle(slot: Int) {}
}
