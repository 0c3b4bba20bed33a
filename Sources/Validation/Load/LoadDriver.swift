internal import AurumCore
internal import NIOCore
internal import NIOPosix

/// Runs one thread's part of a load: schedule, connections, recording. Everything happens on `loop`.
///
/// `@unchecked Sendable`: the state is touched on `loop` only; `run()` hops onto it.
final class LoadDriver<Source: RequestSource & Sendable>: @unchecked Sendable {
    private struct InFlight {
        var start: LoadSchedule.Start
        var sent: UInt64
        var request: LoadRequest
    }

    private let loop: any EventLoop
    private let address: SocketAddress
    private let settings: LoadSettings
    private var schedule: LoadSchedule
    private var source: Source
    private var connections: [LoadConnection?]
    private var flights: [InFlight?]
    /// Users that the schedule holds for busy until their new connection stands.
    private var parked: [Bool]
    /// When each user's last answer came.
    private var lastAnswers: [UInt64]
    /// Users come and go with their connections, as people do: nobody holds one that he does not use.
    private let comesAndGoes: Bool
    /// A user without a request for so long has left.
    private static var leaves: UInt64 { 5_000_000_000 }
    private var tally = LoadTally()
    private var origin: UInt64 = 0
    private var timer: Scheduled<Void>?
    private var sampler: RepeatedTask?
    private var sampleCPU: UInt64 = 0
    private var sampleDue: UInt64 = 0
    private var judgedCPUStart: UInt64 = 0
    private var ended = false
    private let done: EventLoopPromise<LoadTally>
    /// Timers nearer than this are put together: at high rates one wake-up sends several.
    private static var tick: UInt64 { 100_000 }

    init(loop: any EventLoop, address: SocketAddress, settings: LoadSettings, schedule: LoadSchedule, source: Source) {
        self.loop = loop
        self.address = address
        self.settings = settings
        self.schedule = schedule
        self.source = source
        connections = Array(repeating: nil, count: schedule.executor.usersMax)
        flights = Array(repeating: nil, count: schedule.executor.usersMax)
        parked = Array(repeating: false, count: schedule.executor.usersMax)
        lastAnswers = Array(repeating: 0, count: schedule.executor.usersMax)
        comesAndGoes = if case .rampingVirtualUsers = schedule.executor { true } else { false }
        done = loop.makePromise(of: LoadTally.self)
    }

    /// Opens the connections, runs the load, waits for the answers within the grace, and reports.
    func run() async throws -> LoadTally {
        let ready = loop.flatSubmit {
            let first = self.comesAndGoes ? self.connections.indices.prefix(1) : self.connections.indices[...]
            return EventLoopFuture.andAllSucceed(first.map { self.connect($0) }, on: self.loop)
        }
        do { try await ready.get() } catch {
            loop.execute { self.done.fail(LoadError.unreachable("\(error)")) }
            return try await done.futureResult.get()
        }
        loop.execute { self.begin() }
        return try await done.futureResult.get()
    }

    private var now: UInt64 { NIODeadline.now().uptimeNanoseconds &- origin }

