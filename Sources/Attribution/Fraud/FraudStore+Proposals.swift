package import AurumCore
package import Database

/// Something that the figures of a publisher ask for, until a person has decided.
package struct FraudProposal: Sendable, Equatable {
    package enum Action: String, Sendable, CaseIterable { case suspend, deny }
    package enum State: String, Sendable, CaseIterable { case open, confirmed, dismissed, undone, withdrawn }
    package enum Decision: String, Sendable, CaseIterable { case confirm, dismiss, undo }

    package var id: UID
    package var app: String
    package var network: String
    package var publisher: String
    package var action: Action
    package var installs: Int
    package var rejected: Int
    package var from: Timestamp
    package var to: Timestamp
    package var state: State
    package var actor: String?
    package var decidedAt: Timestamp?
    /// The entry of the lists that a confirmation made.
    package var entry: UID?
    package var createdAt: Timestamp

    package var json: JSONValue {
        [
            "id": .string(id.hex), "app": .string(app), "network": .string(network), "publisher": .string(publisher),
            "action": .string(action.rawValue), "installs": .integer(Int64(installs)),
            "rejected": .integer(Int64(rejected)),
            "share": .number(installs == 0 ? 0 : Double(rejected) / Double(installs)),
            "from": .string(from.rfc3339), "to": .string(to.rfc3339), "state": .string(state.rawValue),
            "actor": actor.map { .string($0) } ?? .null, "decided_at": decidedAt.map { .string($0.rfc3339) } ?? .null,
            "entry": entry.map { .string($0.hex) } ?? .null, "created_at": .string(createdAt.rfc3339),
        ]
    }
}

extension FraudStore {
    /// After a proposal was dismissed or undone, the same is not proposed again for so long.
    static let quietDays = 30

    /// Makes proposals of what the figures ask for, and withdraws open ones that they no longer do.
    func propose(
        _ shares: [FraudShare], org: String, app: String, from: Timestamp, to: Timestamp
    ) async throws -> (made: Int, withdrawn: Int) {
        let wanted = Array(shares.filter { $0.grade == .suspend || $0.grade == .deny }.prefix(Self.publishersMax))
        return try await database.write("fraud.propose") { transaction in
            let recent = try transaction.all(
                FraudProposal.self,
                """
                SELECT id, app, network, publisher, action, installs, rejected, from_at, to_at, state, actor,
                    decided_at, entry, created_at
                FROM fraud_proposals
                WHERE org = \(org) AND app = \(app) AND (state IN ('open', 'confirmed')
                    OR (state IN ('dismissed', 'undone') AND decided_at > \(to - FraudDesk.span(days: Self.quietDays))))
                """)
            let known = Dictionary(grouping: recent) { FraudSource(network: $0.network, publisher: $0.publisher) }
            let listed = Set(try Self.entries(org, in: transaction).map(\.id))
            var (made, withdrawn) = (0, 0)
            var open: [FraudSource: FraudProposal] = [:]
            for proposal in recent where proposal.state == .open {
                open[FraudSource(network: proposal.network, publisher: proposal.publisher)] = proposal
            }
            for share in wanted {
                let action: FraudProposal.Action = share.grade == .deny ? .deny : .suspend
                if let before = open.removeValue(forKey: share.source) {
                    guard before.action != action else { continue }
                    try Self.withdraw(before.id, org, in: transaction)
                    withdrawn += 1
                }
                // What was confirmed still holds as long as its entry is on the list.
                let isSettled = (known[share.source] ?? []).contains { proposal in
                    guard proposal.action == action || proposal.action == .deny else { return false }
                    if proposal.state == .confirmed { return proposal.entry.map { listed.contains($0) } ?? true }
                    return proposal.state == .dismissed || proposal.state == .undone
                }
                guard !isSettled else { continue }
                let now = transaction.now
                try transaction.run(
                    """
                    INSERT INTO fraud_proposals
                        (org, id, app, network, publisher, action, installs, rejected, from_at, to_at, state, actor,
                         decided_at, entry, created_at)
                    VALUES (\(org), \(UID(now: now)), \(app), \(share.source.network), \(share.source.publisher),
                            \(action.rawValue), \(share.installs), \(share.rejected), \(from), \(to), 'open', NULL,
                            NULL, NULL, \(now))
                    """)
                made += 1
            }
            for proposal in open.values {
                try Self.withdraw(proposal.id, org, in: transaction)
                withdrawn += 1
            }
            return (made, withdrawn)
        }
    }

