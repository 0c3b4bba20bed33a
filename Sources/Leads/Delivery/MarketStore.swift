internal import AurumCore
internal import Database
internal import Foundation
internal import Runtime
internal import Telemetry

/// A lead of an organisation.
struct LeadRef: Sendable, Hashable {
    let org: String
    let id: UID
}

/// One routing round of one lead: what was known when it began and what has been decided since.
struct Round: Sendable {
    let ref: LeadRef
    let lead: LeadRow
    let accounts: [String: BuyerAccount]
    let cover: CertificateCover?
    /// Legs that an earlier run of the program reserved but never posted.
    let leftovers: [LegRow]
    let number: Int
    var decision: Decision
    /// Bids that no transaction has recorded yet.
    var newBids: [Candidate] = []
    var tokens: [String: String] = [:]
    /// Nobody is left to ask.
    var isExhausted = false
}

/// The marketplace's transactions. Each is whole: a leg, its caps, its ledger entries, its history and its events
/// change together or not at all.
struct MarketStore: Sendable {
    let database: Database
    let policies: ScorePolicies
    let clock: any WallClock
    let ledger: Ledger
    let jobs: LeadJobs
    /// An answer that stays unknown for so long is given up.
    let unknownHold: Duration
    let cache = BuyerCache()

    /// What became of each buyer's legs in the last 30 days.
    func records(org: String) async throws -> [String: BuyerRecord] {
        let now = clock.now
        let since = now - .seconds(30 * 86_400)
        let rows = try await database.read("market.records", limit: .report) { tx in
            try tx.all(
                RecordRow.self,
                """
                SELECT buyer, COUNT(*) AS decided,
                    SUM(CASE WHEN state IN ('rejected', 'expired') THEN 0 ELSE 1 END) AS accepted,
                    SUM(probability_ppm) AS probability_sum,
                    SUM(CASE WHEN recognise_at <= \(now) THEN 1 ELSE 0 END) AS settled,
                    SUM(CASE WHEN recognise_at <= \(now) AND state IN ('returned', 'clawedBack') THEN 1 ELSE 0 END)
                        AS returned,
                    MAX(accepted_at) AS last_sold
                FROM legs WHERE org = \(org) AND created_at >= \(since)
                    AND state NOT IN ('reserved', 'posting', 'unknown')
                    AND NOT (state = 'rejected' AND reason LIKE 'notSent:%')
                GROUP BY buyer
                """)
        }
        return Dictionary(rows.map { ($0.buyer, $0.record) }, uniquingKeysWith: { $1 })
    }

    /// Begins a round: the lead becomes routing, every buyer gets its first verdict. nil when there is nothing to do;
    /// the job is then over.
    func open(_ ref: LeadRef, _ job: RunningJob) async throws -> Round? {
        try await database.write("market.open") { tx in
            let round = try open(ref, in: tx)
            if round == nil { try job.complete(in: tx) }
            return round
        }
    }

    private func open(_ ref: LeadRef, in tx: Transaction) throws -> Round? {
        let lead = try tx.one(LeadRow.self, "SELECT * FROM leads WHERE org = \(ref.org) AND id = \(ref.id)")
        guard let lead else { throw MarketError.unknownLead }
        guard lead.state == .qualified || lead.state == .routing else { return nil }
        if lead.state == .qualified {
            try LeadJournal(org: ref.org, lead: ref.id, traceID: lead.traceID, in: tx).move(.route)
        }
        let legs = try tx.all(
            LegRow.self,
            """
            SELECT * FROM legs WHERE org = \(ref.org) AND lead_id = \(ref.id) ORDER BY created_at, id
            """)
        // Whoever was posting them is gone: nobody can say what came of it.
        let interrupted = legs.filter { $0.state == .posting }
        for leg in interrupted { try apply(.unknown("interrupted"), to: leg, in: tx) }
        guard interrupted.isEmpty, !legs.contains(where: { $0.state == .unknown }) else { return nil }
        if !legs.contains(where: { $0.state == .reserved }), legs.contains(where: { $0.state.holdsLead }) {
            // A run ended after the answer was recorded and before the lead was moved.
            _ = try settle(ref, traceID: lead.traceID, exhausted: true, in: tx)
            return nil
        }
        return try round(lead, legs: legs, in: tx)
    }

