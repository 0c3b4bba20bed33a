internal import AurumCore

// Hearing: what the messages of a turn settle, before anything is said.
extension DialogueTurn {
    mutating func answer(_ messages: [VisitorMessage]) {
        state.turns += 1
        for message in messages { hear(message) }
        respond()
    }

    private mutating func hear(_ message: VisitorMessage) {
        if let reply = message.quickReply, press(reply, message) { return }
        let words = message.text.isEmpty ? message.quickReply ?? "" : message.text
        let heard = Understanding(flow: flow, asked: askedSlots, settled: settledSlots).read(words)
        hearing.raw = words
        hearing.intents.formUnion(heard.intents)
        follow(heard)
        decide(heard, words, message)
        for fill in heard.fills { take(fill, heard, message) }
        for reading in heard.invalid where heard.fills.isEmpty {
            hearing.invalid.append((reading, complaint(reading, nil)))
            remember(reading, message)
        }
        hearing.ambiguous += heard.ambiguous
        if heard.has(.question), heard.fills.isEmpty, heard.intents == [.question] { state.ownQuestion = true }
    }

    /// Slots that are being asked and have no answer yet.
    var askedSlots: [String] {
        switch state.awaiting {
        case .answer(let step):
            guard case .ask(let ask) = flow.steps[step]?.kind else { return [] }
            return missing(ask)
        case .confirmation(let slot, _, _): return [slot]
        case .consent, .offer, .cancellation, .call, nil: return []
        }
    }

    private var settledSlots: [String] {
        state.slots.filter { $0.value.status == .confirmed }.sorted { $0.value.order > $1.value.order }.map(\.key)
    }

    /// Goes on in the language the person uses.
    private mutating func follow(_ heard: Heard) {
        var wanted = heard.language
        if heard.has(.speakSpanish) { wanted = .spanish }
        if heard.has(.speakEnglish) { wanted = .english }
        if let wanted, flow.languages.contains(wanted) { state.language = wanted }
    }

    /// A plain yes or no where one was asked for.
    private mutating func decide(_ heard: Heard, _ words: String, _ message: VisitorMessage) {
        let affirms = heard.has(.affirm)
        let denies = heard.has(.deny)
        switch state.awaiting {
        case .confirmation(let slot, let candidate, let contradicts):
            if affirms || denies, !heard.fills.contains(where: { $0.slot == slot }) {
                confirm(slot, candidate, contradicts, affirms)
            }
        case .consent(let step):
            if affirms || denies, heard.fills.isEmpty { consent(step, affirms, control: words, message) }
            let unclear = !affirms && !denies && heard.fills.isEmpty && heard.intents.isEmpty
            if unclear { hearing.unclearConsent = true }
        case .cancellation:
            if affirms { cancel() } else if denies || !heard.fills.isEmpty { keepGoing() }
        case .offer(let step):
            guard case .offer(_, let replies) = flow.steps[step]?.kind else { return }
            let labelled = replies.first { heard.sentence.contains(Sentence.foldedWords(text($0.label))) }
            if let reply = labelled
                ?? replies.first(where: { affirms && $0.affirms == true || denies && $0.affirms == false })
            {
                choose(reply.id, at: step)
            }
        case .answer, .call, nil: break
        }
    }

    /// A button. False when it belongs to nothing that is being asked; its words are then read like typed ones.
    private mutating func press(_ id: String, _ message: VisitorMessage) -> Bool {
        switch state.awaiting {
        case .answer(let step):
            guard case .ask(let ask) = flow.steps[step]?.kind else { return false }
            if id == "skip", ask.skippable {
                hearing.intents.insert(.skip)
                return true
            }
            for name in missing(ask) {
                guard let slot = flow.slot(name), let value = value(of: id, slot) else { continue }
                let label = format.text(value, slot: name)
                fill(
                    name, value,
                    SlotReading(slot: name, value: value, raw: label, start: 0, end: 0, confidence: 10_000),
                    message, extractor: .form)
                return true
            }
            return false
        case .consent(let step):
            guard case .consent(let consent) = flow.steps[step]?.kind, ["agree", "decline"].contains(id) else {
                return false
            }
            self.consent(step, id == "agree", control: text(id == "agree" ? consent.agree : consent.decline), message)
            return true
        case .offer(let step):
            guard case .offer(_, let replies) = flow.steps[step]?.kind, replies.contains(where: { $0.id == id }) else {
                return false
            }
            choose(id, at: step)
            return true
        case .confirmation(let slot, let candidate, let contradicts):
            guard ["yes", "no"].contains(id) else { return false }
            confirm(slot, candidate, contradicts, id == "yes")
            return true
        case .cancellation:
            switch id {
            case "stopHere": cancel()
            case "keepGoing": keepGoing()
            case "human": hearing.intents.insert(.askHuman)
            default: return false
            }
            return true
        case .call, nil: return false
        }
    }