    private static func withdraw(_ id: UID, _ org: String, in transaction: Transaction) throws {
        try transaction.run(
            """
            UPDATE fraud_proposals SET state = 'withdrawn', decided_at = \(transaction.now)
            WHERE org = \(org) AND id = \(id) AND state = 'open'
            """)
    }

    func proposals(org: String, state: FraudProposal.State?, limit: Int) async throws -> [FraudProposal] {
        let (wanted, all) = (state?.rawValue ?? "", state == nil ? 1 : 0)
        return try await database.read("fraud.proposals") { transaction in
            try transaction.all(
                FraudProposal.self,
                """
                SELECT id, app, network, publisher, action, installs, rejected, from_at, to_at, state, actor,
                    decided_at, entry, created_at
                FROM fraud_proposals WHERE org = \(org) AND (state = \(wanted) OR \(all) = 1)
                ORDER BY created_at DESC, id DESC LIMIT \(limit)
                """)
        }
    }

    /// Keeps what a person decided, with the entry on the lists that follows from it.
    /// - Throws: `FraudError`; database errors.
    func decide(
        _ id: UID, _ decision: FraudProposal.Decision, org: String, actor: String
    ) async throws -> FraudProposal {
        try await database.write("fraud.decide") { transaction in
            guard var proposal = try Self.proposal(id, org, in: transaction) else { throw FraudError.unknownProposal }
            switch (decision, proposal.state) {
            case (.confirm, .open):
                let wish = FraudEntryWish(
                    list: proposal.action == .deny ? .deny : .suspend, kind: .publisher, value: proposal.publisher,
                    network: proposal.network, note: "proposal \(id.hex)")
                let added = try Self.add(wish, org: org, actor: actor, in: transaction)
                // An entry that was there before is not this decision's to undo.
                proposal.entry = added.isNew ? added.entry.id : nil
                proposal.state = .confirmed
            case (.dismiss, .open): proposal.state = .dismissed
            case (.undo, .confirmed):
                if let entry = proposal.entry { _ = try Self.remove(entry, org: org, actor: actor, in: transaction) }
                proposal.state = .undone
            case (.undo, .dismissed): proposal.state = .undone
            default: throw FraudError.decided(proposal.state.rawValue)
            }
            (proposal.actor, proposal.decidedAt) = (actor, transaction.now)
            try transaction.run(
                """
                UPDATE fraud_proposals
                SET state = \(proposal.state.rawValue), actor = \(actor), decided_at = \(transaction.now),
                    entry = \(proposal.entry)
                WHERE org = \(org) AND id = \(id)
                """)
            try Self.audit(
                org, actor, "proposal.\(decision.rawValue)",
                [
                    "id": .string(id.hex), "network": .string(proposal.network),
                    "publisher": .string(proposal.publisher), "action": .string(proposal.action.rawValue),
                ], in: transaction)
            return proposal
        }
    }

    private static func proposal(_ id: UID, _ org: String, in transaction: Transaction) throws -> FraudProposal? {
        try transaction.one(
            FraudProposal.self,
            """
            SELECT id, app, network, publisher, action, installs, rejected, from_at, to_at, state, actor, decided_at,
                entry, created_at
            FROM fraud_proposals WHERE org = \(org) AND id = \(id)
            """)
    }
}

extension FraudProposal: RowDecodable {
    package init(row: Row) throws {
        guard let action = Action(rawValue: try row.get("action")) else { throw UnknownFraudWord(column: "action") }
        guard let state = State(rawValue: try row.get("state")) else { throw UnknownFraudWord(column: "state") }
        self.init(
            id: try row.get("id"), app: try row.get("app"), network: try row.get("network"),
            publisher: try row.get("publisher"), action: action, installs: try row.get("installs"),
            rejected: try row.get("rejected"), from: try row.get("from_at"), to: try row.get("to_at"), state: state,
            actor: try row.optional("actor"), decidedAt: try row.optional("decided_at"),
            entry: try row.optional("entry"), createdAt: try row.get("created_at"))
    }
}
