package import AurumCore
package import Database

/// A template as it is stored, its secret sealed.
struct StoredCallback: RowDecodable, Sendable {
    let org: String
    let id: UID
    let network: String
    let event: String
    let method: CallbackMethod
    let url: String
    let body: JSONValue?
    let state: String
    let secret: String?
    let enabledAt: Timestamp
    let createdAt: Timestamp
    let updatedAt: Timestamp

    init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        (network, event) = (try row.get("network"), try row.get("event"))
        (method, url, body) = (try row.word("method"), try row.get("url"), try row.optional("body"))
        (state, secret) = (try row.get("state"), try row.optional("secret"))
        (enabledAt, createdAt) = (try row.get("enabled_at"), try row.get("created_at"))
        updatedAt = try row.get("updated_at")
    }

    var isEnabled: Bool { state == "enabled" }
    var isRemoved: Bool { state == "removed" }

    /// Addresses were checked when they were stored; what may be reached is checked at every connection.
    var template: CallbackTemplate {
        get throws(CallbackError) {
            try CallbackTemplate(method: method, url: url, body: body, allowLoopback: true)
        }
    }

    var json: JSONValue {
        [
            "id": .string(id.hex), "network": .string(network), "event": .string(event),
            "method": .string(method.rawValue), "url": .string(url), "body": body ?? .null,
            "enabled": .bool(isEnabled), "secret_set": .bool(secret != nil),
            "enabled_at": .string(enabledAt.rfc3339), "created_at": .string(createdAt.rfc3339),
            "updated_at": .string(updatedAt.rfc3339),
        ]
    }
}

/// One thing that a template tells, as it is stored. Holds no personal data.
package struct CallbackDelivery: RowDecodable, Sendable {
    package let org: String
    package let id: UID
    package let callback: UID
    package let kind: CallbackKind
    package let event: String
    package let network: String
    /// The event's id; of a sale the sold leg.
    package let reference: String
    package let app: String
    /// Event id of the install; empty for a sale.
    package let install: String
    package let traceID: UID?
    package let value: Money?
    package let occurredAt: Timestamp
    package var machine: CallbackMachine
    package let createdAt: Timestamp
    package let updatedAt: Timestamp

    package init(row: Row) throws {
        org = try row.get("org")
        (id, callback) = (try row.get("id"), try row.get("callback"))
        (kind, event, network) = (try row.word("kind"), try row.get("event"), try row.get("network"))
        (reference, app, install) = (try row.get("reference"), try row.get("app"), try row.get("install"))
        traceID = try row.optional("trace_id")
        value = try Money(row: row)
        occurredAt = try row.get("occurred_at")
        machine = CallbackMachine(state: try row.word("state"), reason: try row.get("reason"))
        (machine.status, machine.attempts) = (try row.optional("status"), try row.get("attempts"))
        (machine.tries, machine.firstAt) = (try row.get("tries"), try row.optional("first_at"))
        (machine.dueAt, machine.endedAt) = (try row.optional("due_at"), try row.optional("ended_at"))
        (createdAt, updatedAt) = (try row.get("created_at"), try row.get("updated_at"))
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "callback": .string(callback.hex), "kind": .string(kind.rawValue),
            "event": .string(event), "network": .string(network), "conversion_id": .string(reference),
            "state": .string(machine.state.rawValue), "reason": .string(machine.reason),
            "attempts": .integer(Int64(machine.attempts)), "occurred_at": .string(occurredAt.rfc3339),
            "created_at": .string(createdAt.rfc3339), "updated_at": .string(updatedAt.rfc3339),
        ]
        if !install.isEmpty { (members["app"], members["install"]) = (.string(app), .string(install)) }
        members["status"] = machine.status.map { .integer(Int64($0)) }
        members["value"] = value.map { .string($0.decimal) }
        members["currency"] = value.map { .string($0.currency.code) }
        members["trace_id"] = traceID.map { .string($0.hex) }
        members["due_at"] = machine.dueAt.map { .string($0.rfc3339) }
        members["ended_at"] = machine.endedAt.map { .string($0.rfc3339) }
        return .object(members)
    }

    /// Writes where it stands now.
    func save(in tx: Transaction) throws {
        try tx.run(
            """
            UPDATE callback_deliveries SET state = \(machine.state.rawValue), reason = \(machine.reason),
                status = \(machine.status), attempts = \(machine.attempts), tries = \(machine.tries),
                first_at = \(machine.firstAt), due_at = \(machine.dueAt), ended_at = \(machine.endedAt),
                updated_at = \(tx.now)
            WHERE org = \(org) AND id = \(id)
            """)
    }
}

extension Money {
    /// Of the columns `value_minor` and `currency`; nil where either is missing.
    init?(row: Row) throws {
        guard let minor = try row.optional("value_minor", as: Int64.self),
            let currency = try row.optional("currency", as: Currency.self)
        else { return nil }
        self.init(minorUnits: minor, currency: currency)
    }
}

/// One attempt of a delivery.
struct CallbackAttempt: RowDecodable, Sendable {
    let json: JSONValue

    init(row: Row) throws {
        var members: [String: JSONValue] = [
            "number": .integer(try row.get("number")),
            "started_at": .string(try row.get("started_at", as: Timestamp.self).rfc3339),
            "outcome": .string(try row.optional("outcome") ?? "unknown"), "reason": .string(try row.get("reason")),
        ]
        members["status"] = try row.optional("status", as: Int64.self).map { .integer($0) }
        members["ended_at"] = try row.optional("ended_at", as: Timestamp.self).map { .string($0.rfc3339) }
        json = .object(members)
    }
}

/// The install that a delivery tells of, or that a conversion belongs to, with the decision that holds.
struct CallbackInstall: RowDecodable, Sendable {
    let eventID: String
    let facts: JSONValue
    /// nil while nobody has decided.
    let decision: JSONValue?

    init(row: Row) throws {
        (eventID, facts) = (try row.get("event_id"), try row.get("facts"))
        decision = try row.optional("body")
    }

    /// In small letters; nil where no touch led to it, and for an open that is no re-engagement any more.
    var network: String? {
        if let outcome = decision?["outcome"]?.string, outcome != ReEngagementDecision.Outcome.reEngagement.rawValue {
            return nil
        }
        return touch == nil ? nil : decision?["network"]?.string?.lowercased()
    }
    /// Why nobody is told of an install whose device had one before.
    static let reinstall = "reinstall"
    var isReinstall: Bool { decision?["is_reinstall"] == true }
    var clickID: String? { touch?["click_id"]?.string }
    var campaign: String? { decision?["campaign"]?.string }
    private var touch: JSONValue? { decision?["touch"].flatMap { $0 == .null ? nil : $0 } }

    /// Why nobody is told: what the fraud rules said.
    var suppression: String? {
        guard decision?["fraud"]?["verdict"]?.string == FraudVerdict.Outcome.rejected.rawValue else { return nil }
        return "fraud:" + (decision?["fraud"]?["codes"]?.array?.first?.string ?? "rejected")
    }
}
