/// A conversation as data: what is asked, in which order, in which words. Loaded from YAML by `FlowCatalogue`.
///
/// Immutable. A stored conversation names its flow by `hash`, so a running one never changes under a new version.
package struct FlowDefinition: Sendable {
    package let id: String
    /// SHA-256 of the canonical form, in hex.
    package let hash: String
    package let languages: [Language]
    /// The first step: a `say` that renders `{disclosure}`.
    package let start: String
    /// In the order of the file.
    package let slots: [SlotDefinition]
    package let steps: [String: FlowStep]
    package let texts: [String: LocalizedText]

    private let slotIndex: [String: Int]

    init(
        id: String, hash: String, languages: [Language], start: String, slots: [SlotDefinition],
        steps: [String: FlowStep], texts: [String: LocalizedText]
    ) {
        self.id = id
        self.hash = hash
        self.languages = languages
        self.start = start
        self.slots = slots
        self.steps = steps
        self.texts = texts
        slotIndex = Dictionary(slots.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    package func slot(_ name: String) -> SlotDefinition? { slotIndex[name].map { slots[$0] } }

    /// The text `id` in `language`; the checker has proved that it exists.
    package func text(_ id: String, _ language: Language) -> String {
        texts[id]?[language] ?? texts[id]?[.english] ?? ""
    }
}

/// Words in every language of a flow.
package struct LocalizedText: Sendable, Hashable {
    package var byLanguage: [Language: String]
    let position: FlowPosition

    package subscript(language: Language) -> String? { byLanguage[language] }
}

/// Line and column in a flow file, both from 1.
package struct FlowPosition: Sendable, Hashable {
    package var line: Int
    package var column: Int
}

/// One thing the flow wants to know.
package struct SlotDefinition: Sendable {
    package let name: String
    package let type: SlotType
    /// Counts for progress, and is not given up after a "rather not say".
    package let required: Bool
    /// How the slot is called when an answer is repeated back.
    package let label: LocalizedText
    package let values: [ChoiceValue]
    /// Inclusive bounds: whole currency units for money.
    package let min: Int64?
    package let max: Int64?
    /// Money is a monthly amount; a stated yearly one is divided by twelve.
    package let perMonth: Bool
    /// Name of a registered validator.
    package let validator: String?
    /// Words near a bare value that give it to this slot, folded to lower case without accents.
    package let cues: [[String]]
    /// Text that asks for this slot alone, used when only part of a group is missing.
    package let ask: String?
    let position: FlowPosition

    package func value(_ id: String) -> ChoiceValue? { values.first { $0.id == id } }
}

/// One answer of a choice.
package struct ChoiceValue: Sendable {
    package let id: String
    /// Button and echo.
    package let label: LocalizedText
    /// Phrases that mean this value wherever they occur, split into folded words.
    let phrases: [[String]]
    /// Phrases that mean it only while the slot is being asked.
    let shortPhrases: [[String]]
    /// Spans of time in months (exclusive start, inclusive end) that mean this value.
    let months: (over: Int, through: Int)?
}

/// A step with the place where it is written.
package struct FlowStep: Sendable {
    package let id: String
    package let kind: Kind
    let position: FlowPosition

    package enum Kind: Sendable {
        case say(text: String, next: String)
        case ask(AskStep)
        case branch(cases: [BranchCase], otherwise: String)
        case call(CallStep)
        case consent(ConsentStep)
        case offer(text: String, replies: [OfferReply])
        case end(EndStep)
    }
}

package struct AskStep: Sendable {
    package let slots: [String]
    /// Phrasings in the order in which they are used.
    package let texts: [String]
    /// Why this is asked.
    package let help: String?
    package let skippable: Bool
    package let next: String
}

package struct BranchCase: Sendable {
    package let condition: Condition
    package let target: String
    /// Code of the gate that this case closes, for example `renter`.
    package let gate: String?
    let position: FlowPosition
}

package struct CallStep: Sendable {
    package let function: String
    package let inputs: [String]
    package let onFailure: String?
    package let next: String
}

package struct ConsentStep: Sendable {
    /// Version of the wording, stored with the answer.
    package let version: String
    package let text: String
    package let help: String?
    package let agree: String
    package let decline: String
    package let next: String
    package let onDecline: String
    /// Code of the gate that declining closes.
    package let gate: String?
}

package struct OfferReply: Sendable {
    package let id: String
    package let label: String
    package let target: String
    /// Whether a plain yes or no chooses this reply.
    package let affirms: Bool?
}

package struct EndStep: Sendable {
    package let outcome: ConversationOutcome
    /// What the vertical makes of it, for example `rooftop`; opaque here.
    package let product: String?
    package let text: String?
}

/// How a conversation ended.
package enum ConversationOutcome: String, Sendable, Codable, CaseIterable {
    case qualified, disqualified, declined, abandoned
}
