internal import AurumCore

/// Judges a whole flow: names, reachability, cycles, types, texts. What a compiler would catch is caught here.
struct FlowChecker {
    static let stepsMax = 200
    static let slotsMax = 100
    static let textCharactersMax = 600
    static let quickRepliesMax = 8
    static let quickReplyCharactersMax = 24
    /// Placeholders that every text may use.
    static let builtInPlaceholders: Set<String> = ["disclosure", "operator"]

    let flow: FlowDefinition
    let functions: FlowFunctions
    let sink: FlowProblemSink

    static func check(_ flow: FlowDefinition, functions: FlowFunctions, sink: FlowProblemSink) {
        let checker = FlowChecker(flow: flow, functions: functions, sink: sink)
        checker.checkSizes()
        checker.checkSlots()
        checker.checkTexts()
        for step in checker.orderedSteps { checker.checkNames(step) }
        checker.checkDisclosure()
        checker.checkGraph()
        checker.checkDataflow()
    }

    /// Steps in the order of the file.
    var orderedSteps: [FlowStep] {
        flow.steps.values.sorted { ($0.position.line, $0.position.column) < ($1.position.line, $1.position.column) }
    }

    private var top: FlowPosition { FlowPosition(line: 1, column: 1) }

    private func checkSizes() {
        if flow.steps.count > Self.stepsMax { sink.report(.tooManySteps, top, "\(flow.steps.count) steps") }
        if flow.slots.count > Self.slotsMax { sink.report(.tooManySlots, top, "\(flow.slots.count) slots") }
    }

    private func checkSlots() {
        for slot in flow.slots {
            translated(slot.label, "label of \(slot.name)")
            if let ask = slot.ask { known(text: ask, slot.position) }
            for value in slot.values { translated(value.label, "label of \(slot.name).\(value.id)") }
            if slot.values.count > Self.quickRepliesMax {
                sink.report(.tooManyQuickReplies, slot.position, "\(slot.values.count) values of \(slot.name)")
            }
            for value in slot.values {
                for label in value.label.byLanguage.values where label.count > Self.quickReplyCharactersMax {
                    sink.report(.quickReplyTooLong, value.label.position, label)
                }
            }
            guard let name = slot.validator else { continue }
            guard let validator = functions.validators[name] else {
                sink.report(.unknownFunction, slot.position, "unknown validator \(name)")
                continue
            }
            if validator.type != slot.type {
                sink.report(.typeMismatch, slot.position, "\(name) checks \(validator.type)")
            }
        }
    }

    private func checkTexts() {
        for (name, text) in flow.texts.sorted(by: { $0.key < $1.key }) {
            translated(text, name)
            for words in text.byLanguage.values where words.count > Self.textCharactersMax {
                if consentTexts.contains(name) { continue }
                sink.report(.textTooLong, text.position, "\(name) has \(words.count) characters")
            }
        }
    }

    /// Consent wording is as long as the law makes it.
    private var consentTexts: Set<String> {
        Set(
            flow.steps.values.compactMap { step in
                if case .consent(let consent) = step.kind { consent.text } else { nil }
            })
    }

    private func translated(_ text: LocalizedText, _ what: String) {
        for language in flow.languages where (text[language] ?? "").isEmpty {
            sink.report(.missingTranslation, text.position, "\(what) has no \(language.rawValue)")
        }
    }

    private func known(text: String, _ position: FlowPosition) {
        if flow.texts[text] == nil { sink.report(.unknownText, position, "unknown text \(text)") }
    }

    /// Names and types inside one step.
    private func checkNames(_ step: FlowStep) {
        for target in step.targets where flow.steps[target] == nil {
            sink.report(.unknownStep, step.position, "unknown step \(target)")
        }
        for text in step.texts { known(text: text, step.position) }
        switch step.kind {
        case .say, .end, .consent: break
        case .ask(let ask): checkAsk(ask, step.position)
        case .branch(let cases, _): for one in cases { check(one) }
        case .call(let call): check(call, step.position)
        case .offer(_, let replies):
            if replies.count > Self.quickRepliesMax {
                sink.report(.tooManyQuickReplies, step.position, "\(replies.count) replies")
            }
        }
        for label in step.buttonTexts {
            for words in flow.texts[label]?.byLanguage.values ?? [:].values
            where words.count > Self.quickReplyCharactersMax {
                sink.report(.quickReplyTooLong, step.position, words)
            }
        }
    }

