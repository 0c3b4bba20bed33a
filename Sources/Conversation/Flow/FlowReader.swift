internal import AurumCore
internal import Crypto

/// Reads one flow file into typed values. Structure and types are judged here; the graph by `FlowChecker`.
struct FlowReader {
    private let sink: FlowProblemSink

    /// The flow in `text`, or nil when it is too broken to check further. Problems go to `sink` either way.
    static func read(_ text: String, sink: FlowProblemSink) -> FlowDefinition? {
        guard let root = FlowDocument.root(of: text, sink: sink) else { return nil }
        return FlowReader(sink: sink).flow(root)
    }

    /// Only the `texts` of a file that holds nothing else.
    static func texts(_ text: String, sink: FlowProblemSink) -> [String: LocalizedText] {
        guard let root = FlowDocument.root(of: text, sink: sink),
            let fields = FlowFields(root, allowed: ["texts"], required: ["texts"], sink: sink)
        else { return [:] }
        return FlowReader(sink: sink).texts(fields["texts"])
    }

    private init(sink: FlowProblemSink) { self.sink = sink }

    private func flow(_ root: FlowNode) -> FlowDefinition? {
        let parts = ["flow", "slots", "steps", "texts"]
        guard let fields = FlowFields(root, allowed: parts, required: parts, sink: sink),
            let head = fields["flow"].flatMap({
                FlowFields(
                    $0, allowed: ["id", "languages", "start"], required: ["id", "languages", "start"], sink: sink)
            }), let id = head.string("id"), let start = head.string("start")
        else { return nil }
        let languages = (head["languages"].map { FlowFields.strings($0, sink) } ?? []).compactMap { name in
            let language = Language(rawValue: name)
            if language == nil { sink.report(.unknownLanguage, head.position, "unknown language \(name)") }
            return language
        }
        let hash = SHA256.hash(data: Array(root.canonical.canonical.utf8))
        return FlowDefinition(
            id: id, hash: Hex.encode(hash), languages: languages, start: start,
            slots: members(fields["slots"]).compactMap(slot),
            steps: Dictionary(
                members(fields["steps"]).compactMap { name, at, node in step(name, at, node).map { (name, $0) } },
                uniquingKeysWith: { first, _ in first }),
            texts: texts(fields["texts"]))
    }

    private func members(_ node: FlowNode?) -> [(String, FlowPosition, FlowNode)] {
        guard let node else { return [] }
        guard case .mapping(let members, _) = node else {
            sink.report(.wrongType, node.position, "a mapping is wanted")
            return []
        }
        return members.map { ($0.key, $0.at, $0.value) }
    }

    private func texts(_ node: FlowNode?) -> [String: LocalizedText] {
        Dictionary(
            members(node).map { name, at, value in (name, localized(value, at)) },
            uniquingKeysWith: { first, _ in first })
    }

    private func localized(_ node: FlowNode, _ at: FlowPosition) -> LocalizedText {
        var words: [Language: String] = [:]
        for (name, position, value) in members(node) {
            guard let language = Language(rawValue: name) else {
                sink.report(.unknownLanguage, position, "unknown language \(name)")
                continue
            }
            words[language] = FlowFields.string(value, sink)
        }
        return LocalizedText(byLanguage: words, position: at)
    }
}

// Slots.
extension FlowReader {
    private static let slotKeys = [
        "type", "label", "required", "values", "min", "max", "unit", "validate", "cues", "ask",
    ]

    private func slot(_ name: String, _ at: FlowPosition, _ node: FlowNode) -> SlotDefinition? {
        guard let fields = FlowFields(node, allowed: Self.slotKeys, required: ["type", "label"], sink: sink) else {
            return nil
        }
        guard let type = fields.string("type").flatMap(SlotType.init(rawValue:)) else {
            if let node = fields["type"] { sink.report(.wrongType, node.position, "unknown slot type") }
            return nil
        }
        if let unit = fields["unit"], fields.string("unit") != "perMonth" {
            sink.report(.wrongType, unit.position, "unit is perMonth or absent")
        }
        let values = members(fields["values"]).compactMap(choice)
        if type == .choice, values.isEmpty { sink.report(.missingKey, at, "a choice wants values") }
        return SlotDefinition(
            name: name, type: type, required: fields.bool("required", default: false),
            label: fields["label"].map { localized($0, at) } ?? LocalizedText(byLanguage: [:], position: at),
            values: values, min: fields.integer("min"), max: fields.integer("max"),
            perMonth: fields.string("unit") == "perMonth", validator: fields.string("validate"),
            cues: fields.strings("cues").map(Sentence.foldedWords), ask: fields.string("ask"), position: at)
    }

    private func choice(_ name: String, _ at: FlowPosition, _ node: FlowNode) -> ChoiceValue? {
        guard
            let fields = FlowFields(
                node, allowed: ["en", "es", "say", "short", "months"], required: ["en", "es"], sink: sink)
        else { return nil }
        var months: (over: Int, through: Int)?
        let bounds = fields.strings("months").map { Int($0) }
        if let node = fields["months"] {
            if bounds.count == 2, let over = bounds[0], let through = bounds[1] {
                months = (over, through)
            } else {
                sink.report(.wrongType, node.position, "months wants [over, through]")
            }
        }
        let label = LocalizedText(
            byLanguage: [.english: fields.string("en") ?? "", .spanish: fields.string("es") ?? ""], position: at)
        let labels = label.byLanguage.values.map(Sentence.foldedWords)
        return ChoiceValue(
            id: name, label: label, phrases: fields.strings("say").map(Sentence.foldedWords),
            shortPhrases: fields.strings("short").map(Sentence.foldedWords) + labels, months: months)
    }
}

