internal import AurumCore

// Walking the flow: always from its start, passing silently over everything settled, so that a corrected answer
// re-opens exactly the gates and calculations that depend on it.
extension DialogueTurn {
    /// Steps a single walk may take: every step of the largest flow, twice.
    private static let walkMax = 400

    mutating func walk() {
        state.gates.removeAll()
        var position = flow.start
        for _ in 0..<Self.walkMax {
            guard let step = flow.steps[position] else { return handOver("internalError") }
            guard let next = pass(step) else { return }
            position = next
        }
        handOver("internalError")
    }

    /// Does what `step` needs and gives the step after it, or nil when the walk stops here.
    private mutating func pass(_ step: FlowStep) -> String? {
        switch step.kind {
        case .say(let id, let next):
            if state.said.insert(step.id).inserted {
                say(text(id), discloses: flow.text(id, language).contains("{disclosure}"))
            }
            return next
        case .ask(let ask): return pass(ask, step)
        case .branch(let cases, let otherwise): return choose(cases, otherwise)
        case .call(let call): return pass(call, step)
        case .consent(let consent): return pass(consent, step)
        case .offer(let id, let replies):
            if let chosen = state.offers[step.id], let reply = replies.first(where: { $0.id == chosen }) {
                return reply.target
            }
            guard mayShow(step) else { return nil }
            state.awaiting = .offer(step: step.id)
            say(text(id), replies: replies.map { QuickReply(id: $0.id, label: text($0.label)) })
            reportProgress()
            return nil
        case .end(let end):
            say(end.text.map(text) ?? "")
            reportProgress()
            self.end(end.outcome, product: end.product)
            return nil
        }
    }

    private var scope: ConditionScope {
        let state = state
        return ConditionScope(
            value: { state.value($0) },
            isDeclined: { name in
                state.slots[name].map { $0.status == .declined || $0.status == .unavailable } ?? false
            })
    }

    private mutating func choose(_ cases: [BranchCase], _ otherwise: String) -> String {
        let scope = scope
        for one in cases where one.condition.holds(in: scope) {
            if let gate = one.gate, !state.gates.contains(gate) { state.gates.append(gate) }
            return one.target
        }
        return otherwise
    }

    func missing(_ ask: AskStep) -> [String] { ask.slots.filter { state.slots[$0]?.isSettled != true } }

    private mutating func pass(_ ask: AskStep, _ step: FlowStep) -> String? {
        let missing = missing(ask)
        if missing.isEmpty { return ask.next }
        guard (state.shown[step.id] ?? 0) < context.limits.stepShowsMax else {
            guard ask.skippable else {
                handOver("failedRepairs")
                return nil
            }
            for slot in missing { settle(slot, as: .unavailable) }
            notes.append(core(.skipped))
            return ask.next
        }
        let times = state.shown[step.id, default: 0]
        state.shown[step.id] = times + 1
        for slot in missing { state.asks[slot, default: 0] += 1 }
        state.awaiting = .answer(step: step.id)
        var question = text(ask.texts[times % ask.texts.count])
        if missing.count < ask.slots.count {
            question = missing.compactMap { flow.slot($0)?.ask.map(text) }.joined(separator: " ")
        }
        say(question, replies: replies(missing, ask), asked: missing.joined(separator: ","))
        reportProgress()
        return nil
    }

    /// Buttons for one choice or yes-no slot, and for skipping.
    private func replies(_ missing: [String], _ ask: AskStep) -> [QuickReply] {
        var replies: [QuickReply] = []
        if missing.count == 1, let slot = flow.slot(missing[0]) {
            replies = slot.values.map { QuickReply(id: $0.id, label: $0.label[language] ?? $0.id) }
            if slot.type == .boolean {
                replies = [QuickReply(id: "yes", label: core(.yes)), QuickReply(id: "no", label: core(.no))]
            }
        }
        if ask.skippable, replies.count < FlowChecker.quickRepliesMax {
            replies.append(QuickReply(id: "skip", label: core(.skip)))
        }
        return replies
    }

