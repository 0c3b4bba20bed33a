internal import Events
internal import HTTPTypes
internal import NIOCore
internal import NIOHTTPTypes

/// Takes the requests of one connection that the lane is for, one at a time and never beside one of the router's.
///
/// While the log has a body, all that comes from the connection waits in its order, and no more is read.
///
/// `@unchecked Sendable`: all state is touched on the channel's event loop only.
final class CaptureLaneHandler: ChannelDuplexHandler, RemovableChannelHandler, @unchecked Sendable {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private enum State {
        /// What comes is passed on.
        case open
        /// The body of a request comes in.
        case reading(CaptureLane.Taken)
        /// The log has the body, or the answer is on its way out.
        case waiting
        /// A body was refused while it came: the rest of it is dropped.
        case refused
    }

    /// What came while an answer was waited for.
    private enum Held {
        case part(HTTPRequestPart)
        /// What follows is no HTTP, or the connection fails.
        case broken(any Error)
        /// The client sends no more: the framework would end the connection over it.
        case inputClosed
    }

    private let lane: CaptureLane
    private let writeWithin: TimeAmount
    /// nil when the connection is gone.
    private var context: ChannelHandlerContext?
    private var state = State.open
    private var body = ByteBuffer()
    /// Requests of the router that are not answered.
    private var unanswered = 0
    private var held = CircularBuffer<Held>()
    private var wantsRead = false
    /// Ends the connection when its client does not read the answer.
    private var unread: Scheduled<Void>?

    private var isWaiting: Bool {
        if case .waiting = state { true } else { false }
    }

    /// - Parameter writeWithin: the time that a client has to read an answer.
    init(_ lane: CaptureLane, writeWithin: TimeAmount) { (self.lane, self.writeWithin) = (lane, writeWithin) }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    /// The client is gone; perhaps before its body was whole. What it sent behind a body that the log has is dropped.
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        unread?.cancel()
        if case .reading(let taken) = state {
            taken.account.close()
            lane.edge.abandon()
            state = .refused
        }
        body = ByteBuffer()
        held = CircularBuffer()
    }

    // MARK: in

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        if isWaiting { held.append(.part(part)) } else { take(part, context) }
    }

    private func take(_ part: HTTPRequestPart, _ context: ChannelHandlerContext) {
        switch (state, part) {
        case (.reading(let taken), .body(let more)): read(more, taken, context)
        case (.reading(let taken), .end): submit(taken)
        case (.refused, .end): state = .open
        case (.refused, _): break
        case (.open, .head(let head)): begin(head, context)
        case (.open, _), (.reading, .head), (.waiting, _): context.fireChannelRead(wrapInboundOut(part))
        }
    }

    private func begin(_ head: HTTPRequest, _ context: ChannelHandlerContext) {
        if unanswered == 0, let taken = lane.take(head) {
            lane.edge.begin()
            state = .reading(taken)
            return
        }
        unanswered += 1
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    private func read(_ more: ByteBuffer, _ taken: CaptureLane.Taken, _ context: ChannelHandlerContext) {
        do throws(Problem) { try taken.account.take(more.readableBytes) } catch {
            return refuse(error, error, taken, context)
        }
        // What came in one read is not copied.
        if body.readableBytes == 0 { return body = more }
        if body.capacity < taken.bodyBytes {
            var whole = context.channel.allocator.buffer(capacity: taken.bodyBytes)
            whole.writeBuffer(&body)
            body = whole
        }
        body.writeImmutableBuffer(more)
    }

    private func refuse(
        _ problem: Problem, _ error: any Error, _ taken: CaptureLane.Taken, _ context: ChannelHandlerContext
    ) {
        taken.account.close()
        body = ByteBuffer()
        state = .refused
        _ = write(lane.refuse(problem, error, taken), context)
    }

    private func submit(_ taken: CaptureLane.Taken) {
        guard let loop = context?.eventLoop else { return }
        state = .waiting
        let whole = body
        // The log keeps nothing of it.
        body = ByteBuffer()
        lane.submit(whole, taken) { result in
            loop.execute {
                taken.account.close()
                let answer = self.lane.answer(result, taken)
                guard let context = self.context else { return }
                self.answer(answer, context)
            }
        }
    }

    /// Answers, and goes on when the socket has the answer: who never reads is not read from.
    private func answer(_ answer: CaptureLane.Answer, _ context: ChannelHandlerContext) {
        var isWritten = false
        write(answer, context).assumeIsolated().whenComplete { result in
            isWritten = true
            self.unread?.cancel()
            self.unread = nil
            // A connection that cannot be written to is about to end: nothing more of it is taken.
            if case .success = result { self.goOn() }
        }
        guard !isWritten, self.context != nil else { return }
        let channel = context.channel
        unread = context.eventLoop.scheduleTask(in: writeWithin) { channel.close(promise: nil) }
    }

    /// Takes what came while an answer was waited for.
    private func goOn() {
        guard let context else { return }
        state = .open
        var isPassedOn = false
        func complete() {
            if isPassedOn { context.fireChannelReadComplete() }
            isPassedOn = false
        }
        while self.context != nil, let next = held.popFirst() {
            switch next {
            case .part(let part):
                take(part, context)
                isPassedOn = true
            case .broken(let error):
                complete()
                errorCaught(context: context, error: error)
            case .inputClosed:
                complete()
                context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            }
            if isWaiting { break }
        }
        complete()
        guard !isWaiting, wantsRead, self.context != nil else { return }
        wantsRead = false
        context.read()
    }

    /// An answer that is waited for is still given to who sends no more.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if isWaiting, event as? ChannelEvent == .inputClosed {
            held.append(.inputClosed)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    /// What comes after a request is no HTTP, or the rest of a body never comes.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch state {
        case .waiting: held.append(.broken(error))
        case .reading(let taken) where error is BrokenRequest:
            refuse(.malformedBody(offset: nil), error, taken, context)
        default: context.fireErrorCaught(error)
        }
    }

    /// While an answer is waited for, nothing more is read than was under way.
    func read(context: ChannelHandlerContext) {
        if isWaiting { wantsRead = true } else { context.read() }
    }

    // MARK: out

    private func write(_ answer: CaptureLane.Answer, _ context: ChannelHandlerContext) -> EventLoopFuture<Void> {
        context.write(wrapOutboundOut(.head(answer.head)), promise: nil)
        context.write(wrapOutboundOut(.body(answer.body)), promise: nil)
        return context.writeAndFlush(wrapOutboundOut(.end(nil)))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) { unanswered -= 1 }
        context.write(data, promise: promise)
    }
}
