internal import AurumCore
internal import Database

/// What a history row is about.
enum HistoryKind: String { case lead, leg, score, consent, bid, ledger }

/// Writes state changes of leads and legs: the row, its history and its event in one transaction.
struct LeadJournal {
    let org: String
    let lead: UID
    let traceID: UID
    let tx: Transaction

    init(org: String, lead: UID, traceID: UID, in tx: Transaction) {
        self.org = org
        self.lead = lead
        self.traceID = traceID
        self.tx = tx
    }

    /// Moves the lead; the event is `lead.<state>`.
    /// - Throws: `MarketError.stateChanged` when the lead is not where the step starts.
    func move(_ step: LeadTransition, detail: [String: JSONValue] = [:]) throws {
        let changed = try tx.run(
            """
            UPDATE leads SET from_state = \(step.from.rawValue), state = \(step.to.rawValue), updated_at = \(tx.now)
            WHERE org = \(org) AND id = \(lead) AND state = \(step.from.rawValue)
            """)
        guard changed == 1 else { throw MarketError.stateChanged }
        try note(.lead, from: step.from.rawValue, to: step.to.rawValue, detail: detail)
        try emit("lead.\(step.to.rawValue)", detail)
    }

    /// Moves a leg of the lead.
    /// - Throws: `MarketError.stateChanged` when the leg is not where the step starts.
    func move(_ step: LegTransition, leg: UID, detail: [String: JSONValue] = [:]) throws {
        let changed = try tx.run(
            """
            UPDATE legs SET from_state = \(step.from.rawValue), state = \(step.to.rawValue), updated_at = \(tx.now)
            WHERE org = \(org) AND id = \(leg) AND state = \(step.from.rawValue)
            """)
        guard changed == 1 else { throw MarketError.stateChanged }
        try note(.leg, leg: leg, from: step.from.rawValue, to: step.to.rawValue, detail: detail)
    }

    func note(
        _ kind: HistoryKind, leg: UID? = nil, from: String = "", to: String, detail: [String: JSONValue] = [:]
    ) throws {
        try tx.run(
            """
            INSERT INTO lead_history (org, lead_id, leg_id, kind, from_state, to_state, detail, created_at)
            VALUES (\(org), \(lead), \(leg), \(kind.rawValue), \(from), \(to), \(JSONValue.object(detail)), \(tx.now))
            """)
    }

    /// An event about the lead. `props` must not hold personal data; `anonymous_id` is the id that a site gave its
    /// visitor.
    func emit(_ name: String, _ props: [String: JSONValue] = [:], at: Timestamp? = nil) throws {
        var props = props
        props["lead"] = .string(lead.hex)
        try tx.emit(
            OutboxEvent(
                id: UID(now: tx.now), org: org, key: lead.hex, name: name, traceID: traceID, at: at ?? tx.now,
                props: .object(props)))
    }
}
