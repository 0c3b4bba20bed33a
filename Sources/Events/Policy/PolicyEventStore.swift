package import AurumCore

/// A store as readers see it under the policy: identifiers are looked up in the form that the log keeps, and receipts
/// and outcomes show what became of events that were quarantined first.
package struct PolicyEventStore: EventStore {
    private let base: any EventStore
    private let desk: QuarantineDesk

    package init(base: any EventStore, desk: QuarantineDesk) {
        self.base = base
        self.desk = desk
    }

    package func receipt(_ id: String, org: String) async throws -> StoredReceipt? {
        guard var receipt = try await base.receipt(id, org: org) else { return nil }
        for action in try await desk.ledger.actions(org: org, receipt: id) where action.state == .replayed {
            guard let outcome = action.outcome, outcome != .quarantined,
                let place = receipt.problems.firstIndex(where: { $0.index == action.place }),
                receipt.problems[place].outcome == .quarantined
            else { continue }
            let problem = receipt.problems[place]
            receipt.counts.quarantined -= 1
            receipt.counts[outcome] += 1
            if outcome == .stored {
                receipt.problems.remove(at: place)
            } else {
                receipt.problems[place] = EventProblem(
                    index: problem.index, id: problem.id, outcome: outcome, reason: nil, field: nil, detail: nil)
            }
        }
        return receipt
    }

    package func outcome(
        eventID: String, org: String, app: String, within: Duration?
    ) async throws -> OutcomeRecord? {
        let id = desk.policies.storedForm(PersonIdentifier(.event, eventID), org: org).value
        // Quarantined events are found by the id they were sent with, all others by the one that is kept.
        var found = try await base.outcome(eventID: id, org: org, app: app, within: within)
        if found == nil, id != eventID {
            found = try await base.outcome(eventID: eventID, org: org, app: app, within: within)
        }
        guard var record = found else { return nil }
        record.id = eventID
        if let replay = try await desk.ledger.replay(org: org, app: app, eventID: id),
            record.receipt == replay.replayReceipt
        {
            record.receipt = replay.receipt
            record.replayedAt = replay.at
        }
        return record
    }

    package func events(_ filter: EventFilter) async throws -> [StoredEvent] {
        var filter = filter
        filter.identifiers = filter.identifiers.map { desk.policies.storedForm($0, org: filter.org) }
        return try await base.events(filter).map(Self.underFirstReceipt)
    }

    /// An event that was replayed stands under the receipt it came with.
    private static func underFirstReceipt(_ event: StoredEvent) -> StoredEvent {
        guard let receipt = event.extra["replay_of"]?.string else { return event }
        var event = event
        event.receipt = receipt
        return event
    }

    package func journey(_ query: JourneyQuery) async throws -> [Touch] {
        var query = query
        query.identifiers = query.identifiers.map { desk.policies.storedForm($0, org: query.org) }
        return try await base.journey(query)
    }

    package func totals(org: String) -> LiveTotals { base.totals(org: org) }
}

extension EventPolicies {
    /// A document with sealed values opened again; what cannot be opened stays as it is.
    package func unsealed(_ value: JSONValue, org: String, field: String = "") -> JSONValue {
        switch value {
        case .object(let members):
            return .object(
                Dictionary(
                    uniqueKeysWithValues: members.map { name, value in
                        (name, unsealed(value, org: org, field: PersonalKeys.plain(name)))
                    }))
        case .array(let values):
            let texts = values.compactMap(\.string)
            if texts.count == values.count, texts.first?.hasPrefix(InstallationKeySealer.prefix) == true,
                let whole = opened(texts.joined(), org, field)
            {
                return whole
            }
            return .array(values.map { unsealed($0, org: org) })
        case .string(let text) where text.hasPrefix(InstallationKeySealer.prefix):
            return opened(text, org, field) ?? value
        default: return value
        }
    }

    private func opened(_ text: String, _ org: String, _ field: String) -> JSONValue? {
        guard let bytes = sealer.open(text, SealedPlace(org: org, field: field)) else { return nil }
        return bytes.withUnsafeBufferPointer { try? JSONReader.value($0) }
    }
}