    private func round(_ lead: LeadRow, legs: [LegRow], in tx: Transaction) throws -> Round {
        let ref = LeadRef(org: lead.org, id: lead.id)
        let accounts = try BuyerRegistry.all(org: ref.org, in: tx, cache: cache)
        let cover = try cover(of: lead, in: tx)
        let offered = offered(lead)
        let last = try StoredDecision.last(ref, in: tx)
        let leftovers = legs.filter { $0.state == .reserved }
        var decision = Decision(lead: offered, at: tx.now, verdicts: [])
        for account in accounts {
            let buyer = account.buyer
            var verdict = Decision.Verdict(buyer: buyer.code, name: buyer.name)
            verdict.refusal = Eligibility.refusal(
                of: buyer, for: offered, certificate: cover, now: tx.now, capFull: false,
                alreadyOffered: legs.contains { $0.buyer == buyer.code })
            if verdict.refusal == nil, try CapStore.full(buyer, org: ref.org, now: tx.now, in: tx) != nil {
                verdict.refusal = .capFull
            }
            decision.verdicts.append(verdict)
        }
        if !leftovers.isEmpty, let last { decision = last.decision }
        return Round(
            ref: ref, lead: lead, accounts: Dictionary(accounts.map { ($0.buyer.code, $0) }, uniquingKeysWith: { $1 }),
            cover: cover, leftovers: leftovers, number: (last?.round ?? 0) + (leftovers.isEmpty ? 1 : 0),
            decision: decision)
    }

    private func offered(_ lead: LeadRow) -> OfferedLead {
        let policy = policies[lead.type]
        return OfferedLead(
            id: lead.id, type: lead.type, zip: lead.zip ?? "", score: lead.score, tier: lead.tier,
            probabilityMillionths: lead.probabilityMillionths, reserveMinor: policy?.reserveMinor(tier: lead.tier),
            reserveCurrency: policy?.currency ?? .usd, attributes: lead.values)
    }

    private func cover(of lead: LeadRow, in tx: Transaction) throws -> CertificateCover? {
        guard let id = lead.certificateID else { return nil }
        let certificate = try tx.one(
            CoverRow.self,
            "SELECT expires_at, revoked_at FROM certificates WHERE org = \(lead.org) AND id = \(id)")
        guard let certificate else { return nil }
        let scopes = try tx.values(
            String.self,
            """
            SELECT scope FROM certificate_scopes
            WHERE org = \(lead.org) AND lead_id = \(lead.id) AND certificate_id = \(id)
            """)
        return CertificateCover(
            id: id, scopes: Set(scopes), expires: certificate.expires, isRevoked: certificate.isRevoked)
    }

