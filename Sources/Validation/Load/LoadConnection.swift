internal import NIOCore

/// One connection of the load generator: writes a request, gives back its answer. One request at a time, no pipelining.
///
/// Bound to its event loop; the driver that owns it runs on the same loop.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Called on the loop for each whole answer.
    var onResponse: ((ParsedResponse, UnsafeRawBufferPointer) -> Void)?
    /// Called on the loop once, when the connection is gone.
    var onClose: (() -> Void)?
    private var context: ChannelHandlerContext?
    private var pending: ByteBuffer?

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        onResponse = nil
        onClose = nil
    }

    func send(_ message: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(message), promise: nil)
    }

    func close() { context?.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        if var earlier = pending {
            earlier.writeBuffer(&buffer)
            buffer = earlier
            pending = nil
        }
        do {
            while buffer.readableBytes > 0 {
                var closes = false
                let consumed = try buffer.withUnsafeReadableBytes { bytes -> Int? in
                    guard let response = try ResponseParser.parse(bytes) else { return nil }
                    closes = response.closes
                    onResponse?(response, bytes)
                    return response.consumed
                }
                guard let consumed else { break }
                buffer.moveReaderIndex(forwardBy: consumed)
                if closes { return context.close(promise: nil) }
            }
            if buffer.readableBytes > 0 { pending = buffer }
        } catch {
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        onClose?()
        onClose = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Event counts read out of the receipt in an answer's body.
package struct OutcomeCounts: Sendable, Codable, Hashable {
    package var received = 0
    package var stored = 0
    package var duplicate = 0
    package var quarantined = 0
    package var bot = 0
    package var late = 0

    package init() {}

    /// Reads `"name":123` members without a JSON parser: this runs once a body on the hot path.
    init(receipt bytes: UnsafeRawBufferPointer) {
        received = OutcomeCounts.number(after: "\"received\":", in: bytes)
        stored = OutcomeCounts.number(after: "\"stored\":", in: bytes)
        duplicate = OutcomeCounts.number(after: "\"duplicate\":", in: bytes)
        quarantined = OutcomeCounts.number(after: "\"quarantined\":", in: bytes)
        bot = OutcomeCounts.number(after: "\"bot\":", in: bytes)
        late = OutcomeCounts.number(after: "\"late\":", in: bytes)
    }

    package static func += (left: inout OutcomeCounts, right: OutcomeCounts) {
        left.received += right.received
        left.stored += right.stored
        left.duplicate += right.duplicate
        left.quarantined += right.quarantined
        left.bot += right.bot
        left.late += right.late
    }

    /// All outcomes together; equals `received` of an honest receipt.
    package var total: Int { stored + duplicate + quarantined + bot + late }

    private static func number(after key: StaticString, in bytes: UnsafeRawBufferPointer) -> Int {
        let count = key.utf8CodeUnitCount
        guard bytes.count > count else { return 0 }
        var start = 0
        while start + count < bytes.count {
            var matched = 0
            while matched < count, bytes[start + matched] == key.utf8Start[matched] { matched += 1 }
            if matched == count { break }
            start += 1
        }
        guard start + count < bytes.count else { return 0 }
        var value = 0
        var index = start + count
        while index < bytes.count, bytes[index] == 32 { index += 1 }
        while index < bytes.count, (48...57).contains(bytes[index]), value < 1 << 40 {
            value = value * 10 + Int(bytes[index] - 48)
            index += 1
        }
        return value
    }
}
