internal import AurumCore

// Responding: commands first, then repairs, then the walk to the next question.
extension DialogueTurn {
    mutating func respond() {
        if state.ended != nil { return }
        guard state.turns <= context.limits.turnsMax else {
            say(core(.tooManyTurns))
            return end(.abandoned)
        }
        if obey() { return }
        acknowledge()
        if case .confirmation(let slot, let candidate, let contradicts) = state.awaiting {
            return askConfirmation(slot, candidate, contradicts)
        }
        explain()
        walk()
    }

    /// Commands that end the turn. True when one was given.
    private mutating func obey() -> Bool {
        let intents = hearing.intents
        if intents.contains(.stopContact) {
            state.gates = state.gates.filter { $0 != "optedOut" } + ["optedOut"]
            say(core(.stopped))
            end(.declined)
        } else if intents.contains(.deleteMyData) {
            notes.append(core(.deleteData))
            handOver("deleteMyData")
        } else if intents.contains(.askHuman) {
            handOver("askHuman")
        } else if intents.contains(.abuse) {
            handOver("abuse")
        } else if intents.contains(.notInterested), hearing.filled.isEmpty {
            say(core(.notInterested))
            end(.declined)
        } else if intents.contains(.cancel), hearing.filled.isEmpty {
            askCancellation()
        } else if intents.contains(.restart) {
            restart()
        } else {
            return false
        }
        return true
    }

    private mutating func askCancellation() {
        if state.awaiting == .cancellation {
            say(core(.cancelled))
            return end(.abandoned)
        }
        state.awaiting = .cancellation
        say(
            core(.cancelConfirm),
            replies: [
                QuickReply(id: "stopHere", label: core(.stopHere)),
                QuickReply(id: "keepGoing", label: core(.keepGoing)),
                QuickReply(id: "human", label: core(.human)),
            ])
    }

    /// Starts over; what was answered stays in the history of its slot.
    private mutating func restart() {
        for (name, slot) in state.slots.sorted(by: { $0.key < $1.key }) {
            var cleared = slot
            cleared.history.append(
                SlotState.Earlier(
                    value: slot.value, raw: slot.raw, messageID: slot.messageID, at: slot.at, reason: "restart"))
            cleared.value = nil
            cleared.status = .invalid
            state.slots[name] = cleared
            actions.append(.slot(name: name, cleared, reason: "restart"))
        }
        state.facts = [:]
        state.calls = [:]
        state.consents = [:]
        state.shownConsents = [:]
        state.offers = [:]
        state.said = []
        state.shown = [:]
        state.repairs = [:]
        state.refusedSkips = []
        state.done = 0
        state.awaiting = nil
        notes.append(core(.restarted))
        walk()
    }

    /// Repeats back what was understood, where a misunderstanding would matter.
    private mutating func acknowledge() {
        if hearing.intents.contains(.areYouABot) { notes.append(core(.bot)) }
        let changed = Set(hearing.corrected)
        let names = hearing.filled.filter { fill in
            guard let type = flow.slot(fill.slot)?.type, !changed.contains(fill.slot) else { return false }
            if fill.byButton { return false }
            return hearing.filled.count > 1 || !fill.asked || ![.choice, .boolean, .text].contains(type)
        }.map(\.slot)
        if !names.isEmpty { notes.append(core(.heard, ["summary": summary(names)])) }
        if !changed.isEmpty { notes.append(core(.corrected, ["summary": summary(changed.sorted())])) }
    }

