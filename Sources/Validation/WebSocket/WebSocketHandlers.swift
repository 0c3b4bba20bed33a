internal import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket
internal import Synchronization

/// Turns frames into events and answers the server's pings and its close.
final class WebSocketInbound: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let mailbox: WebSocketMailbox
    private var closeCode: UInt16 = 1006

    init(mailbox: WebSocketMailbox) { self.mailbox = mailbox }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        let now = NIODeadline.now().uptimeNanoseconds
        var payload = frame.unmaskedData
        let fits: Bool
        switch frame.opcode {
        case .text: fits = mailbox.put(.text(String(buffer: payload), at: now))
        case .binary: fits = mailbox.put(.binary(Array(payload.readableBytesView), at: now))
        case .pong: fits = mailbox.put(.pong(Array(payload.readableBytesView), at: now))
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, maskKey: .random(), data: payload)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
            fits = true
        case .connectionClose:
            if let code = payload.readWebSocketErrorCode() {
                closeCode = UInt16(webSocketErrorCode: code)
            } else {
                closeCode = 1005
            }
            let answer = WebSocketFrame(
                fin: true, opcode: .connectionClose, maskKey: .random(), data: frame.unmaskedData)
            let channel = context.channel
            context.writeAndFlush(wrapOutboundOut(answer)).whenComplete { _ in channel.close(promise: nil) }
            fits = true
        default: fits = true
        }
        if !fits { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        _ = mailbox.put(.closed(code: closeCode))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Remembers the channel being upgraded and the status of its answer.
final class StatusWatch: Sendable {
    let channel = Mutex<(any Channel)?>(nil)
    private let onStatus: @Sendable (Int) -> Void

    init(onStatus: @escaping @Sendable (Int) -> Void) { self.onStatus = onStatus }

    func saw(_ status: Int) { onStatus(status) }
    func abort() { channel.withLock { $0 }?.close(promise: nil) }
}

/// Reads the status of the answer to the upgrade and passes everything on.
final class StatusHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let watch: StatusWatch

    init(watch: StatusWatch) { self.watch = watch }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) {
            watch.saw(Int(head.status.code))
            context.fireChannelRead(data)
            if head.status == .switchingProtocols {
                context.pipeline.syncOperations.removeHandler(self, promise: nil)
            }
        } else {
            context.fireChannelRead(data)
        }
    }
}
