internal import AurumCore
internal import Synchronization

/// Parses bodies into an open block. One shard a core; a lock is held for the length of one body.
final class CaptureShard: @unchecked Sendable {  // `state` only under `lock`
    struct State {
        var parser = EventParser()
        var bots = BotPatterns()
        var padded = RawBytes()
        var open: BlockBuffer
        var closed: [BlockBuffer] = []
        var spare: [BlockBuffer] = []
        let limits: EventLimits
        let compressionLevel: Int32

        mutating func read(
            _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
        ) -> CaptureError? {
            var reader = BodyReader(request: request, keys: keys, limits: limits)
            return reader.read(body, &parser, &bots, &padded, &open.content)
        }

        mutating func nextBuffer() -> BlockBuffer {
            spare.popLast() ?? BlockBuffer(chunkBytes: limits.chunkBytes, compressionLevel: compressionLevel)
        }
    }

    /// Emptied buffers that a shard keeps.
    private static let spareMax = 2
    /// Requests after which a block closes: a row names its request in 16 bits.
    private static let blockRequestsMax = 60_000
    /// Raw bytes after which a block closes whatever its rows.
    private static let blockRawBytesMax = 32 << 20

    private let lock = Mutex<Void>(())
    private var state: State

    init(limits: EventLimits, compressionLevel: Int32) {
        let open = BlockBuffer(chunkBytes: limits.chunkBytes, compressionLevel: compressionLevel)
        state = State(open: open, limits: limits, compressionLevel: compressionLevel)
    }

    deinit {
        state.parser.deallocate()
        state.bots.deallocate()
        state.padded.deallocate()
    }

    /// Parses one body and adds its request, or leaves the block as it was.
    ///
    /// - Returns: the error, if the body is refused, and whether a block is now full.
    func add(
        _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
    ) -> (error: CaptureError?, isFull: Bool) {
        lock.withLock { _ in
            if let error = state.read(body, request, keys: keys) { return (error, false) }
            let isFull =
                state.open.content.rowCount >= state.limits.blockRowsMax
                || state.open.content.rawBytes >= Self.blockRawBytesMax
                || state.open.content.requests.count >= Self.blockRequestsMax
            if isFull {
                state.closed.append(state.open)
                state.open = state.nextBuffer()
            }
            return (nil, isFull)
        }
    }

    /// Every block with a waiting request, oldest first. The shard goes on with an empty one.
    func take() -> [BlockBuffer] {
        lock.withLock { _ in
            var blocks = state.closed
            state.closed = []
            if !state.open.content.isEmpty {
                blocks.append(state.open)
                state.open = state.nextBuffer()
            }
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
