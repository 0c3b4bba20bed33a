internal import AurumCore
internal import Database

/// One turn being worked out: dialogue steps and function calls in memory, ending in one `TurnWrite`.
struct TurnWork {
    private(set) var write: TurnWrite
    private(set) var end: EndRecord?
    private(set) var handedOver: String?
    private(set) var changesOwner = false
    private let flow: FlowDefinition
    private let service: ConversationService
    private let now: Timestamp
    private let isOpening: Bool

    init(record: ConversationRecord, flow: FlowDefinition, service: ConversationService, now: Timestamp) {
        write = TurnWrite(
            record: record, expectedOwner: record.owner, expectedFence: record.fence, expectedVersion: record.version,
            at: now)
        self.flow = flow
        self.service = service
        self.now = now
        isOpening = record.lastSequence == 0
    }

    /// Adds the visitor's messages to the transcript.
    mutating func hear(_ batch: [QueuedMessage]) {
        for item in batch {
            write.messages.append(
                NewMessage(
                    id: item.message.id, role: "visitor", clientMessageID: item.clientMessageID,
                    text: item.message.text,
                    quickReply: item.message.quickReply, afterFrame: write.record.lastFrame, at: item.message.at))
            write.record.lastSequence += 1
        }
    }

    /// Runs the dialogue with `input`, and every function that it calls, until it waits or ends.
    mutating func step(_ input: DialogueInput) async {
        var next: DialogueInput? = input
        while let input = next {
            next = nil
            let context = DialogueContext(
                flow: flow, catalogue: service.flows, operatorName: write.record.operatorName, limits: service.limits,
                now: now)
            let (state, actions) = Dialogue.step(write.record.state, input, in: context)
            write.record.state = state
            for action in actions {
                if case .call(let call) = action {
                    next = .functionResult(step: call.step, await service.call(call))
                } else {
                    take(action)
                }
            }
        }
    }

    private mutating func take(_ action: DialogueAction) {
        switch action {
        case .say(let message): say(message)
        case .show(let card): frame(.result(card))
        case .progress(let done, let total): frame(.progress(done: done, total: total))
        case .call: break
        case .slot(let name, let state, let reason):
            write.slots.append(NewSlotRevision(slot: name, state: state, reason: reason))
        case .consent(let record):
            emit(
                "consented",
                [
                    "version": .string(record.version), "given": .bool(record.given),
                    "message_id": .string(record.messageID.hex),
                ])
        case .handOver(let reason):
            handedOver = reason
            changeOwner(to: .unattended, person: nil)
            emit("handed_over", ["reason": .string(reason), "owner": "unattended"])
        case .end(let record): finish(record)
        }
    }

    /// Ends the conversation in this turn.
    mutating func finish(_ record: EndRecord) {
        end = record
        write.record.outcome = record.outcome
        write.record.product = record.product
        write.record.endedAt = now
        changeOwner(to: .closed, person: nil)
        emit(
            "ended",
            [
                "outcome": .string(record.outcome.rawValue), "product": record.product.map(JSONValue.string) ?? .null,
                "gates": .array(record.gates.map(JSONValue.string)),
            ])
    }

    /// A person's words.
    mutating func sayAsHuman(_ text: String) {
        let message = BotMessage(text: text, quickReplies: [], slotAsked: nil, discloses: false)
        append(message, role: "human")
    }

    private mutating func say(_ message: BotMessage) {
        append(message, role: "bot")
        write.record.state.askFrame = write.record.lastFrame
    }

    private mutating func append(_ message: BotMessage, role: String) {
        let id = UID(now: now)
        write.messages.append(
            NewMessage(
                id: id, role: role, discloses: message.discloses, text: message.text, slotAsked: message.slotAsked,
                afterFrame: write.record.lastFrame, at: now))
        write.record.lastSequence += 1
        frame(.message(id: id, role: role, message))
    }

    mutating func frame(_ body: StoredFrameBody) {
        write.record.lastFrame += 1
        let seq = write.record.lastFrame
        write.frames.append((seq: seq, type: body.type, text: body.text(seq: seq, at: now)))
    }

    /// Every change of ownership raises the fence.
    mutating func changeOwner(to owner: ConversationOwner, person: String?, displayName: String? = nil) {
        changesOwner = true
        write.record.owner = owner
        write.record.ownerPerson = person
        write.record.fence += 1
        frame(.owner(owner, displayName: displayName))
    }

    mutating func emit(_ name: String, _ props: [String: JSONValue]) {
        var all = props
        all["conversation_id"] = .string(write.record.id.hex)
        all["flow"] = .string(write.record.flowID)
        all["flow_hash"] = .string(write.record.flowHash)
        write.events.append(
            OutboxEvent(
                id: UID(now: now), org: write.record.org, key: write.record.visitorID, name: "conversation.\(name)",
                traceID: write.record.traceID, at: now, props: .object(all)))
    }

    /// The write, with the events that every turn has.
    mutating func finished() -> TurnWrite {
        let state = write.record.state
        if isOpening {
            let events = write.events
            write.events = []
            emit("started", ["language": .string(state.language.rawValue)])
            emit("disclosed", ["language": .string(state.language.rawValue), "template": "core.disclosure"])
            write.events += events
        } else {
            let events = write.events
            write.events = []
            emit(
                "turn",
                [
                    "turn": .integer(Int64(state.turns)), "owner": .string(write.expectedOwner.rawValue),
                    "messages": .integer(Int64(write.messages.count { $0.role == "visitor" })),
                    "slots": .array(Set(write.slots.map(\.slot)).sorted().map(JSONValue.string)),
                    "done": .integer(Int64(state.done)), "total": .integer(Int64(state.total)),
                ])
            write.events += events
            write.record.version += 1
        }
        return write
    }
}
