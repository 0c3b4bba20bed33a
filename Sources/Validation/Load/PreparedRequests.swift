internal import NIOCore

/// One request on its way: the whole HTTP message, and how many things it carries.
struct LoadRequest {
    var buffer: ByteBuffer
    /// Events in the body; 1 for anything else.
    var items: Int
    /// Which template or route it is; goes back to the source with the answer.
    var slot: Int
    var sequence: UInt64
}

/// Where a load's requests come from. Called on one thread only.
protocol RequestSource {
    mutating func next(nowMilliseconds: Int64) -> LoadRequest?
    mutating func recycle(slot: Int)
}

extension EventBodies: RequestSource {}

/// A fixed list of requests, sent in turn: for measuring routes, not for events.
package struct PreparedRequests: RequestSource, Sendable {
    private let buffers: [ByteBuffer]
    private var turn: UInt64 = 0

    /// - Parameter messages: whole HTTP/1.1 messages.
    package init(_ messages: [String]) { buffers = messages.map { ByteBuffer(string: $0) } }

    mutating func next(nowMilliseconds: Int64) -> LoadRequest? {
        guard !buffers.isEmpty else { return nil }
        let slot = Int(turn % UInt64(buffers.count))
        defer { turn += 1 }
        return LoadRequest(buffer: buffers[slot], items: 1, slot: slot, sequence: turn)
    }

    mutating func recycle(slot: Int) {}
}
