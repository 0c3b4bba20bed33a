internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPCompression

/// The rest of a request's body is no HTTP.
struct BrokenRequest: Error {}

/// Answers what is no request or too large for one, in the place of the web framework, and closes the connection.
///
/// A head that cannot be read is answered once every whole request before it is. Of a broken body its own request
/// learns by `BrokenRequest`. After an answer of its own the guard takes nothing more: it reads what still comes for a
/// moment, because an answer that overtakes unread bytes is lost to the peer. An answer that no request is left for
/// closes the connection: the compressor, which keeps one list entry a request, would end the process over it. Stands
/// alone before the first request, and behind the compressor from then on.
final class BrokenRequestGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        case open
        /// Answered with this once the requests before are.
        case refused(Problem)
        /// Closed when the answer that is waited for has ended.
        case broken
        case closing
    }

    private static let lingerSeconds: Int64 = 2
    private static let lingerBytesMax = 4 << 20

    private let refusals: EdgeRefusals
    private let peer: SlowPeerGuard
    private var state = State.open
    /// Requests whose answer has not begun, and those whose answer has not ended.
    private var unbegun = 0
    private var unended = 0
    private var isInBody = false
    private var lingeredBytes = 0
    private var deadline: Scheduled<Void>?

    init(refusals: EdgeRefusals, peer: SlowPeerGuard) {
        self.refusals = refusals
        self.peer = peer
    }

    // MARK: in

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            unbegun += 1
            unended += 1
            isInBody = true
        case .body: break
        case .end:
            isInBody = false
            peer.requestEnded()
        }
        context.fireChannelRead(data)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard case .open = state else { return ignore(error, context) }
        guard let error = error as? HTTPParserError else { return context.fireErrorCaught(error) }
        if !isInBody {
            state = .refused(problem(error))
            refuseWhenAnswered(context)
        } else if unended > 0 {
            state = .broken
            context.fireErrorCaught(BrokenRequest())
        } else {
            linger(context)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        if case .closing = state, event as? ChannelEvent == .inputClosed { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

    // MARK: out

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .closing = state { return drop(promise) }
        switch unwrapOutboundIn(data) {
        case .head:
            unbegun -= 1
            guard unbegun >= 0 else {
                drop(promise)
                return linger(context)
            }
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        case .end:
            unended -= 1
            context.write(data, promise: promise)
            if case .broken = state, unended == 0 {
                context.flush()
                linger(context)
            }
            refuseWhenAnswered(context)
        }
    }

    private func drop(_ promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.ioOnClosedChannel) }

    private func refuseWhenAnswered(_ context: ChannelHandlerContext) {
        guard case .refused(let problem) = state, unended == 0 else { return }
        context.flush()
        // Past the compressor: it has no entry for this answer.
        let compressor = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseCompressor.self)
        let out = compressor ?? context
        let answer = refusals.answer(problem)
        out.write(wrapOutboundOut(.head(answer.head)), promise: nil)
        out.write(wrapOutboundOut(.body(.byteBuffer(answer.body))), promise: nil)
        out.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        linger(context)
    }

    private func problem(_ error: HTTPParserError) -> Problem {
        let limit = refusals.headerBytesMax
        guard error == .headerOverflow else { return .malformedRequest }
        return peer.headLineBytes > limit ? .addressTooLong(limitBytes: limit) : .headersTooLarge(limitBytes: limit)
    }

    // MARK: closing

    private func linger(_ context: ChannelHandlerContext) {
        if case .closing = state { return }
        state = .closing
        context.close(mode: .output, promise: nil)
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: .seconds(Self.lingerSeconds)) { channel.close(promise: nil) }
    }

    /// After a head that cannot be read the decoder reports all further bytes as errors.
    private func ignore(_ error: any Error, _ context: ChannelHandlerContext) {
        if case ByteToMessageDecoderError.dataReceivedInErrorState(_, let bytes) = error {
            lingeredBytes += bytes.readableBytes
            if lingeredBytes > Self.lingerBytesMax { context.close(promise: nil) }
        }
    }
}
