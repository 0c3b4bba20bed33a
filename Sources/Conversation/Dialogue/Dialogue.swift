package import AurumCore

/// What a dialogue step may look at besides its state.
package struct DialogueContext: Sendable {
    package var flow: FlowDefinition
    package var catalogue: FlowCatalogue
    /// Who operates the assistant, as named in the disclosure.
    package var operatorName: String
    package var limits: ConversationLimits
    package var now: Timestamp

    package init(
        flow: FlowDefinition, catalogue: FlowCatalogue, operatorName: String, limits: ConversationLimits, now: Timestamp
    ) {
        self.flow = flow
        self.catalogue = catalogue
        self.operatorName = operatorName
        self.limits = limits
        self.now = now
    }
}

/// The dialogue engine: decides in values, does nothing. The driver carries out the actions.
package enum Dialogue {
    /// The next state and what to do, in order. Pure and synchronous: same arguments, same result.
    package static func step(
        _ state: DialogueState, _ input: DialogueInput, in context: DialogueContext
    ) -> (DialogueState, [DialogueAction]) {
        guard state.ended == nil else { return (state, []) }
        var turn = DialogueTurn(state: state, context: context)
        switch input {
        case .opened: turn.walk()
        case .messages(let messages): turn.answer(messages)
        case .functionResult(let step, let result): turn.resume(step, result)
        case .returned: turn.takeUpAgain()
        }
        return (turn.state, turn.actions)
    }
}

/// One step being taken. Its parts: hearing, repairing, walking the flow.
struct DialogueTurn {
    var state: DialogueState
    var actions: [DialogueAction] = []
    let context: DialogueContext

    /// Sentences to put before whatever is said next.
    var notes: [String] = []
    /// What the messages of this turn contained.
    var hearing = Hearing()

    struct Hearing {
        var filled: [(slot: String, byButton: Bool, asked: Bool)] = []
        var corrected: [String] = []
        var intents: Set<Intent> = []
        var invalid: [(reading: SlotReading, text: String)] = []
        var ambiguous: [(slot: String, values: [String])] = []
        /// Something was decided: a confirmation, an offer, a consent.
        var decided = false
        var unclearConsent = false
        var raw = ""
    }

    init(state: DialogueState, context: DialogueContext) {
        self.state = state
        self.context = context
    }

    var flow: FlowDefinition { context.flow }
    var language: Language { state.language }
    var format: ValueFormat { ValueFormat(flow: flow, core: context.catalogue.core, language: language) }

    /// A text of the engine with its placeholders filled.
    func core(_ id: CoreText, _ values: [String: String] = [:]) -> String {
        Template.render(context.catalogue.core[id, language]) { name in
            name == "operator" ? context.operatorName : values[name]
        }
    }

    /// A text of the flow with slots, facts, disclosure and operator filled in.
    func text(_ id: String) -> String {
        Template.render(flow.text(id, language)) { name in
            switch name {
            case "disclosure": core(.disclosure)
            case "operator": context.operatorName
            default: state.value(name).map { format.text($0, slot: flow.slot(name) == nil ? nil : name) }
            }
        }
    }

    /// Says `text` with the notes gathered so far before it.
    mutating func say(
        _ text: String, replies: [QuickReply] = [], asked: String? = nil, discloses: Bool = false
    ) {
        let whole = (notes + [text]).filter { !$0.isEmpty }.joined(separator: " ")
        notes = []
        guard !whole.isEmpty else { return }
        actions.append(
            .say(BotMessage(text: whole, quickReplies: replies, slotAsked: asked, discloses: discloses)))
    }

    mutating func end(_ outcome: ConversationOutcome, product: String? = nil) {
        let record = EndRecord(outcome: outcome, product: product, gates: state.gates)
        state.ended = record
        state.awaiting = nil
        actions.append(.end(record))
    }

    /// Gives the conversation to people. Nobody is on duty in this version, and the person is told so.
    mutating func handOver(_ reason: String) {
        let final = state.handOvers > 0
        state.handOvers += 1
        let replies = final ? [] : [QuickReply(id: Dialogue.continueReply, label: core(.continueWithBot))]
        say(core(final ? .handOverFinal : .handOver), replies: replies)
        actions.append(.handOver(reason: reason))
    }

    /// After a hand-over: asks again what was pending, with fresh patience.
    mutating func takeUpAgain() {
        switch state.awaiting {
        case .answer(let step), .consent(let step), .offer(let step): state.shown[step] = 0
        case .confirmation, .cancellation, .call, nil: break
        }
        state.refusedSkips = []
        notes.append(core(.goOn))
        walk()
    }

    /// Records progress; it falls only when an answer was corrected.
    mutating func reportProgress() {
        let (done, total) = progress()
        let falls = done * max(state.total, 1) < state.done * max(total, 1)
        guard (done, total) != (state.done, state.total), !falls || !hearing.corrected.isEmpty else { return }
        state.done = done
        state.total = total
        actions.append(.progress(done: done, total: total))
    }
}

extension Dialogue {
    /// Quick reply with which a person goes on with the bot after a hand-over.
    package static let continueReply = "continueWithBot"
}
