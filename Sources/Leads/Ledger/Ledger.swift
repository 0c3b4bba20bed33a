package import AurumCore
package import Database
package import Telemetry

/// Writes the book. Every entry is balanced, no leg is booked twice, and the sum over all accounts of a currency is
/// checked to be zero before the transaction may commit.
package struct Ledger: Sendable {
    private let registry: MetricRegistry

    package init(registry: MetricRegistry) { self.registry = registry }

    /// Appends entries about one leg.
    func post(_ entries: [JournalEntry], leg: LegRow, in tx: Transaction) throws {
        let journal = LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx)
        for entry in entries {
            guard entry.sum == 0 else { throw LedgerError.unbalanced }
            let id = UID(now: tx.now)
            let written = try tx.run(
                """
                INSERT INTO ledger_entries (org, id, leg_id, kind, currency, at, created_at)
                VALUES (\(leg.org), \(id), \(entry.leg), \(entry.kind.rawValue), \(entry.currency),
                    \(entry.at), \(tx.now))
                ON CONFLICT (org, leg_id, kind) DO NOTHING
                """)
            guard written == 1 else { throw LedgerError.alreadyPosted(entry.kind) }
            for (index, line) in entry.lines.enumerated() {
                try append(line, index: index, entry: id, currency: entry.currency, org: leg.org, in: tx)
            }
            let facts: [String: JSONValue] = [
                "entry": .string(id.hex), "leg": .string(leg.id.hex), "kind": .string(entry.kind.rawValue),
                "buyer": .string(leg.buyer), "amount_minor": .integer(entry.amountMinor),
                "currency": .string(entry.currency.code),
            ]
            try journal.note(.ledger, leg: leg.id, to: entry.kind.rawValue, detail: facts)
            try journal.emit("ledger.posted", facts, at: entry.at)
            registry.counter(.ledgerEntries, entry.kind.rawValue).increment()
        }
        try checkSum(org: leg.org, currency: leg.currency, in: tx)
    }

    private func append(
        _ line: JournalEntry.Line, index: Int, entry: UID, currency: Currency, org: String, in tx: Transaction
    ) throws {
        try tx.run(
            """
            INSERT INTO ledger_lines (org, entry_id, line, account, debit_minor, credit_minor, created_at)
            VALUES (\(org), \(entry), \(index), \(line.account), \(line.debitMinor), \(line.creditMinor), \(tx.now))
            """)
        try tx.run(
            """
            INSERT INTO ledger_balances (org, account, currency, balance_minor, created_at)
            VALUES (\(org), \(line.account), \(currency), \(line.debitMinor - line.creditMinor), \(tx.now))
            ON CONFLICT (org, account, currency) DO UPDATE
            SET balance_minor = ledger_balances.balance_minor + excluded.balance_minor
            """)
    }

    private func checkSum(org: String, currency: Currency, in tx: Transaction) throws {
        let sum = try tx.value(
            Int64.self,
            "SELECT SUM(balance_minor) FROM ledger_balances WHERE org = \(org) AND currency = \(currency)")
        guard sum ?? 0 == 0 else { throw LedgerError.unbalanced }
    }

    /// Recognises a leg whose return window has passed; effective at the exact end of the window.
    func recognise(_ leg: LegRow, in tx: Transaction) throws {
        guard let at = leg.recogniseAt else { throw LedgerError.unknownLeg }
        try LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx).move(.recognise, leg: leg.id)
        try post(try LedgerRules.recognised(leg.amounts, at: at), leg: leg, in: tx)
    }

    /// Takes a sold leg back: within the window what was deferred is reversed, after it revenue is clawed back.
    /// When it was the last sold leg, the lead is `returned`. The event `delivery.returned` tells attribution.
    /// - Throws: `LedgerError.unknownLeg`, `notReturnable` with the leg's state.
    package func returnLeg(org: String, leg id: UID, reason: String, in tx: Transaction) throws {
        guard var leg = try LegRow.find(org, id, in: tx) else { throw LedgerError.unknownLeg }
        let now = tx.now
        if leg.state == .accepted, let end = leg.recogniseAt, end <= now {
            try recognise(leg, in: tx)
            leg = try LegRow.find(org, id, in: tx) ?? leg
        }
        let journal = LeadJournal(org: org, lead: leg.lead, traceID: leg.traceID, in: tx)
        let facts: [String: JSONValue] = [
            "leg": .string(id.hex), "buyer": .string(leg.buyer), "reason": .string(reason),
            "price_minor": .integer(leg.priceMinor), "currency": .string(leg.currency.code),
        ]
        switch leg.state {
        case .accepted:
            try journal.move(.requestReturn, leg: id, detail: facts)
            try journal.move(.approveReturn, leg: id)
        case .recognised: try journal.move(.clawBack, leg: id, detail: facts)
        case .reserved, .posting, .rejected, .unknown, .expired, .returnRequested, .returned, .returnDenied,
            .clawedBack:
            throw LedgerError.notReturnable(leg.state)
        }
        let entries = try LedgerRules.givenBack(leg.amounts, recognised: leg.state == .recognised, at: now)
        try post(entries, leg: leg, in: tx)
        try journal.emit("delivery.returned", facts)
        try closeLead(leg, journal)
    }

    private func closeLead(_ leg: LegRow, _ journal: LeadJournal) throws {
        let states = try journal.tx.values(
            String.self, "SELECT state FROM legs WHERE org = \(leg.org) AND lead_id = \(leg.lead)")
        if states.contains(where: { LegState(rawValue: $0)?.isSold ?? false }) { return }
        let state = try journal.tx.value(
            String.self, "SELECT state FROM leads WHERE org = \(leg.org) AND id = \(leg.lead)")
        if state == LeadState.sold.rawValue { try journal.move(.takeBack) }
    }
}
