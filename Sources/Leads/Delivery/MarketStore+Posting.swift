internal import AurumCore
internal import Database
internal import Foundation
internal import Runtime

/// A post that may be sent now, and to whom.
struct ReadyPost: Sendable {
    let post: BuyerPost
    let account: BuyerAccount
}

extension MarketStore {
    /// Marks a leg as being posted, durably, before a byte leaves. nil when the lead may no longer be sold: the leg
    /// is then closed without a post.
    /// - Throws: `JobError.staleFence` when another worker has the lead by now.
    func beginPost(_ leg: LegRow, _ job: RunningJob) async throws -> ReadyPost? {
        try await database.write("market.post") { tx in
            try job.hold(in: tx)
            let journal = LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx)
            try journal.move(.post, leg: leg.id)
            try tx.run(
                """
                UPDATE legs SET attempts = attempts + 1, posted_at = \(tx.now) WHERE org = \(leg.org) AND id = \(leg.id)
                """)
            if let ready = try ready(leg, attempt: 1, job, in: tx) { return ready }
            try close(leg, .reject, reason: "notSent:withdrawn", journal)
            return nil
        }
    }

    /// The post of a leg: contact and certificate of the lead, everything else as it was at ping.
    private func ready(_ leg: LegRow, attempt: Int, _ job: RunningJob, in tx: Transaction) throws -> ReadyPost? {
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
            certificateSalt: Hex.encode(person.salt), attempt: attempt, fence: Fence(rawValue: job.fence))
        return ReadyPost(post: post, account: account)
    }

    /// Records what is known after a post. Accepted: caps committed and the sale booked in the same transaction.
    func record(_ answer: PostAnswer, for leg: LegRow) async throws {
        try await database.write("market.answer") { tx in try apply(answer, to: leg, in: tx) }
    }

    /// Settles a leg whose answer was unknown: by the buyer's word or an operator.
    /// - Throws: `MarketError.unknownLeg`, `notUnknown`.
    func resolve(org: String, leg id: UID, answer: PostAnswer) async throws {
        try await database.write("market.resolve") { tx in
            guard let leg = try LegRow.find(org, id, in: tx) else { throw MarketError.unknownLeg }
            guard leg.state == .unknown else { throw MarketError.notUnknown(leg.state) }
            try apply(answer, to: leg, in: tx)
            try afterwards(leg, answer, in: tx)
        }
    }

    /// The same by a repeat with the same key, which ends its job; an answer that is still unknown is asked for again.
    func resolve(_ leg: LegRow, attempts: Int, answer: PostAnswer, _ job: RunningJob) async throws {
        try await database.write("market.resolveRepeat") { tx in
            try job.complete(in: tx)
            guard let leg = try LegRow.find(leg.org, leg.id, in: tx), leg.state == .unknown else { return }
            try apply(answer, to: leg, in: tx)
            try afterwards(leg, answer, in: tx)
            let after = try LegRow.find(leg.org, leg.id, in: tx)
            if after?.state == .unknown { try jobs.repost(leg, attempts: attempts, in: tx) }
        }
    }

    func apply(_ answer: PostAnswer, to leg: LegRow, in tx: Transaction) throws {
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
                UPDATE legs SET reason = \(reason) WHERE org = \(leg.org) AND id = \(leg.id)
                """)
            try jobs.repost(leg, attempts: 1, in: tx)
            try jobs.expire(leg, at: tx.now + unknownHold, in: tx)
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
                recognise_at = \(now + leg.returnWindow)
            WHERE org = \(leg.org) AND id = \(leg.id)
            """)
        try jobs.recognise(org: leg.org, at: now + leg.returnWindow, in: tx)
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
            UPDATE legs SET reason = \(reason), answered_at = \(tx.now)
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
        if try settle(ref, traceID: leg.traceID, exhausted: false, in: tx) == .routing {
            try goOn(ref, traceID: leg.traceID, in: tx)
        }
    }

    /// Recognises the revenue of an organisation's legs whose return window has passed, at most `limit`; effective at
    /// its exact end. The job ends with the last of them.
    func recogniseDue(org: String, limit: Int, _ job: RunningJob) async throws -> Int {
        try await database.write("market.recognise") { tx in
            let legs = try tx.all(
                LegRow.self,
                """
                SELECT * FROM legs WHERE org = \(org) AND state = 'accepted' AND recognise_at <= \(tx.now)
                ORDER BY recognise_at LIMIT \(limit)
                """)
            for leg in legs { try ledger.recognise(leg, in: tx) }
            if legs.count < limit { try job.complete(in: tx) }
            return legs.count
        }
    }

    /// Gives up on an answer that stayed unknown. The lead counts as possibly sold for ever: it is not offered to
    /// anybody else.
    func expire(org: String, leg id: UID, _ job: RunningJob) async throws {
        try await database.write("market.expire") { tx in
            if let leg = try LegRow.find(org, id, in: tx), leg.state == .unknown {
                let journal = LeadJournal(org: leg.org, lead: leg.lead, traceID: leg.traceID, in: tx)
                try close(leg, .expire, reason: "unknownHold", journal)
                try afterwards(leg, .unknown("expired"), in: tx)
            }
            try job.complete(in: tx)
        }
    }

    /// The repeat of an open post, with the same key; nil when it is not open any more, when a repeat to that buyer is
    /// not safe, and when the buyer is not active: it is then asked later.
    func repost(
        org: String, leg id: UID, _ job: RunningJob
    ) async throws -> (leg: LegRow, ready: ReadyPost, attempts: Int)? {
        try await database.write("market.repost") { tx in
            try job.hold(in: tx)
            guard let leg = try LegRow.find(org, id, in: tx), leg.state == .unknown else { return nil }
            let attempts = leg.attempts + 1
            guard let ready = try ready(leg, attempt: attempts, job, in: tx), ready.account.buyer.idempotent else {
                return nil
            }
            guard ready.account.buyer.state == .active else {
                try job.complete(in: tx)
                try jobs.repost(leg, attempts: attempts, in: tx)
                return nil
            }
            try tx.run("UPDATE legs SET attempts = \(attempts) WHERE org = \(org) AND id = \(id)")
            return (leg, ready, attempts)
        }
    }

    /// Gives every lead and leg that time must move a job, where it has none: what an earlier release left behind.
    func adopt() async throws {
        try await database.write("market.adopt") { tx in
            let leads = try tx.all(
                AdoptedLead.self,
                """
                SELECT org, id, trace_id FROM leads WHERE state IN ('qualified', 'routing') AND NOT EXISTS (
                    SELECT 1 FROM legs WHERE legs.org = leads.org AND legs.lead_id = leads.id
                    AND legs.state = 'unknown')
                ORDER BY created_at
                """)
            for lead in leads {
                try jobs.route(lead.id, org: lead.org, traceID: lead.traceID, in: tx, isFollowUp: true)
            }
            for leg in try tx.all(LegRow.self, "SELECT * FROM legs WHERE state = 'unknown' ORDER BY created_at") {
                try jobs.repost(leg, attempts: leg.attempts, in: tx)
                try jobs.expire(leg, at: leg.createdAt + unknownHold, in: tx)
            }
            let minutes = try tx.all(
                AdoptedMinute.self,
                """
                SELECT org, MAX(recognise_at) AS at FROM legs WHERE state = 'accepted' AND recognise_at IS NOT NULL
                GROUP BY org, recognise_at / 60000000
                """)
            for minute in minutes { try jobs.recognise(org: minute.org, at: minute.at, in: tx) }
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

private struct AdoptedLead: RowDecodable {
    let org: String
    let id: UID
    let traceID: UID

    init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        traceID = try row.get("trace_id")
    }
}

private struct AdoptedMinute: RowDecodable {
    let org: String
    let at: Timestamp

    init(row: Row) throws {
        org = try row.get("org")
        at = try row.get("at")
    }
}
