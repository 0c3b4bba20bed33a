internal import AurumCore
internal import Database
internal import Logging
internal import Telemetry

// Turns: decide in memory, commit once, then publish.
extension ConversationService {
    /// Tries of one turn against a store that somebody else writes to.
    private static let attemptsMax = 4

    /// Answers everything in `batch` with one turn. Finishes every item exactly once.
    func turn(_ lane: ConversationLane, _ batch: [QueuedMessage]) async {
        let started = ContinuousClock.now
        do throws(ConversationError) {
            for _ in 0..<Self.attemptsMax {
                let record = try await loaded(lane)
                let fresh = unseen(lane, batch)
                if fresh.isEmpty { return finish(batch, lane, []) }
                guard record.owner != .closed else { throw .closed }
                let work = try await work(record, fresh)
                do throws(ConversationError) {
                    try await commit(work)
                } catch .staleFence {
                    // Somebody took over, or wrote first: what was decided is dropped, the messages are not.
                    metrics.fenced.increment()
                    lane.forget()
                    continue
                }
                let ids = Dictionary(
                    fresh.map { ($0.clientMessageID, $0.message.id) }, uniquingKeysWith: { first, _ in first })
                lane.remember(work.write.record, messages: ids)
                count(work, ContinuousClock.now - started, fresh.count)
                return finish(batch, lane, work.write.frames.map { StoredFrame(seq: $0.seq, text: $0.text) })
            }
            throw .unavailable("contended")
        } catch {
            lane.forget()
            for item in batch {
                if let id = lane.stored(item.clientMessageID) {
                    item.finish(.success(id))
                } else {
                    metrics.refused.increment()
                    item.finish(.failure(error))
                }
            }
        }
    }

    /// Acknowledges, then publishes: the sender sees `accepted` before the reply.
    private func finish(_ batch: [QueuedMessage], _ lane: ConversationLane, _ frames: [StoredFrame]) {
        for item in batch {
            if let id = lane.stored(item.clientMessageID) {
                if id != item.message.id { metrics.duplicate.increment() }
                item.finish(.success(id))
            } else {
                item.finish(.failure(.unavailable("lost")))
            }
        }
        if !frames.isEmpty { lane.publish(frames) }
    }

    /// Messages that are not stored yet, each client id once.
    private func unseen(_ lane: ConversationLane, _ batch: [QueuedMessage]) -> [QueuedMessage] {
        var ids: Set<UID> = []
        return batch.filter { lane.stored($0.clientMessageID) == nil && ids.insert($0.clientMessageID).inserted }
    }

    private func loaded(_ lane: ConversationLane) async throws(ConversationError) -> ConversationRecord {
        if let record = lane.record { return record }
        let (org, id, since) = (lane.org, lane.id, clock.now - .seconds(86_400))
        let found = try await guarded { [database] in
            try await database.read("conversation.load") { tx -> (ConversationRecord, [UID: UID], [Timestamp])? in
                guard let record = try ConversationStore.record(org: org, id: id, tx) else { return nil }
                let lines = try ConversationStore.visitorLines(org: org, id: id, tx)
                let known = lines.compactMap { line in line.clientMessageID.map { ($0, line.messageID) } }
                return (
                    record, Dictionary(known, uniquingKeysWith: { first, _ in first }),
                    lines.map(\.at).filter { $0 > since }
                )
            }
        }
        guard let (record, known, arrivals) = found else { throw .unknownConversation }
        lane.load(record, messages: known, arrivals: arrivals)
        return record
    }

    private func work(
        _ record: ConversationRecord, _ batch: [QueuedMessage]
    ) async throws(ConversationError) -> TurnWork {
        guard let flow = flows.flow(hash: record.flowHash) else {
            logger.error("a stored conversation names an unknown flow", metadata: ["code": "unknown_flow"])
            throw .unavailable("unknown_flow")
        }
        var work = TurnWork(record: record, flow: flow, service: self, now: clock.now)
        work.hear(batch)
        let isFull = work.write.record.lastSequence >= limits.transcriptRowsMax
        let label = flows.core[.continueWithBot, record.state.language]
        let wantsBot = batch.contains {
            $0.message.quickReply == Dialogue.continueReply || $0.message.text.lowercased() == label.lowercased()
        }
        if isFull {
            work.finish(EndRecord(outcome: .abandoned, product: nil, gates: record.state.gates))
        } else if record.owner == .bot {
            await work.step(.messages(batch.map(\.message)))
        } else if record.owner == .unattended, wantsBot {
            work.changeOwner(to: .bot, person: nil)
            work.emit("returned", ["actor": "visitor"])
            await work.step(.returned)
        } else if batch.contains(where: {
            !ContactParser(Sentence($0.message.text)).phones(asked: false, occupied: []).isEmpty
        }) {
            work.emit("callback_requested", ["owner": .string(record.owner.rawValue)])
        }
        _ = work.finished()
        return work
    }

    private func commit(_ work: TurnWork) async throws(ConversationError) {
        let (write, end, flows, onEnd) = (work.write, work.end, flows, onEnd)
        try await guarded { [database] in
            try await database.write("conversation.turn") { tx in
                try ConversationStore.update(write, tx)
                guard let end, let flow = flows.flow(hash: write.record.flowHash) else { return }
                try onEnd(EndedConversation(write.record, end: end, flow: flow, core: flows.core, tx), tx)
            }
        }
    }

    private func count(_ work: TurnWork, _ duration: Duration, _ messages: Int) {
        metrics.turnDuration.observe(duration)
        metrics.accepted.increment(by: messages)
        if let end = work.end { metrics.ended(end.outcome) }
        if let reason = work.handedOver { metrics.handedOver(reason) }
    }

    /// Runs a function of the flow, a second time when it throws. Two failures are a refusal, never an invented value.
    func call(_ call: FunctionCall) async -> FunctionResult {
        guard let function = flows.functions.functions[call.function] else { return .refused("unknownFunction") }
        for _ in 0..<2 {
            do {
                return try await function.run(call)
            } catch {
                logger.warning(
                    "a flow function failed", metadata: ["code": "flow_function", "function": "\(call.function)"])
            }
        }
        metrics.functionFailures.increment()
        return .refused("failed")
    }
}