    private func value(of id: String, _ slot: SlotDefinition) -> SlotValue? {
        if slot.type == .boolean { return id == "yes" ? .boolean(true) : id == "no" ? .boolean(false) : nil }
        return slot.value(id).map { .choice($0.id) }
    }

    private mutating func choose(_ id: String, at step: String) {
        state.offers[step] = id
        state.awaiting = nil
        hearing.decided = true
    }

    /// Agreement counts only for words that had been shown when the answer was sent.
    private mutating func consent(_ step: String, _ given: Bool, control: String, _ message: VisitorMessage) {
        guard case .consent(let consent) = flow.steps[step]?.kind, let shown = state.shownConsents[step] else { return }
        guard message.seenFrame >= state.askFrame || !given else {
            hearing.unclearConsent = true
            return
        }
        let record = ConsentRecord(
            version: consent.version, text: shown.text, language: shown.language, control: control, given: given,
            messageID: message.id, shownAt: shown.at, at: message.at)
        state.consents[step] = record
        state.awaiting = nil
        hearing.decided = true
        actions.append(.consent(record))
    }

    private mutating func cancel() {
        hearing.decided = true
        say(core(.cancelled))
        end(.abandoned)
    }

    private mutating func keepGoing() {
        hearing.decided = true
        state.awaiting = nil
        notes.append(core(.goOn))
    }
}

// Filling slots.
extension DialogueTurn {
    private mutating func take(_ reading: SlotReading, _ heard: Heard, _ message: VisitorMessage) {
        guard let value = reading.value, let slot = flow.slot(reading.slot) else { return }
        switch judge(value, slot) {
        case .invalid(let words):
            hearing.invalid.append((reading, complaint(reading, words)))
            remember(reading, message)
        case .valid(let kept, let facts):
            accept(kept, facts, reading, heard, message)
        }
    }

    private enum Judgement { case valid(SlotValue, [String: SlotValue]); case invalid(String?) }

    /// Bounds of the slot, then its validator.
    private func judge(_ value: SlotValue, _ slot: SlotDefinition) -> Judgement {
        let amounts: (low: Int64, high: Int64)? =
            switch value {
            case .money(let range): (range.lowCents, range.highCents)
            case .integer(let number): (number, number)
            default: nil
            }
        if let amounts {
            let unit: Int64 = slot.type == .money ? 100 : 1
            if let min = slot.min, amounts.low < min * unit { return .invalid(nil) }
            if let max = slot.max, amounts.high > max * unit { return .invalid(nil) }
        }
        guard let name = slot.validator, let validator = context.catalogue.functions.validators[name] else {
            return .valid(value, [:])
        }
        switch validator.check(value) {
        case .valid(let kept, let facts): return .valid(kept, facts)
        case .invalid(let words): return .invalid(words[language] ?? words[.english])
        }
    }

    private mutating func accept(
        _ value: SlotValue, _ facts: [String: SlotValue], _ reading: SlotReading, _ heard: Heard,
        _ message: VisitorMessage
    ) {
        var isAwaited = false
        if case .confirmation(reading.slot, _, _) = state.awaiting { isAwaited = true }
        if let old = state.slots[reading.slot], old.status == .confirmed {
            if old.value == value {
                hearing.filled.append((reading.slot, false, false))
                if isAwaited { state.awaiting = nil }
            } else if heard.isCorrection || isAwaited {
                fill(reading.slot, value, reading, message, extractor: .rule)
            } else {
                propose(reading, value, message, contradicts: true)
            }
        } else if reading.confidence < context.limits.confirmedConfidence, !isAwaited {
            propose(reading, value, message, contradicts: false)
        } else {
            fill(reading.slot, value, reading, message, extractor: .rule)
        }
    }

    private func slotState(
        _ value: SlotValue?, _ reading: SlotReading, _ message: VisitorMessage, _ extractor: SlotExtractor,
        _ status: SlotStatus
    ) -> SlotState {
        SlotState(
            value: value, raw: reading.raw, status: status, messageID: message.id, start: reading.start,
            end: reading.end,
            extractor: extractor, version: extractor == .rule ? Understanding.version : flow.hash,
            confidence: reading.confidence, at: message.at, answeredFirst: (state.asks[reading.slot] ?? 0) <= 1,
            order: 0, history: [])
    }

    private mutating func propose(
        _ reading: SlotReading, _ value: SlotValue, _ message: VisitorMessage, contradicts: Bool
    ) {
        if case .confirmation = state.awaiting { return }
        let candidate = slotState(value, reading, message, .rule, .proposed)
        state.awaiting = .confirmation(slot: reading.slot, candidate: candidate, contradicts: contradicts)
    }

