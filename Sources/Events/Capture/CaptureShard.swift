internal import AurumCore
internal import Synchronization

/// What a shard reads bodies with.
struct ShardTools {
    var parser = EventParser()
    var bots = BotPatterns()
    var padded = RawBytes()
    var encoder: EventEncoder

    init(limits: EventLimits, isLearning: Bool = true) {
        encoder = EventEncoder(limits: limits, isLearning: isLearning)
    }

    /// Parses one event; see `EventEncoder.parse`.
    @inline(__always)
    mutating func parse(
        _ start: UnsafePointer<UInt8>, base: UnsafePointer<UInt8>
    ) -> (end: UnsafePointer<UInt8>, ending: Int)? {
        encoder.parse(start, base: base, &parser)
    }

    func deallocate() {
        parser.deallocate()
        bots.deallocate()
        padded.deallocate()
        encoder.deallocate()
    }
}

/// Parses bodies into an open block. One shard a core; a lock is held for the length of one body.
final class CaptureShard: @unchecked Sendable {  // `state` only under `lock`
    private struct State {
        var tools: ShardTools
        var open = BlockBuffer()
        var closed: [BlockBuffer] = []
        var spare: [BlockBuffer] = []
        let limits: EventLimits
        let number: UInt16
        /// Nobody will take another block.
        var isEnded = false

        mutating func read(
            _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
        ) -> CaptureError? {
            var reader = BodyReader(request: request, keys: keys, limits: limits)
            return reader.read(body, &tools, &open.content)
        }

        mutating func add(
            _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
        ) -> (error: CaptureError?, isFull: Bool) {
            guard !isEnded else { return (.logFailed, false) }
            if let error = read(body, request, keys: keys) { return (error, false) }
            let isFull =
                open.content.rowCount >= limits.blockRowsMax || open.content.rawBytes >= CaptureShard.blockRawBytesMax
                || open.content.requests.count >= CaptureShard.blockRequestsMax
            if isFull { close() }
            return (nil, isFull)
        }

        /// Closes the open block and starts the next.
        mutating func close() {
            tools.encoder.close(&open.content)
            open.content.shard = number
            closed.append(open)
            open = spare.popLast() ?? BlockBuffer()
        }

        mutating func take() -> [BlockBuffer] {
            if !open.content.isEmpty { close() }
            defer { closed = [] }
            return closed
        }
    }

    /// Emptied buffers that a shard keeps.
    private static let spareMax = 2
    /// Raw bytes after which a block closes whatever its rows.
    private static let blockRawBytesMax = 32 << 20
    /// Requests after which a block closes: a receipt names its request in 16 bits.
    private static let blockRequestsMax = 60_000

    private let lock = Mutex<Void>(())
    private var state: State

    init(limits: EventLimits, number: Int) {
        state = State(tools: ShardTools(limits: limits), limits: limits, number: UInt16(number))
    }

    deinit { state.tools.deallocate() }

    /// Parses one body and adds its request, or leaves the block as it was.
    ///
    /// - Returns: the error, if the body is refused, and whether a block is now full.
    func add(
        _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
    ) -> (error: CaptureError?, isFull: Bool) {
        lock.withLock { _ in state.add(body, request, keys: keys) }
    }

    /// The same, or nil when another body is being parsed.
    func addIfFree(
        _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
    ) -> (error: CaptureError?, isFull: Bool)? {
        lock.withLockIfAvailable { _ in state.add(body, request, keys: keys) }
    }

    /// Every block with a waiting request, oldest first. The shard goes on with an empty one.
    func take() -> [BlockBuffer] {
        lock.withLock { _ in state.take() }
    }

    /// Refuses every body from now on: what is in is taken one last time.
    func end() { lock.withLock { _ in state.isEnded = true } }

    /// Whether the dictionaries are full, so that the segment has to end.
    var isDictionaryFull: Bool { lock.withLock { _ in state.tools.encoder.isFull } }

    /// The last blocks of a segment: what is read from now on belongs to the next one.
    func takeLast() -> [BlockBuffer] {
        lock.withLock { _ in
            let blocks = state.take()
            state.tools.encoder.startSegment()
            return blocks
        }
    }

    /// Takes an emptied buffer back for later.
    func recycle(_ buffer: BlockBuffer) {
        lock.withLock { _ in
            if state.spare.count < Self.spareMax { state.spare.append(buffer) }
        }
    }
}
