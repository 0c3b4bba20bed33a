internal import NIOCore
internal import Synchronization
internal import Telemetry

enum RedisConnectionChange: Sendable {
    case ready(isAgain: Bool)
    case lost
    /// A connection that is up owes a sign of life for too long.
    case silent
    /// It gave one, or is no more.
    case heard
    /// An attempt to connect came to nothing: why, in a sentence.
    case failed(String)
}

/// What a node tells its client about its connections.
protocol RedisConnectionObserver: AnyObject, Sendable {
    /// Called on an event loop, after every change.
    func connectionChanged(_ address: RedisConfiguration.Address, _ change: RedisConnectionChange)
}

/// Many commands at once over one connection. Callers append to one buffer under a lock, and whatever was appended when
/// the event loop comes by leaves in one write; a batch before which nothing waits leaves from its caller's thread.
/// Replies are matched in order.
///
/// A command is sent at most once. When the connection breaks or a deadline passes, a command that may be repeated ends
/// `unavailable` or `timeout`, any other whose bytes may have left ends `outcomeUnknown`.
final class RedisConnection: Sendable, RedisLinkOwner {
    typealias Answer = Result<RESPValue, RedisError>
    typealias Answers = Result<[RESPValue], RedisError>

    private enum Completion: Sendable {
        case one(UnsafeContinuation<Answer, Never>)
        case many(UnsafeContinuation<Answers, Never>)
        /// A PING of our own, or a command whose caller no longer waits: its replies are dropped.
        case nobody
    }

    /// Whether what was sent may be sent again. Of a batch it is only asked when it has failed.
    private enum Repeatable: Sendable {
        case known(Bool)
        case each([RedisCommand])

        var value: Bool {
            switch self {
            case .known(let value): value
            case .each(let commands): commands.allSatisfy(\.isRepeatable)
            }
        }
    }

    /// One command, or one batch, whose replies are owed.
    private struct Waiting: Sendable {
        let id: UInt64
        let replies: Int
        let deadline: NIODeadline
        let repeatable: Repeatable
        var completion: Completion
    }

    private enum Phase: Sendable { case down, ready, draining, closed }

    private struct State: Sendable {
        var phase = Phase.down
        /// Commands that have not been handed to the socket.
        var outbox = ByteBuffer()
        var queue = CircularBuffer<Waiting>(initialCapacity: 64)
        /// Entries at the end of `queue` whose bytes are in `outbox`.
        var unsent = 0
        /// Replies that are owed for all of `queue`.
        var owed = 0
        /// The replies so far to the batch at the head of `queue`.
        var collected: [RESPValue] = []
        var flushIsScheduled = false
        /// For callers that send themselves; nil while the connection is down, or where only the event loop can.
        var socket: RedisSocket?
        /// No live entry is due before this.
        var nextDeadline = NIODeadline.distantFuture

        /// Sends `outbox`, which holds the newest batch and nothing else, as far as the socket takes it.
        /// - Returns: whether nothing is left.
        mutating func send(over socket: RedisSocket) -> Bool {
            if socket.send(&outbox) == 0 { unsent += 1 }
            guard outbox.readableBytes == 0 else { return false }
            outbox.clear()
            return true
        }
    }

    /// A completion and what it is told; kept until the lock is free.
    private enum Finished: Sendable {
        case one(UnsafeContinuation<Answer, Never>, Answer)
        case many(UnsafeContinuation<Answers, Never>, Answers)

        func tell() {
            switch self {
            case .one(let continuation, let answer): continuation.resume(returning: answer)
            case .many(let continuation, let answers): continuation.resume(returning: answers)
            }
        }
    }

    private let state = Mutex(State())
    private let ready = Atomic<Bool>(false)
    private let wasReady = Atomic<Bool>(false)
    private let link: RedisLink
    private let observer: any RedisConnectionObserver
    private let siblings: RedisSiblings
    private let inFlight: Gauge
    /// On the event loop only.
    private let sweep: NIOLoopBoundBox<SweepTimer>

