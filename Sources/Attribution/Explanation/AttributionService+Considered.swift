package import AurumCore
internal import Database
internal import Events

/// A touch that was looked at for the credit of a sale.
struct ConsideredTouch: Sendable {
    let touch: Touch
    /// nil for a touchpoint of the journey.
    let reason: String?

    var json: JSONValue {
        let kind =
            switch touch.kind {
            case .click: "click"
            case .impression: "view"
            case .visit: "visit"
            }
        let labels = Credit.labels(of: touch)
        return [
            "event": .string(touch.eventID), "at": .string(touch.at.rfc3339), "kind": .string(kind),
            "campaign": .string(labels[0]), "source": .string(labels[1]), "medium": .string(labels[2]),
            "channel": .string(labels[3]), "eligible": .bool(reason == nil),
            "reason": reason.map { .string($0) } ?? .null,
        ]
    }
}

extension AttributionService {
    /// Before the window, touches of so long are named with the reason that they earn nothing.
    package static let consideredBefore: Duration = .seconds(30 * 86_400)
    /// The newest are named.
    package static let consideredMax = 500

    /// What the credit of a sale follows from: the touches that were looked at, those that earn nothing with the
    /// reason, the formula of each model with its inputs, and which version of the credit answers.
    ///
    /// Touches are those that the log has now, fraud verdicts and merges those of now: after a version was stored, they
    /// may say more than it.
    /// - Throws: database errors, and what the log throws.
    package func basis(of sale: Sale) async throws -> [String: JSONValue] {
        let touches = try await considered(sale)
        // The newest, and of the others those that earn.
        let shown = touches.enumerated().filter { number, touch in
            touch.reason == nil || number >= touches.count - Self.consideredMax
        }
        let former = try await database.read("attribution.formerVersions") { transaction in
            try transaction.all(
                FormerVersion.self,
                """
                SELECT DISTINCT version, cause, credited_at, restated_at FROM attribution_restated
                WHERE org = \(sale.org) AND kind = 'sale' AND item = \(sale.leg) ORDER BY version
                """)
        }
        let formulas = CreditModel.allCases.map { model in
            (model.rawValue, JSONValue.string(JourneyExplanation.formula(.rule(model))))
        }
        return [
            "touches": .array(shown.map(\.element.json)),
            "touches_left_out": .integer(Int64(touches.count - shown.count)),
            "formulas": .object(Dictionary(uniqueKeysWithValues: formulas)),
            "inputs": [
                "click_hours": .number(window.click.seconds / 3600), "view_hours": .number(window.view.seconds / 3600),
                "half_life_seconds": .number(JourneyCredit.halfLifeSeconds),
                "milestone_at": sale.milestoneAt.map { .string($0.rfc3339) } ?? .null,
            ],
            "version": .integer(Int64((former.last?.version ?? 0) + 1)), "versions_before": .array(former.map(\.json)),
        ]
    }

    /// Oldest first.
    private func considered(_ sale: Sale) async throws -> [ConsideredTouch] {
        let identifiers = sale.visitorID.map { [PersonIdentifier(.anonymous, $0)] } ?? []
        let reach = window.click + Self.consideredBefore
        let found = try await events.journey(
            JourneyQuery(
                org: sale.org, traceID: sale.traceID, identifiers: identifiers, until: sale.at, lookback: reach,
                limit: Journey.eventsMax))
        let barred = try await FraudStore(database: database).barred(among: found.map(\.eventID), org: sale.org)
        // What earns is asked for as crediting does: views of two months may push clicks out of the wider reading.
        let journey = try await journey(of: sale)
        let wide = Set(found.map(\.eventID))
        let all = found + journey.eligible.filter { !wide.contains($0.eventID) }
        let (earning, eligible) = (Set(journey.touches.map(\.eventID)), Set(journey.eligible.map(\.eventID)))
        return all.sorted { ($0.at, $0.eventID) < ($1.at, $1.eventID) }.map { touch in
            ConsideredTouch(touch: touch, reason: reason(touch, journey, earning, eligible, barred))
        }
    }

    private func reason(
        _ touch: Touch, _ journey: Journey, _ earning: Set<String>, _ eligible: Set<String>, _ barred: Set<String>
    ) -> String? {
        if earning.contains(touch.eventID) { return nil }
        if touch.refusesAdvertising { return "no_consent" }
        if barred.contains(touch.eventID) { return "fraud" }
        guard eligible.contains(touch.eventID) else { return "outside_window" }
        let isFull = journey.touches.count == Journey.touchesMax
        let isCut = isFull && journey.touches.first.map { touch.at < $0.at } == true
        return isCut ? "older_than_newest_\(Journey.touchesMax)" : "same_touchpoint"
    }
}

private struct FormerVersion: RowDecodable, Sendable {
    let version: Int
    let json: JSONValue

    init(row: Row) throws {
        version = try row.get("version")
        json = [
            "version": .integer(Int64(version)), "cause": .string(try row.get("cause")),
            "credited_at": .string(try row.get("credited_at", as: Timestamp.self).rfc3339),
            "restated_at": .string(try row.get("restated_at", as: Timestamp.self).rfc3339),
        ]
    }
}
