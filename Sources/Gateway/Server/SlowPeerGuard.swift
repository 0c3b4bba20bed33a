package import NIOCore

/// Closes a connection whose peer does not take part: whose first request head does not arrive in time, or who does not
/// read what was written to it.
///
/// Stands first in the pipeline and sees bytes only. Bodies have a deadline of their own (`ReadDeadline`), idle
/// connections another.
package final class SlowPeerGuard: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer

    private let head: TimeAmount
    private let write: TimeAmount
    private var waitingForHead: Scheduled<Void>?
    private var waitingForReader: Scheduled<Void>?
    /// Bytes of the first line of the head that is being read, or was read last.
    package private(set) var headLineBytes = 0
    private var isInHeadLine = true
    private var isRequestOver = false

    /// - Parameters:
    ///   - head: from the connection's begin to the end of its first head.
    ///   - write: how long the peer may leave the connection's buffers full.
    package init(head: TimeAmount, write: TimeAmount) {
        self.head = head
        self.write = write
    }

    package func handlerAdded(context: ChannelHandlerContext) {
        waitingForHead = close(context, in: head)
    }

    /// The first head is there. Called on the channel's event loop.
    package func headArrived() {
        waitingForHead?.cancel()
        waitingForHead = nil
    }

    /// A request has come whole: what comes next is another. Called on the channel's event loop.
    package func requestEnded() { isRequestOver = true }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isRequestOver { (headLineBytes, isInHeadLine, isRequestOver) = (0, true, false) }
        if isInHeadLine {
            let bytes = unwrapInboundIn(data).readableBytesView
            let end = bytes.firstIndex(of: UInt8(ascii: "\n"))
            headLineBytes += (end ?? bytes.endIndex) - bytes.startIndex
            isInHeadLine = end == nil
        }
        context.fireChannelRead(data)
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        waitingForReader?.cancel()
        waitingForReader = context.channel.isWritable ? nil : close(context, in: write)
        context.fireChannelWritabilityChanged()
    }

    package func channelInactive(context: ChannelHandlerContext) {
        stop()
        context.fireChannelInactive()
    }

    package func handlerRemoved(context: ChannelHandlerContext) { stop() }

    private func close(_ context: ChannelHandlerContext, in delay: TimeAmount) -> Scheduled<Void> {
        let channel = context.channel
        return context.eventLoop.scheduleTask(in: delay) { channel.close(promise: nil) }
    }

    private func stop() {
        headArrived()
        waitingForReader?.cancel()
        waitingForReader = nil
    }
}