    private mutating func fill(
        _ name: String, _ value: SlotValue, _ reading: SlotReading, _ message: VisitorMessage, extractor: SlotExtractor
    ) {
        let asked = askedSlots.contains(name)
        store(name, slotState(value, reading, message, extractor, .confirmed), reason: "correction")
        hearing.filled.append((name, extractor == .form, asked))
    }

    /// Puts a confirmed answer in place; an earlier one goes to its history.
    private mutating func store(_ name: String, _ answer: SlotState, reason: String) {
        var answer = answer
        answer.status = .confirmed
        state.settledCount += 1
        answer.order = state.settledCount
        let old = state.slots[name]
        answer.history = old?.history ?? []
        if let old {
            let isChange = old.status == .confirmed
            answer.answeredFirst = false
            answer.history.append(
                SlotState.Earlier(
                    value: old.value, raw: old.raw, messageID: old.messageID, at: old.at,
                    reason: isChange ? reason : "revalidation"))
            if isChange { hearing.corrected.append(name) }
        }
        state.slots[name] = answer
        if let slot = flow.slot(name), let value = answer.value, case .valid(let kept, let facts) = judge(value, slot) {
            state.slots[name]?.value = kept
            state.facts.merge(facts) { $1 }
        }
        if case .confirmation(name, _, _) = state.awaiting { state.awaiting = nil }
        state.repairs["confirm.\(name)"] = nil
        forgiveGroup(name)
        actions.append(.slot(name: name, state.slots[name] ?? answer, reason: old == nil ? "answer" : reason))
    }

    /// A group that got one of its answers is not failing.
    private mutating func forgiveGroup(_ slot: String) {
        guard case .answer(let step) = state.awaiting, case .ask(let ask) = flow.steps[step]?.kind,
            ask.slots.count > 1, ask.slots.contains(slot)
        else { return }
        state.shown[step] = 0
        state.repairs[step] = 0
    }

    private mutating func confirm(_ slot: String, _ candidate: SlotState, _ contradicts: Bool, _ yes: Bool) {
        state.awaiting = nil
        state.repairs["confirm.\(slot)"] = nil
        hearing.decided = true
        if yes {
            store(slot, candidate, reason: contradicts ? "contradiction" : "correction")
            hearing.filled.append((slot, true, true))
        } else if contradicts, var old = state.slots[slot] {
            old.history.append(
                SlotState.Earlier(
                    value: candidate.value, raw: candidate.raw, messageID: candidate.messageID, at: candidate.at,
                    reason: "contradiction"))
            state.slots[slot] = old
            if let value = old.value { notes.append(core(.kept, ["old": format.text(value, slot: slot)])) }
            actions.append(.slot(name: slot, old, reason: "contradiction"))
        }
    }

    /// Keeps the raw words of an answer that cannot be used.
    private mutating func remember(_ reading: SlotReading, _ message: VisitorMessage) {
        guard state.slots[reading.slot]?.isSettled != true else { return }
        var attempt = slotState(nil, reading, message, .rule, .invalid)
        attempt.answeredFirst = false
        attempt.history = state.slots[reading.slot]?.history ?? []
        state.slots[reading.slot] = attempt
        actions.append(.slot(name: reading.slot, attempt, reason: "revalidation"))
    }

    /// Settles a slot without a value.
    mutating func settle(_ name: String, as status: SlotStatus) {
        state.settledCount += 1
        let earlier = state.slots[name]
        let answer = SlotState(
            value: nil, raw: earlier?.raw ?? "", status: status, messageID: nil, start: 0, end: 0, extractor: .rule,
            version: Understanding.version, confidence: 10_000, at: context.now, answeredFirst: false,
            order: state.settledCount, history: earlier?.history ?? [])
        state.slots[name] = answer
        actions.append(.slot(name: name, answer, reason: status.rawValue))
    }

    /// What was heard and what is wanted.
    private func complaint(_ reading: SlotReading, _ words: String?) -> String {
        guard let slot = flow.slot(reading.slot) else { return "" }
        var values = ["raw": String(reading.raw.prefix(60))]
        if let words { return core(.invalidOther, values) + " " + words }
        let id: CoreText
        switch slot.type {
        case .money where slot.min != nil && slot.max != nil: id = .invalidMoneyRange
        case .integer where slot.min != nil && slot.max != nil: id = .invalidIntegerRange
        case .money: id = .invalidMoney
        case .postalCode: id = .invalidPostalCode
        case .phone: id = .invalidPhone
        case .email: id = .invalidEmail
        case .text, .choice, .boolean, .integer, .personName: id = .invalidOther
        }
        let isMoney = slot.type == .money
        values["min"] = slot.min.map { isMoney ? format.dollars($0 * 100) : String($0) }
        values["max"] = slot.max.map { isMoney ? format.dollars($0 * 100) : String($0) }
        return core(id, values)
    }
}
