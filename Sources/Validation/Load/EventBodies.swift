package import AurumCore
internal import NIOCore

/// Bodies of events, rendered once with their HTTP head; before each send every event in one gets a fresh id and time
/// at its fixed place. No id is ever sent twice, and a whole body costs some microseconds.
///
/// The ids follow from `salt` and the body's sequence number, so a check can name every event of a body afterwards.
package struct EventBodies: Sendable {
    struct Template: Sendable {
        var buffer: ByteBuffer
        var ids: [Int32]
        var times: [Int32]
        /// Milliseconds before the time of sending, per event.
        var ages: [Int16]
    }

    private var templates: [Template]
    private var free: [Int]
    /// Every body comes round before one comes again; otherwise the one used last does, which the caches still hold.
    private let inTurn: Bool
    private var minute = MinuteText()
    /// Distance between the sequence numbers of bodies: the number of threads that stamp beside each other.
    private let stride: UInt64
    private var sequence: UInt64
    /// Bodies to make again, in reverse; nil makes new ones.
    private var again: [UInt64]?
    package let salt: UInt64
    package let batch: Int
    /// Mean size of an event line.
    package let bytesPerEvent: Double

    /// - Parameters:
    ///   - heads: one HTTP head (all lines but Content-Length, each ended) per key; body k takes head k mod count.
    package init(
        profile: EventProfile, batch: Int, count: Int, heads: [String], seed: UInt64, salt: UInt64,
        thread: Int = 0, threads: Int = 1, inTurn: Bool = false
    ) {
        let population = EventPopulation(profile, seed: seed)
        var random = SeededRandom(seed: seed &+ UInt64(thread) &* 0x1000_0001)
        var bytes = 0
        templates = (0..<max(1, count)).map { index in
            let made = EventBodies.render(population, batch: batch, head: heads[index % heads.count], &random)
            bytes += made.bodyBytes
            return made.template
        }
        free = Array(templates.indices.reversed())
        self.salt = salt
        self.batch = batch
        self.inTurn = inTurn
        stride = UInt64(threads)
        sequence = UInt64(thread)
        bytesPerEvent = Double(bytes) / Double(templates.count * max(1, batch))
    }

    private static func render(
        _ population: EventPopulation, batch: Int, head: String, _ random: inout SeededRandom
    ) -> (template: Template, bodyBytes: Int) {
        var body: [UInt8] = []
        body.reserveCapacity(batch * 360)
        var places: [EventPopulation.Drawn] = []
        for _ in 0..<batch { places.append(population.append(to: &body, &random)) }
        let start = Array("\(head)Content-Length: \(body.count)\r\n\r\n".utf8)
        var buffer = ByteBuffer()
        buffer.reserveCapacity(start.count + body.count)
        buffer.writeBytes(start)
        buffer.writeBytes(body)
        let ages = (0..<batch).map { Int16(clamping: batch - $0 + Int.random(in: 0...80, using: &random)) }
        let template = Template(
            buffer: buffer, ids: places.map { Int32($0.id + start.count) },
            times: places.map { Int32($0.time + start.count) }, ages: ages)
        return (template, body.count)
    }

    /// Takes a free body and stamps it. nil only when more requests are in flight than there are templates.
    mutating func next(nowMilliseconds: Int64) -> LoadRequest? {
        guard again?.isEmpty != true, let index = free.popLast() else { return nil }
        let number = again?.popLast() ?? sequence
        if again == nil { sequence += stride }
        minute.move(to: nowMilliseconds)
        EventBodies.stamp(&templates[index], salt: salt, first: number &* UInt64(batch), minute)
        return LoadRequest(buffer: templates[index].buffer, items: batch, slot: index, sequence: number)
    }

    /// From here on only bodies with these sequence numbers, in this order: the ids of bodies that were sent before.
    package mutating func repeatOnly(_ sequences: [UInt64]) { again = sequences.reversed() }

    /// The next body as bytes, and its sequence number: what is sent, for those who only look.
    package mutating func nextMessage(
        nowMilliseconds: Int64, recycle: Bool = true
    ) -> (bytes: [UInt8], sequence: UInt64)? {
        guard let request = next(nowMilliseconds: nowMilliseconds) else { return nil }
        defer { if recycle { self.recycle(slot: request.slot) } }
        return (Array(request.buffer.readableBytesView), request.sequence)
    }

    /// Gives a body back when its answer is there.
    mutating func recycle(slot: Int) { free.insert(slot, at: inTurn ? 0 : free.endIndex) }

    /// The id that event `index` of body `sequence` carried.
    package static func id(salt: UInt64, sequence: UInt64, batch: Int, index: Int) -> String {
        var text = [UInt8](repeating: 0, count: EventPopulation.idBytes)
        let (high, low) = identifier(salt, sequence &* UInt64(batch) &+ UInt64(index))
        text.withUnsafeMutableBytes { writeUUID(high, low, into: $0.baseAddress.unsafelyUnwrapped) }
        return String(decoding: text, as: UTF8.self)
    }

    private static func stamp(_ template: inout Template, salt: UInt64, first: UInt64, _ minute: MinuteText) {
        template.buffer.withUnsafeMutableReadableBytes { raw in
            guard let base = raw.baseAddress else { return }
            for index in template.ids.indices {
                let (high, low) = identifier(salt, first &+ UInt64(index))
                writeUUID(high, low, into: base + Int(template.ids[index]))
                minute.write(age: Int(template.ages[index]), into: base + Int(template.times[index]))
            }
        }
    }
}

/// 128 bits that differ for every `number` of one salt. Source of the mixing: SplitMix64.
@inline(__always)
func identifier(_ salt: UInt64, _ number: UInt64) -> (UInt64, UInt64) {
    (
        mixed(salt &+ (number &* 2 &+ 1) &* 0x9E37_79B9_7F4A_7C15),
        mixed(salt &+ (number &* 2 &+ 2) &* 0x9E37_79B9_7F4A_7C15)
    )
}

@inline(__always)
private func mixed(_ value: UInt64) -> UInt64 {
    var mixed = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
}
