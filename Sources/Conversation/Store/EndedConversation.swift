package import AurumCore
internal import Database

/// A conversation at its end, with everything a vertical needs to make a lead of it.
package struct EndedConversation: Sendable {
    package let org: String
    package let id: UID
    package let visitorID: String
    package let traceID: UID
    package let flowID: String
    package let language: Language
    package let end: EndRecord
    package let slots: [String: SlotState]
    package let facts: [String: SlotValue]
    package let consents: [ConsentRecord]
    package let source: ConversationSource
    package let ownQuestion: Bool
    /// Required slots that the first question settled.
    package let firstTimeAnswers: Int
    package let startedAt: Timestamp
    package let endedAt: Timestamp
    /// Shown texts, inputs redacted by type, disclosure and consent, in order: what a consent certificate chains.
    package let evidence: [JSONValue]

    /// The confirmed value of a slot, or a fact.
    package func value(_ name: String) -> SlotValue? {
        if let slot = slots[name] { return slot.status == .confirmed ? slot.value : nil }
        return facts[name]
    }
}

extension EndedConversation {
    /// Lines of evidence that a certificate takes.
    private static let evidenceMax = 500

    /// The conversation as it stands in `tx`, its last turn written.
    init(_ record: ConversationRecord, end: EndRecord, flow: FlowDefinition, core: CoreTexts, _ tx: Transaction) throws
    {
        let state = record.state
        org = record.org
        id = record.id
        visitorID = record.visitorID
        traceID = record.traceID
        flowID = record.flowID
        language = state.language
        self.end = end
        slots = state.slots
        facts = state.facts
        consents = state.consents.sorted { $0.value.at < $1.value.at }.map(\.value)
        source = record.source
        ownQuestion = state.ownQuestion
        firstTimeAnswers = flow.slots.count { slot in
            slot.required && state.slots[slot.name].map { $0.status == .confirmed && $0.answeredFirst } == true
        }
        startedAt = record.createdAt
        endedAt = record.endedAt ?? record.createdAt
        let rows = try ConversationStore.transcript(org: record.org, id: record.id, tx)
        evidence = Self.evidence(rows, record, flow, core)
    }

    private static func evidence(
        _ rows: [TranscriptRow], _ record: ConversationRecord, _ flow: FlowDefinition, _ core: CoreTexts
    ) -> [JSONValue] {
        var filled: [UID: [JSONValue]] = [:]
        var secrets: [(String, String)] = []
        for (name, slot) in record.state.slots.sorted(by: { $0.key < $1.key }) {
            if let id = slot.messageID { filled[id, default: []].append(.string(name)) }
            guard let value = slot.value, value.type.isPersonal else { continue }
            for language in Language.allCases {
                let shown = ValueFormat(flow: flow, core: core, language: language).text(value, slot: name)
                secrets.append((shown, "<\(value.type.rawValue)>"))
            }
            if !slot.raw.isEmpty { secrets.append((slot.raw, "<\(value.type.rawValue)>")) }
        }
        secrets.sort { $0.0.count > $1.0.count }
        var lines = rows.map { row -> JSONValue in
            let id = JSONValue.string(row.id.hex)
            let at = JSONValue.string(row.at.rfc3339)
            if row.role == "visitor" {
                return [
                    "kind": "input", "at": at, "message": id, "characters": .integer(Int64(row.text.exposed.count)),
                    "slots": .array(filled[row.id] ?? []),
                ]
            }
            let text = secrets.reduce(row.text.exposed) { $0.replacing($1.0, with: $1.1) }
            return ["kind": row.sequence == 1 ? "disclosure" : "shown", "at": at, "message": id, "text": .string(text)]
        }
        for consent in record.state.consents.values.sorted(by: { $0.at < $1.at }) {
            lines.append([
                "kind": "consent", "at": .string(consent.at.rfc3339), "message": .string(consent.messageID.hex),
                "version": .string(consent.version), "language": .string(consent.language.rawValue),
                "given": .bool(consent.given), "control": .string(consent.control), "text": .string(consent.text),
            ])
        }
        return Array(lines.suffix(evidenceMax))
    }
}