    private func checkAsk(_ ask: AskStep, _ position: FlowPosition) {
        if ask.slots.isEmpty || ask.texts.isEmpty { sink.report(.missingKey, position, "ask wants slots and texts") }
        for name in ask.slots {
            guard let slot = flow.slot(name) else {
                sink.report(.unknownSlot, position, "unknown slot \(name)")
                continue
            }
            if ask.slots.count > 1, slot.ask == nil {
                sink.report(.missingKey, slot.position, "\(name) is asked in a group and wants its own ask text")
            }
        }
    }

    private func check(_ one: BranchCase) {
        for name in one.condition.mentioned where type(of: name) == nil {
            sink.report(.unknownSlot, one.position, "unknown slot \(name)")
        }
        for use in one.condition.comparisons() {
            guard let type = type(of: use.name) else {
                sink.report(.unknownSlot, one.position, "unknown slot \(use.name)")
                continue
            }
            for literal in use.literals where !fits(literal, type, use.name, ordered: use.ordered) {
                sink.report(.typeMismatch, one.position, "\(use.name) is \(type.rawValue)")
            }
        }
    }

    private func fits(_ literal: Condition.Literal, _ type: SlotType, _ name: String, ordered: Bool) -> Bool {
        switch (type, literal) {
        case (.money, .integer), (.integer, .integer): true
        case (.boolean, .boolean): !ordered
        case (.choice, .string(let value)): !ordered && (flow.slot(name)?.value(value) != nil || flow.slot(name) == nil)
        case (.text, .string), (.postalCode, .string): !ordered
        default: false
        }
    }

    private func check(_ call: CallStep, _ position: FlowPosition) {
        guard let function = functions.functions[call.function] else {
            sink.report(.unknownFunction, position, "unknown function \(call.function)")
            return
        }
        for name in call.inputs {
            guard let type = type(of: name) else {
                sink.report(.unknownSlot, position, "unknown slot \(name)")
                continue
            }
            if let wanted = function.inputs[name] ?? function.optionalInputs[name] {
                if wanted != type { sink.report(.typeMismatch, position, "\(name) is \(type.rawValue)") }
            } else {
                sink.report(.typeMismatch, position, "\(call.function) takes no \(name)")
            }
        }
        for name in function.inputs.keys.sorted() where !call.inputs.contains(name) {
            sink.report(.missingKey, position, "\(call.function) wants \(name)")
        }
    }

    /// The type of a slot, or of a fact that a validator or a function used here sets.
    func type(of name: String) -> SlotType? {
        if let slot = flow.slot(name) { return slot.type }
        for slot in flow.slots {
            if let validator = slot.validator, let type = functions.validators[validator]?.facts[name] { return type }
        }
        for step in flow.steps.values {
            if case .call(let call) = step.kind, let type = functions.functions[call.function]?.outputs[name] {
                return type
            }
        }
        return nil
    }

    /// The first thing said must be the disclosure.
    private func checkDisclosure() {
        guard let start = flow.steps[flow.start] else {
            sink.report(.unknownStep, top, "unknown start step \(flow.start)")
            return
        }
        guard case .say(let text, _) = start.kind else {
            sink.report(.noDisclosure, start.position, "the first step must say the disclosure")
            return
        }
        for language in flow.languages where flow.texts[text]?[language]?.contains("{disclosure}") == false {
            sink.report(.noDisclosure, flow.texts[text]?.position ?? start.position, "\(text) lacks {disclosure}")
        }
    }
}

extension FlowStep {
    /// Every step that may follow.
    var targets: [String] {
        switch kind {
        case .say(_, let next): [next]
        case .ask(let ask): [ask.next]
        case .branch(let cases, let otherwise): cases.map(\.target) + [otherwise]
        case .call(let call): [call.next] + (call.onFailure.map { [$0] } ?? [])
        case .consent(let consent): [consent.next, consent.onDecline]
        case .offer(_, let replies): replies.map(\.target)
        case .end: []
        }
    }

    /// Every text the step shows.
    var texts: [String] {
        switch kind {
        case .say(let text, _): [text]
        case .ask(let ask): ask.texts + (ask.help.map { [$0] } ?? [])
        case .branch, .call: []
        case .consent(let consent):
            [consent.text, consent.agree, consent.decline] + (consent.help.map { [$0] } ?? [])
        case .offer(let text, let replies): [text] + replies.map(\.label)
        case .end(let end): end.text.map { [$0] } ?? []
        }
    }

    /// Texts shown on buttons.
    var buttonTexts: [String] {
        switch kind {
        case .consent(let consent): [consent.agree, consent.decline]
        case .offer(_, let replies): replies.map(\.label)
        case .say, .ask, .branch, .call, .end: []
        }
    }

    /// Whether the step waits for the person.
    var waits: Bool {
        switch kind {
        case .ask, .consent, .offer: true
        case .say, .branch, .call, .end: false
        }
    }
}
