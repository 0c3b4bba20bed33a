package import AurumCore
package import Database

/// An event that Aurum itself writes, usually a row of the outbox.
package struct InternalEvent: Sendable, Equatable {
    package var id: UID
    package var org: String
    /// The record that it is about.
    package var key: String
    /// `<area>.<what>`, for example `lead.created`.
    package var name: String
    package var traceID: UID?
    package var at: Timestamp
    package var props: JSONValue
    /// The visitor whom it is about, as the visitor's own events say it. The log keeps it as it keeps theirs.
    package var anonymousID: String?

    /// The fact of an `OutboxEvent` that names the visitor.
    private static let visitor = "anonymous_id"

    package init(
        id: UID, org: String, key: String, name: String, traceID: UID?, at: Timestamp, props: JSONValue,
        anonymousID: String? = nil
    ) {
        (self.id, self.org, self.key, self.name) = (id, org, key, name)
        (self.traceID, self.at, self.props, self.anonymousID) = (traceID, at, props, anonymousID)
    }

    /// The text `anonymous_id` among the facts becomes the event's own.
    package init(_ event: OutboxEvent) {
        var facts = event.props.object ?? [:]
        let visitor = facts.removeValue(forKey: Self.visitor)?.string
        self.init(
            id: event.id, org: event.org, key: event.key, name: event.name, traceID: event.traceID, at: event.at,
            props: visitor == nil ? event.props : .object(facts), anonymousID: visitor)
    }

    /// One line of the native format.
    /// - Parameter visitor: the form in which the log keeps `anonymousID`; nil names nobody.
    func line(visitor: String?) -> String {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "type": "internal", "name": .string(name), "ts": .string(at.rfc3339),
            "key": .string(key),
        ]
        if let traceID { members["trace_id"] = .string(traceID.hex) }
        if let visitor { members[Self.visitor] = .string(visitor) }
        if case .object = props { members["props"] = props } else { members["props"] = ["value": props] }
        return JSONValue.object(members).canonical + "\n"
    }
}

/// An event of our own that the contract does not take: a mistake of ours, never dropped silently.
package struct InternalEventRefused: Error, Equatable {
    package var problems: [EventProblem]
    /// A short reason for each event that was refused, by its id.
    package var reasons: [UID: String]
}

extension EventCapture {
    /// Appends events of our own; durable when it returns. Seeing an event again (by organisation and id) is no error
    /// and stores nothing.
    package func appendInternal(_ events: [InternalEvent]) async throws {
        var remaining = events[...]
        while let first = remaining.first {
            let batch = remaining.prefix { $0.org == first.org }.prefix(limits.batchEventsMax)
            remaining = remaining.dropFirst(batch.count)
            let visitors = InternalVisitors(org: first.org, policies, secret.keys(org: first.org, app: ""))
            let body = batch.reduce(into: [UInt8]()) { body, event in
                body.append(contentsOf: event.line(visitor: visitors.stored(event.anonymousID)).utf8)
            }
            let receipt = try await submit(
                body, format: .internalEvents, source: CaptureSource(org: first.org, app: Self.internalApp),
                receivedAt: clock.now)
            if receipt.quarantined > 0 {
                let problems = receipt.problems.filter { $0.outcome == .quarantined }
                var reasons: [UID: String] = [:]
                for problem in problems where batch.indices.contains(batch.startIndex + problem.index) {
                    let words = [problem.reason ?? problem.outcome.name, problem.field].compactMap(\.self)
                    reasons[batch[batch.startIndex + problem.index].id] = words.joined(separator: " of ")
                }
                throw InternalEventRefused(problems: problems, reasons: reasons)
            }
        }
    }
}

/// How events of our own name visitors: as the visitors' own events do, and not at all where those do not either. Our
/// events bear the name of no app, so that the strictest app of the organisation speaks for all.
struct InternalVisitors {
    private let org: String
    private let policies: EventPolicies?
    private let keys: IdentityKeys
    /// Some app takes analytics for denied unless it is told otherwise.
    private let isDenied: Bool

    init(org: String, _ policies: EventPolicies?, _ keys: IdentityKeys) {
        (self.org, self.policies, self.keys) = (org, policies, keys)
        isDenied = policies?.apps.list(org: org).contains { $0.settings.defaultConsent.analytics == .denied } ?? false
    }

    /// The form in which the log keeps a visitor's id: hashed where it is an e-mail address or a telephone number. nil
    /// for a visitor who denied analytics, and for what the contract would not take.
    func stored(_ visitor: String?) -> String? {
        guard !isDenied, let visitor, (1...ContractLimits.identifierBytes).contains(visitor.utf8.count) else {
            return nil
        }
        guard let policies else { return visitor }
        let stored = policies.storedForm(PersonIdentifier(.anonymous, visitor), org: org).value
        let persons = [visitor, stored].map { keys.person(PersonIdentifier(.anonymous, $0)).high }
        return policies.consents.state(org: org, persons: persons)?.analytics == .denied ? nil : stored
    }
}