    /// Reserves caps and the lead for one buyer; the round's record is stored with it.
    /// - Throws: `MarketError.capFull`; `SQLError.constraint` when somebody else holds the lead or consent is missing;
    ///   `JobError.staleFence` when another worker has the lead by now.
    func reserve(_ one: Candidate, for round: Round, _ job: RunningJob) async throws -> LegRow {
        guard let account = round.accounts[one.buyer], let cover = round.cover else { throw MarketError.unknownLead }
        return try await database.write("market.reserve") { tx in
            try job.hold(in: tx)
            let (ref, buyer) = (round.ref, account.buyer)
            try holdLead(ref, exclusive: one.exclusive, in: tx)
            try recordBids(round, in: tx)
            let caps = try CapStore.reserve(buyer, org: ref.org, now: tx.now, in: tx)
            let id = UID(now: tx.now)
            let offer: JSONValue = [
                "token": round.tokens[one.buyer].map(JSONValue.string) ?? .null,
                "zip": .string(round.decision.lead.zip),
                "score": .integer(Int64(round.decision.lead.score)),
                "attributes": .object(round.decision.lead.attributes),
            ]
            let scope = cover.scope(buyer: buyer.code, type: round.lead.type) ?? "none"
            try tx.run(
                """
                INSERT INTO legs (org, id, lead_id, lead_type, trace_id, buyer, exclusive, from_state, state,
                    certificate_id, consent_scope, price_minor, fee_minor, currency, probability_ppm, offer, caps,
                    attempts, reason, return_window_micros, created_at, updated_at)
                VALUES (\(ref.org), \(id), \(ref.id), \(round.lead.type), \(round.lead.traceID), \(buyer.code),
                    \(one.exclusive), '', 'reserved', \(cover.id), \(scope), \(one.bidMinor), \(one.feeMinor),
                    \(one.currency), \(round.lead.probabilityMillionths), \(offer), \(try jsonText(caps)), 0, '',
                    \(buyer.returnWindow.microseconds), \(tx.now), \(tx.now))
                """)
            let journal = LeadJournal(org: ref.org, lead: ref.id, traceID: round.lead.traceID, in: tx)
            try journal.note(
                .leg, leg: id, to: LegState.reserved.rawValue,
                detail: ["buyer": .string(buyer.code), "price_minor": .integer(one.bidMinor)])
            try StoredDecision.save(round, in: tx)
            guard let leg = try LegRow.find(ref.org, id, in: tx) else { throw MarketError.unknownLeg }
            return leg
        }
    }

    /// Takes the lead's row first, so that two rounds cannot reserve at once, and refuses when another leg excludes
    /// this one. (Two exclusive legs are also refused by a unique index.)
    private func holdLead(_ ref: LeadRef, exclusive: Bool, in tx: Transaction) throws {
        let held = try tx.run(
            "UPDATE leads SET updated_at = \(tx.now) WHERE org = \(ref.org) AND id = \(ref.id) AND state = 'routing'")
        guard held == 1 else { throw MarketError.stateChanged }
        let others = try tx.value(
            Int.self,
            """
            SELECT COUNT(*) FROM legs WHERE org = \(ref.org) AND lead_id = \(ref.id)
            AND state NOT IN ('rejected', 'returned', 'clawedBack') AND (exclusive = 1 OR \(exclusive) = 1)
            """)
        guard others ?? 0 == 0 else { throw SQLError.constraint("legs_exclusive") }
    }

    private func recordBids(_ round: Round, in tx: Transaction) throws {
        let journal = LeadJournal(org: round.ref.org, lead: round.ref.id, traceID: round.lead.traceID, in: tx)
        for bid in round.newBids {
            let facts: [String: JSONValue] = [
                "buyer": .string(bid.buyer), "price_minor": .integer(bid.bidMinor),
                "currency": .string(bid.currency.code),
            ]
            try journal.note(.bid, to: bid.buyer, detail: facts)
            try journal.emit("bid.received", facts)
        }
    }

    /// Ends a round and its job: sold, unsold, or still routing while an answer is open or somebody is left to ask.
    /// - Throws: `JobError.staleFence` when another worker has the lead by now.
    func finish(_ round: Round, _ job: RunningJob) async throws -> LeadState {
        try await database.write("market.finish") { tx in
            try recordBids(round, in: tx)
            try StoredDecision.save(round, in: tx)
            let ref = round.ref
            let state = try settle(ref, traceID: round.lead.traceID, exhausted: round.isExhausted, in: tx)
            try job.complete(in: tx)
            if state == .routing { try goOn(ref, traceID: round.lead.traceID, in: tx) }
            return state
        }
    }

