internal import NIOCore
internal import NIOHTTP1

/// An answer that ended before its request was sent whole: the server wants nothing more of it.
struct EarlyAnswer: Error {
    let head: HTTPResponseHead
    let body: ByteBuffer
    /// False when the connection ended within it.
    let isWhole: Bool
}

/// Holds an answer back that begins before its request was sent whole. The client takes such an answer for the end of
/// the exchange: what sends the request's body would wait for ever, and a status that means success would be one for a
/// request that never arrived. So an answer that refuses ends the exchange, with the connection, as soon as it is whole
/// itself, as the error `EarlyAnswer`; every other is handed on once the last byte of the request was written. Once the
/// client has given its last byte and waits for nothing but the network, it takes a refusal itself.
final class EarlyAnswerHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias InboundOut = HTTPClientResponsePart
    typealias OutboundIn = HTTPClientRequestPart
    typealias OutboundOut = HTTPClientRequestPart

    /// More of an answer's body is not kept: it is then longer than anybody reads.
    private static let bodyBytesMax = JSONPoster.answerBytesMax

    private struct Held {
        let head: HTTPResponseHead
        var body = ByteBuffer()
        var isOver = false

        var isRefusal: Bool { head.status.code >= 300 }
    }

    /// What was last seen of a request that is not written whole.
    private enum Sending { case nothing, head, end }

    private var sending = Sending.nothing
    private var held: Held?

    /// Between the decoder and the client's own handler, which are there already. On the channel's event loop.
    static func add(to channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPResponseDecoder>.self)
        try pipeline.addHandler(EarlyAnswerHandler(), position: .after(decoder))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head:
            (sending, held) = (.head, nil)
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            written.futureResult.assumeIsolated().whenSuccess {
                self.sending = .nothing
                self.handOn(context)
            }
            sending = .end
            context.write(data, promise: written)
            if held?.isRefusal == true { handOn(context) }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head) where isHeldBack(head):
            held = Held(head: head)
        case .head(let head) where sending == .end:
            context.fireChannelRead(wrapInboundOut(.head(Self.last(head))))
        case .body(let piece) where held != nil:
            if let bytes = held?.body.readableBytes, bytes <= Self.bodyBytesMax {
                held?.body.writeImmutableBuffer(piece)
            }
        case .end where held != nil:
            held?.isOver = true
            refuse(context)
        default: context.fireChannelRead(data)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        refuse(context)
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        refuse(context)
        context.fireChannelInactive()
    }

    private func isHeldBack(_ head: HTTPResponseHead) -> Bool {
        guard head.status.code >= 200 || head.status == .switchingProtocols else { return false }
        return sending == .head || sending == .end && !Held(head: head).isRefusal
    }

    /// The client closes the connection after an error.
    private func refuse(_ context: ChannelHandlerContext) {
        guard let answer = held, answer.isRefusal else { return }
        (sending, held) = (.nothing, nil)
        context.fireErrorCaught(EarlyAnswer(head: answer.head, body: answer.body, isWhole: answer.isOver))
    }

    private func handOn(_ context: ChannelHandlerContext) {
        guard let answer = held else { return }
        held = nil
        context.fireChannelRead(wrapInboundOut(.head(sending == .end ? Self.last(answer.head) : answer.head)))
        if answer.body.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(.body(answer.body))) }
        if answer.isOver { context.fireChannelRead(wrapInboundOut(.end(nil))) }
    }

    /// The head of an answer after which the client closes the connection: what is still to be written would be before
    /// the next request on it.
    private static func last(_ head: HTTPResponseHead) -> HTTPResponseHead {
        var head = head
        head.headers.replaceOrAdd(name: "connection", value: "close")
        return head
    }
}