    private func begin() {
        tally.cpuPerSecond.reserveCapacity(3600)
        origin = NIODeadline.now().uptimeNanoseconds
        judgedCPUStart = ThreadTime.nanoseconds
        sampleCPU = judgedCPUStart
        sampleDue = 1_000_000_000
        sampler = loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in self.sample() }
        loop.scheduleTask(in: .nanoseconds(Int64(schedule.executor.lengthNanoseconds))) { self.end() }
        if settings.starvedShare > 0 { starve() }
        pump()
    }

    private func starve() {
        let span: UInt64 = 50_000_000
        let busy = UInt64(Double(span) * min(settings.starvedShare, 1))
        loop.scheduleRepeatedTask(initialDelay: .zero, delay: .nanoseconds(Int64(span - busy))) { task in
            guard self.sampler != nil else { return task.cancel() }
            let until = NIODeadline.now().uptimeNanoseconds + busy
            while NIODeadline.now().uptimeNanoseconds < until {}
        }
    }

    private func connect(_ user: Int) -> EventLoopFuture<Void> {
        let handler = NIOLoopBound(LoadConnection(), eventLoop: loop)
        return ClientBootstrap(group: loop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 1)
            .connectTimeout(.seconds(5))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler.value) }
            }
            .connect(to: address)
            .map { _ in
                let connection = handler.value
                connection.onResponse = { response, bytes in self.answered(user, response, bytes) }
                connection.onClose = { self.lost(user) }
                self.connections[user] = connection
            }
    }

    private func pump() {
        var time = now
        while sampler != nil, let start = schedule.next(now: time) {
            send(start)
            time = now
        }
        arm(time)
    }

    private func arm(_ time: UInt64) {
        guard sampler != nil, timer == nil, let wake = schedule.wake(now: time) else { return }
        let due = max(wake, time + Self.tick)
        timer = loop.scheduleTask(deadline: .uptimeNanoseconds(origin + due)) {
            self.timer = nil
            self.pump()
        }
    }

    private func send(_ start: LoadSchedule.Start) {
        let sent = now
        guard let connection = connections[start.user] else {
            if comesAndGoes { return come(start) }
            parked[start.user] = true
            tally.unsent += 1
            return abandon(start)
        }
        guard let request = source.next(nowMilliseconds: settings.wallMilliseconds(origin &+ sent)) else {
            tally.unsent += 1
            abandon(start)
            return schedule.finish(user: start.user, now: sent)
        }
        tally.sendLag.record(start.lag)
        tally.requestsSent += 1
        tally.itemsSent += request.items
        flights[start.user] = InFlight(start: start, sent: now, request: request)
        connection.send(request.buffer)
    }

    /// Connects a user who begins.
    private func come(_ start: LoadSchedule.Start) {
        connect(start.user).whenComplete { result in
            guard self.sampler != nil else { return self.connections[start.user]?.close() ?? () }
            if case .success = result { return self.send(start) }
            self.parked[start.user] = true
            self.tally.unsent += 1
            self.abandon(start)
            self.loop.scheduleTask(in: .milliseconds(100)) { self.reconnect(start.user) }
        }
    }

    /// Ends the connections of users that have left.
    private func leave() {
        let time = now
        for user in connections.indices where flights[user] == nil && time > lastAnswers[user] + Self.leaves {
            guard let connection = connections[user], lastAnswers[user] > 0 else { continue }
            connections[user] = nil
            connection.onClose = nil
            connection.close()
        }
    }

    private func answered(_ user: Int, _ response: ParsedResponse, _ bytes: UnsafeRawBufferPointer) {
        guard let flight = flights[user] else { return }
        flights[user] = nil
        let time = now
        lastAnswers[user] = time
        source.recycle(slot: flight.request.slot)
        let judged = flight.start.intended >= settings.warmUpNanoseconds
        tally.recorder(judged: judged) {
            $0.finished(intended: flight.start.intended, sent: flight.sent, answered: time)
        }
        tally.statuses[response.status, default: 0] += 1
        tally.seconds.record(
            second: Int(flight.start.intended / 1_000_000_000), microseconds: (time - flight.start.intended) / 1000)
        tally.lastAnswerNanoseconds = max(tally.lastAnswerNanoseconds, time)
        if response.status == 429 || response.status == 503 {
            tally.refused += 1
            if !response.hasRetryAfter { tally.refusedWithoutRetryAfter += 1 }
        }
        if (200..<300).contains(response.status) {
            var counts = OutcomeCounts()
            if settings.readsReceipts {
                counts =
                    response.chunks.map { chunk in chunk.withUnsafeBytes { OutcomeCounts(receipt: $0) } }
                    ?? OutcomeCounts(receipt: UnsafeRawBufferPointer(rebasing: bytes[response.body]))
                tally.outcomes += counts
                if counts.stored + counts.late + counts.bot == flight.request.items, settings.keepsAcknowledged {
                    tally.acknowledged.append(flight.request.sequence)
                }
            }
            tally.count(second: Int(time / 1_000_000_000), items: settings.readsReceipts ? counts.stored : 1)
            if judged, time <= schedule.executor.lengthNanoseconds {
                tally.judgedAnswered += settings.readsReceipts ? counts.stored : 1
            }
        } else if judged {
            tally.judgedErrors += 1
        }
        schedule.finish(user: user, now: time)
        pump()
        if ended || schedule.endsWhenExhausted { finishIfQuiet() }
    }

    /// The connection broke: its request has no answer, and the user comes back when a new connection stands.
    private func lost(_ user: Int) {
        connections[user] = nil
        guard sampler != nil else { return }
        tally.connectionsLost += 1
        if let flight = flights[user] {
            flights[user] = nil
            parked[user] = true
            source.recycle(slot: flight.request.slot)
            abandon(flight.start)
        }
        reconnect(user)
        if ended { finishIfQuiet() }
    }

    private func reconnect(_ user: Int) {
        connect(user).whenComplete { result in
            guard self.sampler != nil else { return }
            switch result {
            case .success:
                if self.parked[user] { self.schedule.finish(user: user, now: self.now) }
                self.parked[user] = false
                self.pump()
            case .failure: self.loop.scheduleTask(in: .milliseconds(100)) { self.reconnect(user) }
            }
        }
    }

    private func abandon(_ start: LoadSchedule.Start) {
        let judged = start.intended >= settings.warmUpNanoseconds
        tally.unanswered += 1
        if judged { tally.judgedErrors += 1 }
        let time = now
        tally.seconds.record(second: Int(start.intended / 1_000_000_000), microseconds: nil)
        tally.recorder(judged: judged) { $0.unfinished(waited: time &- min(time, start.intended)) }
    }

    /// The time is up: what is due and waiting still starts, answers are awaited, both within the grace.
    private func end() {
        guard sampler != nil, !ended else { return }
        tally.judgedCPUNanoseconds = ThreadTime.nanoseconds - judgedCPUStart
        ended = true
        loop.scheduleTask(in: .nanoseconds(Int64(settings.graceNanoseconds))) { self.finish() }
        finishIfQuiet()
    }

    private func finishIfQuiet() {
        if schedule.isExhausted(now: now), flights.allSatisfy({ $0 == nil }) { finish() }
    }

    private func finish() {
        guard sampler != nil else { return }
        if !ended { tally.judgedCPUNanoseconds = ThreadTime.nanoseconds - judgedCPUStart }
        sampler?.cancel()
        sampler = nil
        timer?.cancel()
        for flight in flights { if let flight { abandon(flight.start) } }
        let missing = schedule.unstarted()
        if schedule.hasIdleUser {
            tally.missedByGenerator += missing.count
        } else {
            tally.blockedByTarget += missing.count
        }
        let time = now
        for intended in missing {
            let judged = intended >= settings.warmUpNanoseconds
            tally.seconds.record(second: Int(intended / 1_000_000_000), microseconds: nil)
            tally.recorder(judged: judged) { $0.unfinished(waited: time - intended) }
            if judged { tally.judgedErrors += 1 }
        }
        flights = flights.map { _ in nil }
        for connection in connections { connection?.close() }
        done.succeed(tally)
    }

    /// Once a second: CPU of this thread, how late the loop itself runs, and whether the load was told to stop.
    private func sample() {
        let cpu = ThreadTime.nanoseconds
        let late = now > sampleDue ? now - sampleDue : 0
        tally.cpuPerSecond.append(Double(cpu - sampleCPU) / 1e9)
        tally.loopLagMaxNanoseconds = max(tally.loopLagMaxNanoseconds, late)
        sampleCPU = cpu
        sampleDue = now + 1_000_000_000
        if comesAndGoes { leave() }
        if settings.stop?.isSet == true {
            schedule.stop(now: now)
            end()
        }
    }
}