    /// Counts the showing of a step that cannot be skipped; hands over when it was shown often enough.
    private mutating func mayShow(_ step: FlowStep) -> Bool {
        guard (state.shown[step.id] ?? 0) < context.limits.stepShowsMax else {
            handOver("failedRepairs")
            return false
        }
        state.shown[step.id, default: 0] += 1
        return true
    }

    private mutating func pass(_ consent: ConsentStep, _ step: FlowStep) -> String? {
        if let record = state.consents[step.id] {
            if record.given { return consent.next }
            if let gate = consent.gate, !state.gates.contains(gate) { state.gates.append(gate) }
            return consent.onDecline
        }
        guard mayShow(step) else { return nil }
        if !notes.isEmpty { say("") }
        let words = text(consent.text)
        state.shownConsents[step.id] = DialogueState.ShownConsent(text: words, language: language, at: context.now)
        state.awaiting = .consent(step: step.id)
        say(
            words,
            replies: [
                QuickReply(id: "agree", label: text(consent.agree)),
                QuickReply(id: "decline", label: text(consent.decline)),
            ], asked: "consent")
        reportProgress()
        return nil
    }

    private mutating func pass(_ call: CallStep, _ step: FlowStep) -> String? {
        guard let function = context.catalogue.functions.functions[call.function] else { return call.onFailure }
        var inputs: [String: SlotValue] = [:]
        for name in call.inputs { inputs[name] = state.value(name) }
        if let record = state.calls[step.id], record.inputs == inputs {
            return record.refusal == nil ? call.next : afterFailure(call)
        }
        guard function.inputs.keys.allSatisfy({ inputs[$0] != nil }) else { return afterFailure(call) }
        if !notes.isEmpty { say("") }
        state.awaiting = .call(step: step.id)
        state.calls[step.id] = DialogueState.CallRecord(inputs: inputs, refusal: "pending")
        actions.append(
            .call(
                FunctionCall(
                    step: step.id, function: call.function, values: inputs, language: language, at: context.now)))
        return nil
    }

    private mutating func afterFailure(_ call: CallStep) -> String? {
        if let next = call.onFailure { return next }
        notes.append(core(.apology))
        handOver("internalError")
        return nil
    }

    /// A function has answered.
    mutating func resume(_ step: String, _ result: FunctionResult) {
        guard state.awaiting == .call(step: step), var record = state.calls[step] else { return }
        state.awaiting = nil
        switch result {
        case .success(let facts, let card):
            record.refusal = nil
            state.facts.merge(facts) { $1 }
            if let card { actions.append(.show(card)) }
        case .refused(let reason): record.refusal = reason
        }
        state.calls[step] = record
        walk()
    }

    /// Required answers settled, and how many the present path has in all.
    func progress() -> (done: Int, total: Int) {
        let scope = scope
        var seen: Set<String> = []
        var done = 0
        var total = 0
        var position: String? = flow.start
        while let name = position, seen.insert(name).inserted, let step = flow.steps[name] {
            switch step.kind {
            case .say(_, let next): position = next
            case .ask(let ask):
                for slot in ask.slots where flow.slot(slot)?.required == true {
                    total += 1
                    done += state.slots[slot]?.isSettled == true ? 1 : 0
                }
                position = ask.next
            case .branch(let cases, let otherwise):
                position = cases.first { $0.condition.holds(in: scope) }?.target ?? otherwise
            case .call(let call): position = state.calls[name]?.refusal == nil ? call.next : call.onFailure ?? call.next
            case .consent(let consent):
                total += 1
                done += state.consents[name] == nil ? 0 : 1
                position = state.consents[name]?.given == false ? consent.onDecline : consent.next
            case .offer(_, let replies):
                position = replies.first { $0.id == state.offers[name] }?.target ?? replies.first?.target
            case .end: position = nil
            }
        }
        return (done, total)
    }
}