    private func summary(_ names: [String]) -> String {
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }.compactMap { name in
            guard let slot = flow.slot(name), let value = state.slots[name]?.value else { return nil }
            return "\(slot.label[language] ?? name): \(format.text(value, slot: name))"
        }.joined(separator: "; ")
    }

    private mutating func askConfirmation(_ slot: String, _ candidate: SlotState, _ contradicts: Bool) {
        let new = candidate.value.map { format.text($0, slot: slot) } ?? candidate.raw
        let label = flow.slot(slot)?.label[language] ?? slot
        // Asked once: a confirmation that was already pending when this turn began and is still open is dropped.
        let key = "confirm.\(slot)"
        guard (state.repairs[key] ?? 0) < 1 else {
            state.repairs[key] = nil
            state.awaiting = nil
            if contradicts, let old = state.slots[slot]?.value {
                notes.append(core(.kept, ["old": format.text(old, slot: slot)]))
            }
            return walk()
        }
        state.repairs[key] = 1
        var values = ["new": new, "label": label]
        if contradicts, let old = state.slots[slot]?.value { values["old"] = format.text(old, slot: slot) }
        say(
            core(contradicts ? .contradiction : .confirmValue, values),
            replies: [QuickReply(id: "yes", label: core(.yes)), QuickReply(id: "no", label: core(.no))], asked: slot)
    }

    /// Words before asking again: why, sorry, please choose.
    private mutating func explain() {
        guard hearing.filled.isEmpty, !hearing.decided else {
            if let first = hearing.invalid.first { notes.append(first.text) }
            return
        }
        if hearing.unclearConsent { return notes.append(core(.unclearConsent)) }
        if let first = hearing.invalid.first { return notes.append(first.text) }
        if let ambiguous = hearing.ambiguous.first { return notes.append(clarification(ambiguous)) }
        answerSmallTalk()
    }

    private func clarification(_ ambiguous: (slot: String, values: [String])) -> String {
        let labels = ambiguous.values.map { format.text(.choice($0), slot: ambiguous.slot) }
        let joined = labels.dropLast().joined(separator: ", ") + " \(core(.or)) " + (labels.last ?? "")
        return core(.clarify, ["choices": joined])
    }

    private mutating func answerSmallTalk() {
        let intents = hearing.intents
        let refusesOpenQuestion = intents.contains(.deny) && asksOpenly
        if intents.contains(.skip) || refusesOpenQuestion { return skip() }
        if intents.contains(.explainWhy) { return notes.append(help) }
        if intents.contains(.repeatLast) || intents.contains(.areYouABot) { return }
        if intents.contains(.speakEnglish) || intents.contains(.speakSpanish) { return }
        if intents.contains(.greeting) { return notes.append(core(.greeting)) }
        if intents.contains(.thanks) { return notes.append(core(.thanks)) }
        if intents.contains(.question) { return notes.append(core(.noAnswer)) }
        let step = awaitedStep
        state.repairs[step, default: 0] += 1
        notes.append(core(state.repairs[step] == 1 ? .notUnderstood : .notUnderstoodChoices))
    }

    private var awaitedStep: String {
        switch state.awaiting {
        case .answer(let step), .consent(let step), .offer(let step), .call(let step): step
        case .confirmation(let slot, _, _): slot
        case .cancellation, nil: ""
        }
    }

    /// Whether none of the asked slots could take a no for an answer.
    private var asksOpenly: Bool {
        let types = askedSlots.compactMap { flow.slot($0)?.type }
        return !types.isEmpty && !types.contains(.choice) && !types.contains(.boolean)
    }

    private var help: String {
        let id: String? =
            switch flow.steps[awaitedStep]?.kind {
            case .ask(let ask): ask.help
            case .consent(let consent): consent.help
            default: nil
            }
        return id.map(text) ?? core(.why)
    }

    private mutating func skip() {
        let step = awaitedStep
        guard case .ask(let ask) = flow.steps[step]?.kind else { return notes.append(core(.required)) }
        if ask.skippable {
            for slot in missing(ask) { settle(slot, as: .unavailable) }
            return notes.append(core(.skipped))
        }
        if state.refusedSkips.insert(step).inserted {
            notes.append(core(.required))
            if let help = ask.help { notes.append(text(help)) }
        } else {
            state.shown[step] = context.limits.stepShowsMax
        }
    }
}
