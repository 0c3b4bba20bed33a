package import AurumCore
package import Database

/// One conversion for one destination, as it is stored. Holds no personal data.
package struct UploadItem: RowDecodable, Sendable {
    package let org: String
    package let id: UID
    package let destination: UID
    package let kind: UploadKind
    /// The sold leg or the lead.
    package let subject: UID
    package let event: String
    package let traceID: UID?
    package let currency: Currency
    package var machine: UploadMachine
    package let createdAt: Timestamp
    package let updatedAt: Timestamp

    package init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        destination = try row.get("destination")
        kind = try row.word("kind")
        subject = try row.get("subject")
        event = try row.get("event")
        traceID = try row.optional("trace_id")
        currency = try row.get("currency")
        machine = UploadMachine(
            state: try row.word("state"), action: try row.word("action"), reason: try row.get("reason"),
            valueMinor: try row.get("value_minor"), wantedMinor: try row.get("wanted_minor"),
            sentMinor: try row.get("sent_minor"), toldMinor: try row.optional("told_minor"),
            isReturned: try row.get("is_returned"), isUncertain: try row.get("is_uncertain"),
            attempts: try row.get("attempts"), firstSentAt: try row.optional("first_sent_at"),
            dueAt: try row.optional("due_at"), occurredAt: try row.get("occurred_at"))
        createdAt = try row.get("created_at")
        updatedAt = try row.get("updated_at")
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "destination": .string(destination.hex), "kind": .string(kind.rawValue),
            "subject": .string(subject.hex), "event": .string(event), "state": .string(machine.state.rawValue),
            "action": .string(machine.action.rawValue), "reason": .string(machine.reason),
            "currency": .string(currency.code), "value_minor": .integer(machine.valueMinor),
            "wanted_minor": .integer(machine.isReturned ? 0 : machine.wantedMinor),
            "returned": .bool(machine.isReturned), "attempts": .integer(Int64(machine.attempts)),
            "occurred_at": .string(machine.occurredAt.rfc3339), "created_at": .string(createdAt.rfc3339),
            "updated_at": .string(updatedAt.rfc3339),
        ]
        members["trace_id"] = traceID.map { .string($0.hex) }
        members["told_minor"] = machine.toldMinor.map { .integer($0) }
        members["due_at"] = machine.dueAt.map { .string($0.rfc3339) }
        return .object(members)
    }

    /// Writes where it stands now.
    func save(in tx: Transaction) throws {
        try tx.run(
            """
            UPDATE upload_items SET state = \(machine.state.rawValue), action = \(machine.action.rawValue),
                reason = \(machine.reason), wanted_minor = \(machine.wantedMinor), sent_minor = \(machine.sentMinor),
                told_minor = \(machine.toldMinor), is_returned = \(machine.isReturned),
                is_uncertain = \(machine.isUncertain), attempts = \(machine.attempts),
                first_sent_at = \(machine.firstSentAt), due_at = \(machine.dueAt), updated_at = \(tx.now)
            WHERE org = \(org) AND id = \(id)
            """)
    }
}

/// One attempt, as it is stored.
package struct UploadAttempt: RowDecodable, Sendable {
    package let json: JSONValue

    package init(row: Row) throws {
        var members: [String: JSONValue] = [
            "number": .integer(try row.get("number")), "action": .string(try row.get("action")),
            "batch": .string(try row.get("batch", as: UID.self).hex),
            "value_minor": .integer(try row.get("value_minor")), "reason": .string(try row.get("reason")),
            "started_at": .string(try row.get("started_at", as: Timestamp.self).rfc3339),
            "outcome": try row.optional("outcome", as: String.self).map { .string($0) } ?? .null,
        ]
        members["ended_at"] = try row.optional("ended_at", as: Timestamp.self).map { .string($0.rfc3339) }
        members["payload"] = try row.optional("payload", as: JSONValue.self)
        json = .object(members)
    }
}

extension Row {
    /// A text column that holds one case of an enumeration.
    func word<Choice: RawRepresentable>(_ column: String) throws -> Choice where Choice.RawValue == String {
        let text = try get(column, as: String.self)
        guard let choice = Choice(rawValue: text) else {
            throw RowError.wrongType(column: column, expected: "\(Choice.self)", found: "text")
        }
        return choice
    }
}