// Steps.
extension FlowReader {
    private func step(_ name: String, _ at: FlowPosition, _ node: FlowNode) -> FlowStep? {
        guard case .mapping(let members, _) = node else {
            sink.report(.wrongType, node.position, "a step is a mapping")
            return nil
        }
        let kinds: [(String, (FlowNode) -> FlowStep.Kind?)] = [
            ("say", say), ("ask", ask), ("branch", branch), ("call", call), ("consent", consent), ("offer", offer),
            ("end", end),
        ]
        for (key, read) in kinds where members.contains(where: { $0.key == key }) {
            return read(node).map { FlowStep(id: name, kind: $0, position: at) }
        }
        sink.report(.missingKey, at, "the step is none of \(kinds.map(\.0).joined(separator: ", "))")
        return nil
    }

    private func say(_ node: FlowNode) -> FlowStep.Kind? {
        guard let fields = FlowFields(node, allowed: ["say", "next"], required: ["next"], sink: sink),
            let text = fields.string("say"), let next = fields.string("next")
        else { return nil }
        return .say(text: text, next: next)
    }

    private func ask(_ node: FlowNode) -> FlowStep.Kind? {
        let keys = ["ask", "text", "help", "skippable", "next"]
        guard let fields = FlowFields(node, allowed: keys, required: ["text", "next"], sink: sink),
            let next = fields.string("next")
        else { return nil }
        return .ask(
            AskStep(
                slots: fields.strings("ask"), texts: fields.strings("text"), help: fields.string("help"),
                skippable: fields.bool("skippable", default: false), next: next))
    }

    private func branch(_ node: FlowNode) -> FlowStep.Kind? {
        guard let fields = FlowFields(node, allowed: ["branch", "else"], required: ["else"], sink: sink),
            let otherwise = fields.string("else"), let list = fields["branch"]
        else { return nil }
        guard case .list(let items, _) = list else {
            sink.report(.wrongType, list.position, "branch wants a list of cases")
            return nil
        }
        let cases = items.compactMap { item -> BranchCase? in
            guard let fields = FlowFields(item, allowed: ["if", "to", "gate"], required: ["if", "to"], sink: sink),
                let text = fields.string("if"), let target = fields.string("to")
            else { return nil }
            let position = fields["if"]?.position ?? item.position
            do throws(ConditionError) {
                return BranchCase(
                    condition: try ConditionParser.parse(text), target: target, gate: fields.string("gate"),
                    position: position)
            } catch {
                sink.report(.invalidCondition, position, error.detail)
                return nil
            }
        }
        return .branch(cases: cases, otherwise: otherwise)
    }

    private func call(_ node: FlowNode) -> FlowStep.Kind? {
        let keys = ["call", "with", "onFailure", "next"]
        guard let fields = FlowFields(node, allowed: keys, required: ["next"], sink: sink),
            let function = fields.string("call"), let next = fields.string("next")
        else { return nil }
        return .call(
            CallStep(
                function: function, inputs: fields.strings("with"), onFailure: fields.string("onFailure"), next: next))
    }

    private func consent(_ node: FlowNode) -> FlowStep.Kind? {
        let required = ["text", "agree", "decline", "next", "onDecline"]
        guard
            let fields = FlowFields(
                node, allowed: ["consent", "help", "gate"] + required, required: required, sink: sink),
            let version = fields.string("consent"), let text = fields.string("text"),
            let agree = fields.string("agree"), let decline = fields.string("decline"),
            let next = fields.string("next"), let onDecline = fields.string("onDecline")
        else { return nil }
        return .consent(
            ConsentStep(
                version: version, text: text, help: fields.string("help"), agree: agree, decline: decline, next: next,
                onDecline: onDecline, gate: fields.string("gate")))
    }

    private func offer(_ node: FlowNode) -> FlowStep.Kind? {
        guard let fields = FlowFields(node, allowed: ["offer", "replies"], required: ["replies"], sink: sink),
            let text = fields.string("offer"), let list = fields["replies"]
        else { return nil }
        guard case .list(let items, _) = list, !items.isEmpty else {
            sink.report(.wrongType, list.position, "replies wants a list")
            return nil
        }
        let replies = items.compactMap { item -> OfferReply? in
            let required = ["id", "label", "to"]
            guard let fields = FlowFields(item, allowed: required + ["affirms"], required: required, sink: sink),
                let id = fields.string("id"), let label = fields.string("label"), let target = fields.string("to")
            else { return nil }
            let affirms = fields["affirms"].map { _ in fields.bool("affirms", default: false) }
            return OfferReply(id: id, label: label, target: target, affirms: affirms)
        }
        return .offer(text: text, replies: replies)
    }

    private func end(_ node: FlowNode) -> FlowStep.Kind? {
        guard let fields = FlowFields(node, allowed: ["end", "product", "text"], sink: sink) else { return nil }
        guard let outcome = fields.string("end").flatMap(ConversationOutcome.init(rawValue:)) else {
            if let node = fields["end"] { sink.report(.wrongType, node.position, "unknown outcome") }
            return nil
        }
        return .end(EndStep(outcome: outcome, product: fields.string("product"), text: fields.string("text")))
    }
}
