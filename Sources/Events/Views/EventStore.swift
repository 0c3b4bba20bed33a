package import AurumCore

/// Which events to read.
package struct EventFilter: Sendable {
    package var org: String
    package var app: String?
    package var traceID: UID?
    /// Events that carry any of these; empty means everybody.
    package var identifiers: [PersonIdentifier] = []
    package var types: Set<EventType> = []
    package var names: Set<String> = []
    /// By the time of the event, both ends included.
    package var from: Timestamp?
    package var to: Timestamp?
    package var outcomes: Set<EventOutcome> = [.stored, .late]
    package var limit = 100
    /// By position in the log.
    package var newestFirst = true
    /// How long the look-up may take; nil for no bound.
    package var within: Duration?

    package init(org: String) { self.org = org }
}

/// Whose touchpoints to read, and how far back.
package struct JourneyQuery: Sendable {
    package var org: String
    package var traceID: UID?
    package var identifiers: [PersonIdentifier]
    package var until: Timestamp
    package var lookback: Duration
    /// Of impressions; at most `lookback`.
    package var viewLookback: Duration
    /// The newest are kept.
    package var limit: Int

    /// - Parameter viewLookback: as `lookback` unless told.
    package init(
        org: String, traceID: UID?, identifiers: [PersonIdentifier] = [], until: Timestamp, lookback: Duration,
        viewLookback: Duration? = nil, limit: Int = 200
    ) {
        (self.org, self.traceID, self.identifiers) = (org, traceID, identifiers)
        (self.until, self.lookback, self.limit) = (until, lookback, limit)
        self.viewLookback = viewLookback ?? lookback
    }
}

/// One advertising touch of a person.
package struct Touch: Sendable, Equatable {
    package var kind: TouchKind
    package var eventID: String
    package var position: LogPosition
    package var at: Timestamp
    package var traceID: UID
    package var app: String
    package var campaign: String?
    package var campaignID: String?
    package var source: String?
    package var medium: String?
    package var network: String?
    package var ad: AdNames
    package var channel: Channel
    package var clickID: String?
    package var cost: Millionths?
    package var currency: String?
    package var referrer: String?
    package var landing: String?
    package var anonymousID: String?
    package var userID: String?
    package var deviceID: String?
    /// Its event refuses advertising: it earns no credit.
    package var refusesAdvertising: Bool
}

/// A receipt looked up later: the counts and every event that was not plainly stored.
package struct StoredReceipt: Sendable, Equatable {
    package var receipt: String
    package var app: String
    package var format: String
    package var receivedAt: Timestamp
    package var counts: OutcomeCounts
    package var problems: [EventProblem]

    package var received: Int { counts.total }

    package var json: String {
        ReceiptDocument(
            receipt: receipt, received: counts.total, counts: counts, problems: problems,
            more: [
                ("app", JSONValue.quoted(app)), ("format", JSONValue.quoted(format)),
                ("received_at", JSONValue.quoted(receivedAt.rfc3339)),
            ]
        ).canonicalInOrder
    }
}

/// Another sending of an event that was known already.
package struct DuplicateSighting: Sendable, Equatable {
    package var receipt: String
    package var receivedAt: Timestamp
}

/// What became of one event.
package struct OutcomeRecord: Sendable, Equatable {
    package var id: String
    package var outcome: EventOutcome
    package var reason: String?
    package var field: String?
    package var receipt: String
    package var position: LogPosition
    package var receivedAt: Timestamp
    /// The newest first, at most 20.
    package var duplicates: [DuplicateSighting]
    /// When it left the quarantine.
    package var replayedAt: Timestamp?
    /// Its time lies before the de-duplication window: it may be a second copy of a forgotten one.
    package var isUnverified = false

    package var json: String {
        var members = [
            "\"id\":\(JSONValue.quoted(id))", "\"outcome\":\"\(outcome.name)\"", "\"receipt\":\"\(receipt)\"",
            "\"position\":\"\(position)\"", "\"received_at\":\"\(receivedAt.rfc3339)\"",
        ]
        for (name, value) in [("reason", reason), ("field", field), ("replayed_at", replayedAt?.rfc3339)] {
            if let value { members.append("\"\(name)\":\(JSONValue.quoted(value))") }
        }
        if isUnverified { members.append("\"dedup_unverified\":true") }
        let sightings = duplicates.map {
            "{\"receipt\":\"\($0.receipt)\",\"received_at\":\"\($0.receivedAt.rfc3339)\"}"
        }
        members.append("\"duplicates\":[" + sightings.joined(separator: ",") + "]")
        return "{" + members.joined(separator: ",") + "}"
    }
}

/// Reads what the log holds. Every read is confined to one organisation; answers cover everything acknowledged before
/// the call. Calls may take as long as a scan of the log and never block the caller's thread.
package protocol EventStore: Sendable {
    /// nil for a receipt that is altered, unknown, or another organisation's.
    func receipt(_ id: String, org: String) async throws -> StoredReceipt?
    /// nil for an id that was never received in this app.
    /// - Parameter within: how long the look-up may take; nil for no bound.
    /// - Throws: `QueryError.timeout` when it took longer.
    func outcome(eventID: String, org: String, app: String, within: Duration?) async throws -> OutcomeRecord?
    /// - Throws: `QueryError.timeout` when it took longer than the filter allows.
    func events(_ filter: EventFilter) async throws -> [StoredEvent]
    /// Touchpoints of a person, oldest first.
    func journey(_ query: JourneyQuery) async throws -> [Touch]
    func totals(org: String) -> LiveTotals
}

extension EventStore {
    /// However long it takes.
    package func outcome(eventID: String, org: String, app: String) async throws -> OutcomeRecord? {
        try await outcome(eventID: eventID, org: org, app: app, within: nil)
    }
}
