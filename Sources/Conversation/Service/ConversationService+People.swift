package import AurumCore
internal import Database

// Reading, and people taking conversations over and giving them back.
extension ConversationService {
    package func summary(org: String) async throws -> ConversationSummary {
        try await database.read("conversation.summary") { tx in
            func count(_ sql: SQLStatement) throws -> Int { try tx.value(Int.self, sql) ?? 0 }
            return ConversationSummary(
                open: try count("SELECT COUNT(*) FROM conversation WHERE org = \(org) AND outcome IS NULL"),
                started: try count("SELECT COUNT(*) FROM conversation WHERE org = \(org)"),
                qualified: try count("SELECT COUNT(*) FROM conversation WHERE org = \(org) AND outcome = 'qualified'"))
        }
    }

    /// Newest first.
    package func list(org: String, limit: Int) async throws -> [ConversationRow] {
        let limit = min(max(limit, 1), 500)
        return try await database.read("conversation.list") { tx in
            try tx.all(
                ConversationRow.self,
                "SELECT * FROM conversation WHERE org = \(org) ORDER BY created_at DESC, id DESC LIMIT \(limit)")
        }
    }

    package func read(org: String, id: UID) async throws -> ConversationRow? {
        try await database.read("conversation.read") { tx in
            try tx.one(ConversationRow.self, "SELECT * FROM conversation WHERE org = \(org) AND id = \(id)")
        }
    }

    package func transcript(org: String, id: UID) async throws -> [TranscriptRow] {
        try await database.read("conversation.transcript") { tx in
            try ConversationStore.transcript(org: org, id: id, tx)
        }
    }

    package func slots(org: String, id: UID) async throws -> [SlotRow] {
        try await database.read("conversation.slots") { tx in try ConversationStore.slots(org: org, id: id, tx) }
    }

    /// Frames with a number above `seq`, in order.
    package func frames(org: String, id: UID, after seq: Int) async throws -> [StoredFrame] {
        try await storedFrames(org: org, id: id, after: seq)
    }

    /// Gives the conversation to a person. The bot is silent from this commit on, also with a reply already under way.
    ///
    /// - Returns: the new fence, to be named in `reply`.
    package func takeOver(
        org: String, id: UID, by person: String, displayName: String
    ) async throws(ConversationError) -> Int {
        try await change(org: org, id: id) { (work: inout TurnWork) async throws(ConversationError) in
            work.changeOwner(to: .human, person: person, displayName: displayName)
            work.emit("handed_over", ["reason": "takeOver", "owner": "human", "actor": .string(person)])
        }
    }

    /// Gives the conversation back to the bot, which goes on with what was pending.
    ///
    /// - Returns: the new fence.
    package func giveBack(org: String, id: UID, by person: String) async throws(ConversationError) -> Int {
        try await change(org: org, id: id) { (work: inout TurnWork) async throws(ConversationError) in
            guard work.write.record.owner != .bot else { throw .staleFence }
            work.changeOwner(to: .bot, person: nil)
            work.emit("returned", ["actor": .string(person)])
            await work.step(.returned)
        }
    }

    /// A person's message, under the fence that `takeOver` gave.
    package func reply(
        org: String, id: UID, text: String, by person: String, fence: Int
    ) async throws(ConversationError) {
        guard text.count <= limits.messageCharactersMax else { throw .tooLarge }
        _ = try await change(org: org, id: id) { (work: inout TurnWork) async throws(ConversationError) in
            let record = work.write.record
            guard record.owner == .human, record.ownerPerson == person, record.fence == fence else { throw .staleFence }
            work.sayAsHuman(text)
        }
    }

    func rate(org: String, id: UID, score: Int) async throws(ConversationError) {
        _ = try await guarded { [database] in
            try await database.write("conversation.rate") { tx in
                try tx.run("UPDATE conversation SET rating = \(score) WHERE org = \(org) AND id = \(id)")
            }
        }
    }

    /// Loads, changes and stores a conversation outside a visitor's turn; tries again when a turn was faster.
    private func change(
        org: String, id: UID, _ body: (inout TurnWork) async throws(ConversationError) -> Void
    ) async throws(ConversationError) -> Int {
        let lane = lane(org: org, id: id)
        defer { release(lane) }
        for _ in 0..<8 {
            let found = try await guarded { [database] in
                try await database.read("conversation.reload") { tx in
                    try ConversationStore.record(org: org, id: id, tx)
                }
            }
            guard let record = found else { throw .unknownConversation }
            guard record.owner != .closed, let flow = flows.flow(hash: record.flowHash) else { throw .closed }
            var work = TurnWork(record: record, flow: flow, service: self, now: clock.now)
            try await body(&work)
            let write = work.finished()
            do throws(ConversationError) {
                try await guarded { [database] in
                    try await database.write("conversation.change") { tx in try ConversationStore.update(write, tx) }
                }
            } catch .staleFence {
                continue
            }
            lane.remember(write.record, messages: [:])
            lane.publish(write.frames.map { StoredFrame(seq: $0.seq, text: $0.text) })
            return write.record.fence
        }
        throw .staleFence
    }
}
