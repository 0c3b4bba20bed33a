package import AurumCore

/// How far an answer is settled.
package enum SlotStatus: String, Sendable, Codable {
    case proposed, confirmed, declined, unavailable, invalid
}

/// Who or what read an answer.
package enum SlotExtractor: String, Sendable, Codable { case rule, form, human }

/// An answer with its provenance.
package struct SlotState: Sendable, Codable, Equatable {
    package struct Earlier: Sendable, Codable, Equatable {
        package var value: SlotValue?
        package var raw: String
        package var messageID: UID?
        package var at: Timestamp
        /// `correction`, `contradiction`, `restart`.
        package var reason: String
    }

    package var value: SlotValue?
    /// The exact words.
    package var raw: String
    package var status: SlotStatus
    package var messageID: UID?
    /// Unicode scalar offsets in the message, end exclusive.
    package var start: Int
    package var end: Int
    package var extractor: SlotExtractor
    package var version: String
    /// Basis points.
    package var confidence: Int
    package var at: Timestamp
    /// Settled with the first question, or without one.
    package var answeredFirst: Bool
    /// Place in the order in which slots were settled.
    package var order: Int
    package var history: [Earlier]

    package var isSettled: Bool { status == .confirmed || status == .declined || status == .unavailable }

    /// `message id:start-end`, the evidence that a lead carries.
    package var evidence: String? { messageID.map { "\($0.hex):\(start)-\(end)" } }
}

/// What was agreed to or declined, word for word.
package struct ConsentRecord: Sendable, Codable, Equatable {
    package var version: String
    package var text: String
    package var language: Language
    /// The words typed or the label of the button.
    package var control: String
    package var given: Bool
    package var messageID: UID
    package var shownAt: Timestamp
    package var at: Timestamp
}

/// How it ended.
package struct EndRecord: Sendable, Codable, Equatable {
    package var outcome: ConversationOutcome
    package var product: String?
    package var gates: [String]

    package init(outcome: ConversationOutcome, product: String?, gates: [String]) {
        self.outcome = outcome
        self.product = product
        self.gates = gates
    }
}

/// What the bot is waiting for.
package enum Awaiting: Sendable, Codable, Equatable {
    case answer(step: String)
    case consent(step: String)
    case offer(step: String)
    /// A heard value that contradicts a settled one, or that is not certain enough.
    case confirmation(slot: String, candidate: SlotState, contradicts: Bool)
    case cancellation
    case call(step: String)
}

/// Everything a dialogue remembers. A value: the same state and input always give the same next state.
package struct DialogueState: Sendable, Codable, Equatable {
    package struct ShownConsent: Sendable, Codable, Equatable {
        package var text: String
        package var language: Language
        package var at: Timestamp
    }

    package struct CallRecord: Sendable, Codable, Equatable {
        package var inputs: [String: SlotValue]
        /// nil when the function succeeded.
        package var refusal: String?
    }

    package var flowHash: String
    package var language: Language
    package var awaiting: Awaiting?
    package var slots: [String: SlotState] = [:]
    /// What validators and functions found out.
    package var facts: [String: SlotValue] = [:]
    package var calls: [String: CallRecord] = [:]
    package var consents: [String: ConsentRecord] = [:]
    package var shownConsents: [String: ShownConsent] = [:]
    /// Reply chosen at each offer.
    package var offers: [String: String] = [:]
    /// Say steps already said.
    package var said: Set<String> = []
    /// Times a step's question was shown, and a slot asked for.
    package var shown: [String: Int] = [:]
    package var asks: [String: Int] = [:]
    package var repairs: [String: Int] = [:]
    package var refusedSkips: Set<String> = []
    /// Codes of gates closed on the present path.
    package var gates: [String] = []
    package var turns = 0
    package var handOvers = 0
    package var settledCount = 0
    package var ownQuestion = false
    package var done = 0
    package var total = 0
    /// Sequence number of the frame that asked last: what is not seen cannot be agreed to. Set by the driver.
    package var askFrame = 0
    package var ended: EndRecord?

    package init(flowHash: String, language: Language) {
        self.flowHash = flowHash
        self.language = language
    }

    /// The value of a slot when confirmed, or of a fact.
    package func value(_ name: String) -> SlotValue? {
        if let slot = slots[name] { return slot.status == .confirmed ? slot.value : nil }
        return facts[name]
    }
}

/// Something a person sent.
package struct VisitorMessage: Sendable, Equatable {
    package var id: UID
    package var text: String
    package var quickReply: String?
    package var at: Timestamp
    /// Sequence number of the last frame that had been sent when this arrived.
    package var seenFrame: Int

    package init(id: UID, text: String, quickReply: String? = nil, at: Timestamp, seenFrame: Int) {
        self.id = id
        self.text = text
        self.quickReply = quickReply
        self.at = at
        self.seenFrame = seenFrame
    }
}

/// What moves a dialogue on.
package enum DialogueInput: Sendable, Equatable {
    case opened
    /// Messages that arrived together are answered together.
    case messages([VisitorMessage])
    case functionResult(step: String, FunctionResult)
    /// The bot owns the conversation again.
    case returned
}

package struct QuickReply: Sendable, Equatable, Codable {
    package var id: String
    package var label: String
}

/// What the bot says.
package struct BotMessage: Sendable, Equatable {
    package var text: String
    package var quickReplies: [QuickReply]
    package var slotAsked: String?
    /// Whether the text holds the disclosure.
    package var discloses: Bool
}

/// What the driver has to do, in order.
package enum DialogueAction: Sendable, Equatable {
    case say(BotMessage)
    case show(ResultCard)
    case progress(done: Int, total: Int)
    case call(FunctionCall)
    /// A slot changed: store the revision.
    case slot(name: String, SlotState, reason: String)
    case consent(ConsentRecord)
    case handOver(reason: String)
    case end(EndRecord)
}