    /// Ends the job of a lead that somebody else has moved meanwhile: its state says what comes next.
    func leave(_ ref: LeadRef, _ job: RunningJob) async throws {
        try await database.write("market.leave") { tx in
            try job.complete(in: tx)
            let lead = try tx.one(LeadRow.self, "SELECT * FROM leads WHERE org = \(ref.org) AND id = \(ref.id)")
            guard let lead, lead.state == .routing || lead.state == .qualified else { return }
            try goOn(ref, traceID: lead.traceID, in: tx)
        }
    }

    /// A routing lead of which no answer is open is routed again; legs that a crash left reserved are posted then.
    func goOn(_ ref: LeadRef, traceID: UID, in tx: Transaction) throws {
        let open = try tx.value(
            Int.self,
            """
            SELECT COUNT(*) FROM legs WHERE org = \(ref.org) AND lead_id = \(ref.id)
            AND state IN ('posting', 'unknown')
            """)
        if open == 0 { try jobs.route(ref.id, org: ref.org, traceID: traceID, in: tx, isFollowUp: true) }
    }

    /// Moves a routing lead to where its legs put it.
    func settle(_ ref: LeadRef, traceID: UID, exhausted: Bool, in tx: Transaction) throws -> LeadState {
        let journal = LeadJournal(org: ref.org, lead: ref.id, traceID: traceID, in: tx)
        let legs = try tx.all(LegRow.self, "SELECT * FROM legs WHERE org = \(ref.org) AND lead_id = \(ref.id)")
        if legs.contains(where: { [.reserved, .posting, .unknown].contains($0.state) }) { return .routing }
        let sold = legs.filter { $0.state.isSold }
        if !sold.isEmpty {
            try journal.move(
                .sell,
                detail: [
                    "legs": .array(sold.map { .string($0.id.hex) }), "buyers": .array(sold.map { .string($0.buyer) }),
                ])
            return .sold
        }
        let isBlocked = legs.contains { $0.state == .expired }
        guard exhausted || isBlocked else { return .routing }
        try journal.move(.leaveUnsold, detail: ["reason": isBlocked ? "resaleBlocked" : "noBuyer"])
        return .unsold
    }
}

private struct RecordRow: RowDecodable {
    let buyer: String
    let record: BuyerRecord

    init(row: Row) throws {
        buyer = try row.get("buyer")
        record = BuyerRecord(
            decided: try row.get("decided"), accepted: try row.get("accepted"),
            probabilitySumMillionths: try row.get("probability_sum"), settled: try row.get("settled"),
            returned: try row.get("returned"), lastSold: try row.optional("last_sold"))
    }
}

private struct CoverRow: RowDecodable {
    let expires: Timestamp
    let isRevoked: Bool

    init(row: Row) throws {
        expires = try row.get("expires_at")
        isRevoked = try row.optional("revoked_at", as: Timestamp.self) != nil
    }
}

/// A decision record in the database.
struct StoredDecision: RowDecodable {
    let round: Int
    let decision: Decision
    let sentence: String

    init(row: Row) throws {
        round = try row.get("round")
        decision = try row.decoded("record")
        sentence = try row.get("sentence")
    }

    static func last(_ ref: LeadRef, in tx: Transaction) throws -> StoredDecision? {
        try tx.one(
            StoredDecision.self,
            """
            SELECT round, record, sentence FROM decisions WHERE org = \(ref.org) AND lead_id = \(ref.id)
            ORDER BY round DESC LIMIT 1
            """)
    }

    static func save(_ round: Round, in tx: Transaction) throws {
        try save(round.decision, round.number, round.ref, in: tx)
    }

    static func save(_ decision: Decision, _ number: Int, _ ref: LeadRef, in tx: Transaction) throws {
        try tx.run(
            """
            INSERT INTO decisions (org, lead_id, round, record, sentence, created_at)
            VALUES (\(ref.org), \(ref.id), \(number), \(try jsonText(decision)), \(decision.sentence), \(tx.now))
            ON CONFLICT (org, lead_id, round) DO UPDATE SET record = excluded.record, sentence = excluded.sentence
            """)
    }
}