    private struct SweepTimer {
        var at = NIODeadline.distantFuture
        var task: Scheduled<Void>?
    }

    init(
        eventLoop: any EventLoop, address: RedisConfiguration.Address, settings: RedisLinkSettings,
        observer: any RedisConnectionObserver, siblings: RedisSiblings, inFlight: Gauge
    ) {
        link = RedisLink(eventLoop: eventLoop, address: address, settings: settings)
        self.observer = observer
        self.siblings = siblings
        self.inFlight = inFlight
        sweep = NIOLoopBoundBox.makeBoxSendingValue(SweepTimer(), eventLoop: eventLoop)
    }

    var isReady: Bool { ready.load(ordering: .acquiring) }

    func start() { link.start(self) }

    /// Refuses new commands, waits for the replies that are owed, at most for `limit`, and closes.
    func stop(within limit: Duration) -> EventLoopFuture<Void> {
        ready.store(false, ordering: .releasing)
        let promise = link.eventLoop.makePromise(of: Void.self)
        link.eventLoop.execute {
            let isIdle = self.state.withLock { state in
                state.phase = state.phase == .ready && !state.queue.isEmpty ? .draining : .closed
                return state.phase == .closed
            }
            if isIdle { return promise.completeWith(self.link.stop()) }
            self.drain(until: .now() + TimeAmount(limit), promise)
        }
        return promise.futureResult
    }

    private static let drainCheck = TimeAmount.milliseconds(10)

    /// Closes once nothing is owed, or at the latest moment.
    private func drain(until limit: NIODeadline, _ promise: EventLoopPromise<Void>) {
        if state.withLock({ $0.queue.isEmpty }) || .now() >= limit { return promise.completeWith(link.stop()) }
        link.eventLoop.scheduleTask(in: Self.drainCheck) { self.drain(until: limit, promise) }
    }

    // MARK: commands, from any thread

