internal import NIOCore
internal import NIOHTTP1

/// Closes the connection instead of writing an answer that no request is left for.
///
/// When bytes that are no HTTP follow an answered request, the web framework answers them too, and the compressor,
/// which keeps one list entry a request, ends the process over an answer without one. Stands behind the compressor.
final class UnaskedAnswerFilter: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Requests whose answer has not begun.
    private var waiting = 0
    private var isClosing = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head = unwrapInboundIn(data) { waiting += 1 }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .head = unwrapOutboundIn(data) {
            waiting -= 1
            isClosing = isClosing || waiting < 0
        }
        guard isClosing else { return context.write(data, promise: promise) }
        promise?.fail(ChannelError.ioOnClosedChannel)
        context.close(promise: nil)
    }
}
