internal import AurumCore
internal import Database
internal import Foundation

/// A post that may be sent now, and to whom.
struct ReadyPost: Sendable {
    let post: BuyerPost
    let account: BuyerAccount
}

/// Waiting times before an unknown post is asked for again: 1, 5, 15, then every 60 minutes.
private let repostDelays: [Duration] = [.seconds(60), .seconds(300), .seconds(900), .seconds(3600)]

extension MarketStore {
    /// Marks a leg as being posted, durably, before a byte leaves. nil when the lead may no longer be sold: the leg
    /// is then closed without a post.
    func beginPost(_ leg: LegRow) async throws -> ReadyPost? {
        try await database.write("market.post") { tx in
            let journal = LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx)
            try journal.move(.post, leg: leg.id)
            try tx.run(
                """
                UPDATE legs SET attempts = attempts + 1, posted_at = \(tx.now) WHERE org = \(leg.org) AND id = \(leg.id)
                """)
            if let ready = try ready(leg, attempt: 1, in: tx) { return ready }
            try close(leg, .reject, reason: "notSent:withdrawn", journal)
            return nil
        }
    }

    /// The post of a leg: contact and certificate of the lead, everything else as it was at ping.
    private func ready(_ leg: LegRow, attempt: Int, in tx: Transaction) throws -> ReadyPost? {
        let person = try tx.one(
            PersonRow.self,
            """
            SELECT leads.state, leads.name, leads.phone, leads.email, certificates.revoked_at, certificates.file,
                certificates.salt
            FROM leads JOIN certificates ON certificates.org = leads.org AND certificates.lead_id = leads.id
            WHERE leads.org = \(leg.org) AND leads.id = \(leg.lead) AND certificates.id = \(leg.certificateID)
            """)
        let account = try BuyerRegistry.one(org: leg.org, code: leg.buyer, in: tx, cache: cache)
        guard let person, person.state == .routing, !person.isRevoked, let account else { return nil }
        let offer = try leg.offer
        var contact = person.contact
        contact.zip = offer["zip"]?.string
        let post = BuyerPost(
            leg: leg.id, lead: leg.lead, token: offer["token"]?.string, contact: contact,
            attributes: offer["attributes"]?.object ?? [:], certificate: person.certificate,
            certificateSalt: Hex.encode(person.salt), attempt: attempt)
        return ReadyPost(post: post, account: account)
    }

    /// Records what is known after a post. Accepted: caps committed and the sale booked in the same transaction.
    func record(_ answer: PostAnswer, for leg: LegRow) async throws {
        try await database.write("market.answer") { tx in try apply(answer, to: leg, in: tx) }
    }

    /// Settles a leg whose answer was unknown: by the buyer's word, an operator, or a repeat with the same key.
    /// - Throws: `MarketError.unknownLeg`, `notUnknown`.
    func resolve(org: String, leg id: UID, answer: PostAnswer) async throws {
        try await database.write("market.resolve") { tx in
            guard let leg = try LegRow.find(org, id, in: tx) else { throw MarketError.unknownLeg }
            guard leg.state == .unknown else { throw MarketError.notUnknown(leg.state) }
            try apply(answer, to: leg, in: tx)
            try afterwards(leg, answer, in: tx)
        }
    }

    private func apply(_ answer: PostAnswer, to leg: LegRow, in tx: Transaction) throws {
        let journal = LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx)
        let wasOpen = leg.state == .unknown
        switch answer {
        case .accepted(let externalID): try accept(leg, externalID, wasOpen ? .acceptLate : .accept, journal)
        case .rejected(let reason): try close(leg, wasOpen ? .rejectLate : .reject, reason: reason, journal)
        case .notSent(let reason):
            if wasOpen { return }
            try close(leg, .reject, reason: "notSent:\(reason)", journal)
        case .refused(let reason):
            if !wasOpen { try close(leg, .reject, reason: "notSent:\(reason)", journal) }
            try tx.run(
                """
                UPDATE buyers SET state = 'paused', updated_at = \(tx.now)
                WHERE org = \(leg.org) AND code = \(leg.buyer)
                """)
        case .unknown(let reason):
            if wasOpen { return }
            let facts = facts(leg, reason: reason)
            try journal.move(.loseSight, leg: leg.id, detail: facts)
            try tx.run(
                """
                UPDATE legs SET reason = \(reason), next_attempt_at = \(tx.now + repostDelays[0])
                WHERE org = \(leg.org) AND id = \(leg.id)
                """)
            try journal.emit("delivery.unknown", facts)
        }
    }

    private func accept(_ leg: LegRow, _ externalID: String?, _ step: LegTransition, _ journal: LeadJournal) throws {
        let (tx, now) = (journal.tx, journal.tx.now)
        let facts = facts(leg, reason: "")
        try journal.move(step, leg: leg.id, detail: facts)
        try tx.run(
            """
            UPDATE legs SET external_id = \(externalID), reason = '', answered_at = \(now), accepted_at = \(now),
                recognise_at = \(now + leg.returnWindow), next_attempt_at = \(Timestamp?.none)
            WHERE org = \(leg.org) AND id = \(leg.id)
            """)
        try CapStore.commit(leg, in: tx)
        try journal.emit("delivery.accepted", facts)
        try ledger.post(try LedgerRules.accepted(leg.amounts, at: now), leg: leg, in: tx)
    }

    private func close(_ leg: LegRow, _ step: LegTransition, reason: String, _ journal: LeadJournal) throws {
        let tx = journal.tx
        let facts = facts(leg, reason: reason)
        try journal.move(step, leg: leg.id, detail: facts)
        try tx.run(
            """
            UPDATE legs SET reason = \(reason), answered_at = \(tx.now), next_attempt_at = \(Timestamp?.none)
            WHERE org = \(leg.org) AND id = \(leg.id)
            """)
        try CapStore.release(leg, in: tx)
        try journal.emit(step.to == .expired ? "delivery.expired" : "delivery.rejected", facts)
    }

    private func facts(_ leg: LegRow, reason: String) -> [String: JSONValue] {
        [
            "leg": .string(leg.id.hex), "buyer": .string(leg.buyer), "price_minor": .integer(leg.priceMinor),
            "currency": .string(leg.currency.code), "reason": .string(reason),
        ]
    }

    /// Brings lead and decision record up to date after an open answer was settled.
    private func afterwards(_ leg: LegRow, _ answer: PostAnswer, in tx: Transaction) throws {
        let ref = LeadRef(org: leg.org, id: leg.lead)
        if let last = try StoredDecision.last(ref, in: tx) {
            var decision = last.decision
            switch answer {
            case .accepted: decision.record(.accepted, reason: "", buyer: leg.buyer)
            case .rejected(let reason): decision.record(.rejected, reason: reason, buyer: leg.buyer)
            case .refused, .notSent, .unknown: break
            }
            try StoredDecision.save(decision, last.round, ref, in: tx)
        }
        let state = try tx.value(String.self, "SELECT state FROM leads WHERE org = \(leg.org) AND id = \(leg.lead)")
        guard state == LeadState.routing.rawValue else { return }
        _ = try settle(ref, traceID: leg.traceID, exhausted: false, in: tx)
    }

    /// Legs that were being posted when the program ended: nobody can say what came of them.
    func recover() async throws -> Int {
        try await database.write("market.recover") { tx in
            let legs = try tx.all(LegRow.self, "SELECT * FROM legs WHERE state = 'posting'")
            for leg in legs { try apply(.unknown("interrupted"), to: leg, in: tx) }
            return legs.count
        }
    }

    /// Recognises the revenue of legs whose return window has passed, at most `limit`; effective at its exact end.
    func recogniseDue(limit: Int) async throws -> Int {
        let now = clock.now
        let ready = try await database.read("market.recognisable") { tx in
            try tx.value(
                Int.self, "SELECT COUNT(*) FROM legs WHERE state = 'accepted' AND recognise_at <= \(now)")
        }
        guard ready ?? 0 > 0 else { return 0 }
        return try await database.write("market.recognise") { tx in
            let legs = try tx.all(
                LegRow.self,
                """
                SELECT * FROM legs WHERE state = 'accepted' AND recognise_at <= \(now)
                ORDER BY recognise_at LIMIT \(limit)
                """)
            for leg in legs { try ledger.recognise(leg, in: tx) }
            return legs.count
        }
    }

    /// Gives up on answers that stayed unknown for `hold`. The lead counts as possibly sold for ever: it is not
    /// offered to anybody else.
    func expireUnknowns(hold: Duration) async throws -> Int {
        let before = clock.now - hold
        let waiting = try await database.read("market.unknowns") { tx in
            try tx.values(UID.self, "SELECT id FROM legs WHERE state = 'unknown' AND posted_at <= \(before) LIMIT 100")
        }
        guard !waiting.isEmpty else { return 0 }
        return try await database.write("market.expire") { tx in
            let legs = try tx.all(
                LegRow.self, "SELECT * FROM legs WHERE state = 'unknown' AND posted_at <= \(before) LIMIT 100")
            for leg in legs {
                let journal = LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx)
                try close(leg, .expire, reason: "unknownHold", journal)
                try afterwards(leg, .unknown("expired"), in: tx)
            }
            return legs.count
        }
    }

    /// Open legs of buyers to whom a repeat with the same key is safe, and whose time has come.
    func reposts() async throws -> [(leg: LegRow, ready: ReadyPost)] {
        let now = clock.now
        let waiting = try await database.read("market.reposts") { tx in
            try tx.all(
                LegRow.self,
                """
                SELECT * FROM legs WHERE state = 'unknown' AND next_attempt_at <= \(now)
                ORDER BY next_attempt_at LIMIT 20
                """)
        }
        guard !waiting.isEmpty else { return [] }
        return try await database.write("market.repost") { tx in
            try waiting.compactMap { leg in
                let delay = repostDelays[min(leg.attempts, repostDelays.count - 1)]
                let attempt = leg.attempts + 1
                let ready = try ready(leg, attempt: attempt, in: tx)
                guard let ready, ready.account.buyer.idempotent, ready.account.buyer.state == .active else {
                    try tx.run(
                        "UPDATE legs SET next_attempt_at = \(Timestamp?.none) WHERE org = \(leg.org) AND id = \(leg.id)"
                    )
                    return nil
                }
                try tx.run(
                    """
                    UPDATE legs SET attempts = \(attempt), next_attempt_at = \(now + delay)
                    WHERE org = \(leg.org) AND id = \(leg.id) AND state = 'unknown'
                    """)
                return (leg, ready)
            }
        }
    }

    func openUnknowns() async throws -> Int {
        try await database.read("market.openUnknowns") { tx in
            try tx.value(Int.self, "SELECT COUNT(*) FROM legs WHERE state = 'unknown'") ?? 0
        }
    }
}

/// What a post needs of the lead and its certificate. Holds personal data.
private struct PersonRow: RowDecodable {
    let state: LeadState
    let contact: LeadContact
    let certificate: JSONValue
    let salt: [UInt8]
    let isRevoked: Bool

    init(row: Row) throws {
        state = try row.choice("state")
        contact = LeadContact(
            name: try row.optional("name", as: String.self).flatMap { PersonName($0) },
            phone: try row.optional("phone", as: String.self).flatMap { PhoneNumber($0) },
            email: try row.optional("email", as: String.self).flatMap { EmailAddress($0) })
        certificate = try row.get("file")
        salt = try row.optional("salt") ?? []
        isRevoked = try row.optional("revoked_at", as: Timestamp.self) != nil
    }
}