    /// Sends one command and waits for its reply; an error of the server is a value here.
    func call(_ command: RedisCommand, id: UInt64, deadline: NIODeadline) async -> Answer {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let waiting = Waiting(
                    id: id, replies: 1, deadline: deadline, repeatable: .known(command.isRepeatable),
                    completion: .one(continuation))
                if let refusal = enqueue(waiting, { $0.writeBytes(command.encoded) }) {
                    continuation.resume(returning: .failure(refusal))
                } else if Task.isCancelled {
                    cancel(id)
                }
            }
        } onCancel: {
            cancel(id)
        }
    }

    /// Sends all commands in one write and waits for all replies, in order.
    func batch(_ commands: [RedisCommand], id: UInt64, deadline: NIODeadline) async -> Answers {
        guard !commands.isEmpty else { return .success([]) }
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let waiting = Waiting(
                    id: id, replies: commands.count, deadline: deadline, repeatable: .each(commands),
                    completion: .many(continuation))
                let refusal = enqueue(waiting) { outbox in
                    for command in commands { outbox.writeBytes(command.encoded) }
                }
                if let refusal {
                    continuation.resume(returning: .failure(refusal))
                } else if Task.isCancelled {
                    cancel(id)
                }
            }
        } onCancel: {
            cancel(id)
        }
    }

    private enum Enqueued { case queued, needsFlush, refused(RedisError) }

    private func enqueue(_ waiting: Waiting, _ write: (inout ByteBuffer) -> Void) -> RedisError? {
        let outcome: Enqueued = state.withLock { state in
            switch state.phase {
            case .ready: break
            case .down: return .refused(.unavailable)
            case .draining, .closed: return .refused(.closed)
            }
            guard state.owed + waiting.replies <= RedisLimits.inFlightMax,
                state.outbox.readableBytes < RedisLimits.queuedBytesMax
            else { return .refused(.backpressure) }
            let isFirst = state.outbox.readableBytes == 0 && !state.flushIsScheduled
            write(&state.outbox)
            state.queue.append(waiting)
            state.owed += waiting.replies
            let isEarliest = waiting.deadline < state.nextDeadline
            if isEarliest { state.nextDeadline = waiting.deadline }
            var isSent = false
            if waiting.replies > 1, isFirst, let socket = state.socket, socket.owed == 0,
                state.outbox.readableBytes <= Self.sentAtOnceMax
            {
                isSent = state.send(over: socket)
            } else {
                state.unsent += 1
            }
            // The event loop has to come by for bytes, and for a timer that no other call has asked for.
            if isSent || state.flushIsScheduled, !isEarliest { return .queued }
            state.flushIsScheduled = true
            return .needsFlush
        }
        switch outcome {
        case .queued:
            inFlight.add(Double(waiting.replies))
            return nil
        case .needsFlush:
            inFlight.add(Double(waiting.replies))
            link.eventLoop.execute { self.flushSoon() }
            return nil
        case .refused(let error): return error
        }
    }

    private func cancel(_ id: UInt64) {
        let finished: Finished? = state.withLock { state in
            guard let index = state.queue.firstIndex(where: { $0.id == id }) else { return nil }
            let waiting = state.queue[index]
            state.queue[index].completion = .nobody
            return Self.finished(waiting, .cancelled)
        }
        finished?.tell()
    }

    // MARK: on the event loop

    private static let outboxBytes = 16 << 10
    /// A longer batch leaves by the event loop: other callers wait while bytes are sent.
    private static let sentAtOnceMax = 64 << 10

    /// While other replies are owed, whoever gets one is about to call again: one more turn of the loop gathers them.
    private func flushSoon() {
        let isBusy = state.withLock { $0.queue.count > $0.unsent }
        if isBusy { link.eventLoop.execute { self.flush() } } else { flush() }
    }

    private func flush() {
        guard link.isWritable else {
            // Either the socket is full, and `linkIsWritable` comes; or the connection broke, and nobody waits.
            return armSweep()
        }
        let (bytes, socket) = state.withLock { state in
            state.flushIsScheduled = false
            state.unsent = 0
            guard state.outbox.readableBytes > 0 else { return (ByteBuffer(), nil as RedisSocket?) }
            let bytes = state.outbox
            state.outbox = ByteBufferAllocator().buffer(capacity: Self.outboxBytes)
            state.socket?.owed += 1
            return (bytes, state.socket)
        }
        if bytes.readableBytes > 0 { write(bytes, socket) }
        armSweep()
    }

    /// Until all bytes have left, nobody else may send.
    private func write(_ bytes: ByteBuffer, _ socket: RedisSocket?) {
        guard let socket else { return link.write(bytes) }
        let promise = link.eventLoop.makePromise(of: Void.self)
        // After a failure part of a command may have left: nothing may follow it.
        promise.futureResult.whenSuccess { self.state.withLock { _ in socket.owed -= 1 } }
        link.write(bytes, promise: promise)
    }

    func linkIsWritable() { flush() }

    func linkIsReady() {
        let socket = link.makeSocket()
        let isWanted = state.withLock { state in
            guard state.phase == .down else { return false }
            state.phase = .ready
            state.flushIsScheduled = false
            state.socket = socket
            return true
        }
        guard isWanted else { return }
        ready.store(true, ordering: .releasing)
        observer.connectionChanged(link.address, .ready(isAgain: wasReady.exchange(true, ordering: .relaxed)))
    }

    func linkReceived(_ values: [RESPValue]) throws(RedisError) {
        var finished: [Finished] = []
        finished.reserveCapacity(values.count)
        var unasked = false
        let settled = state.withLock { state in
            let owed = state.owed
            for value in values {
                // Out of band, for example a note about invalidated keys: nobody asked.
                if case .push = value { continue }
                guard let head = state.queue.first, state.queue.count > state.unsent else {
                    unasked = true
                    break
                }
                if let done = Self.settle(value, head, &state) { finished.append(done) }
            }
            return owed - state.owed
        }
        inFlight.add(-Double(settled))
        for one in finished { one.tell() }
        if unasked { throw .protocolError("a reply that nobody asked for") }
    }

    /// Gives `value` to the head of the queue; answers what is complete with it.
    private static func settle(_ value: RESPValue, _ head: Waiting, _ state: inout State) -> Finished? {
        state.owed -= 1
        if head.replies > 1 {
            state.collected.append(value)
            guard state.collected.count == head.replies else { return nil }
        }
        state.queue.removeFirst()
        let collected = state.collected
        state.collected = []
        switch head.completion {
        case .one(let continuation): return .one(continuation, .success(value))
        case .many(let continuation): return .many(continuation, .success(head.replies > 1 ? collected : [value]))
        case .nobody: return nil
        }
    }

    func linkWasLost(_ reason: RedisError) {
        ready.store(false, ordering: .releasing)
        let (finished, owed) = state.withLock { state in
            let sent = state.queue.count - state.unsent
            var finished: [Finished] = []
            for (index, waiting) in state.queue.enumerated() {
                if case .nobody = waiting.completion { continue }
                let error: RedisError =
                    if index >= sent {
                        .unavailable
                    } else if !waiting.repeatable.value {
                        .outcomeUnknown
                    } else if case .protocolError = reason { reason } else { .unavailable }
                if let one = Self.finished(waiting, error) { finished.append(one) }
            }
            let owed = state.owed
            let phase = state.phase
            state = State()
            state.phase = phase == .ready ? .down : .closed
            return (finished, owed)
        }
        inFlight.add(-Double(owed))
        for one in finished { one.tell() }
        sweep.value.task?.cancel()
        sweep.value = SweepTimer()
        observer.connectionChanged(link.address, .lost)
    }

    func linkFailed(_ sentence: String) {
        observer.connectionChanged(link.address, .failed(sentence))
    }

    func linkIsSilent(_ isSilent: Bool) {
        observer.connectionChanged(link.address, isSilent ? .silent : .heard)
    }

    func linkNeedsProbe() {
        let ping = RedisCommand("PING")
        inFlight.add(1)
        state.withLock { state in
            state.outbox.writeBytes(ping.encoded)
            state.queue.append(
                Waiting(id: 0, replies: 1, deadline: .distantFuture, repeatable: .known(true), completion: .nobody))
            state.owed += 1
            state.unsent += 1
        }
        flush()
    }

    // MARK: deadlines

    /// One timer for the earliest deadline, whatever the number of commands.
    private func armSweep() {
        let due = state.withLock { $0.nextDeadline }
        guard due < sweep.value.at else { return }
        sweep.value.task?.cancel()
        let task = link.eventLoop.scheduleTask(deadline: due) { self.sweepExpired() }
        sweep.value = SweepTimer(at: due, task: task)
    }

    private func sweepExpired() {
        let now = NIODeadline.now()
        let finished: [Finished] = state.withLock { state in
            var finished: [Finished] = []
            var next = NIODeadline.distantFuture
            for index in state.queue.indices {
                let waiting = state.queue[index]
                if case .nobody = waiting.completion { continue }
                guard waiting.deadline <= now else {
                    next = min(next, waiting.deadline)
                    continue
                }
                state.queue[index].completion = .nobody
                // Its bytes may lie in the outbox and still leave: it counts as sent.
                if let one = Self.finished(waiting, waiting.repeatable.value ? .timeout : .outcomeUnknown) {
                    finished.append(one)
                }
            }
            state.nextDeadline = next
            return finished
        }
        sweep.value = SweepTimer()
        for one in finished { one.tell() }
        armSweep()
        if !finished.isEmpty { siblings.suspect() }
    }

    /// Asks for a sign of life, where none is awaited.
    func suspect() { link.suspect() }

    private static func finished(_ waiting: Waiting, _ error: RedisError) -> Finished? {
        switch waiting.completion {
        case .one(let continuation): .one(continuation, .failure(error))
        case .many(let continuation): .many(continuation, .failure(error))
        case .nobody: nil
        }
    }
}
