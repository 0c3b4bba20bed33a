internal import AurumCore
internal import Database
internal import Events

/// How a path speaks for a network, strongest first. Nothing here is guessed: a person is known by its identifiers.
package enum ClaimEvidence: String, Sendable, CaseIterable {
    /// A click event, or a visit that came with a click id.
    case click
    /// An ad view without a click.
    case view
    /// A visit whose link names the campaign or the network, without a click id, a click or a view.
    case visit

    /// 0 for the strongest.
    var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }

    init(_ touch: Touch) {
        switch touch.kind {
        case .click: self = .click
        // A view may name the click id that a click on it would have.
        case .impression: self = .view
        case .visit: self = touch.clickID == nil ? .visit : .click
        }
    }
}

/// The strongest touch of one campaign and network on a path; of equals the newest.
struct EvidenceMark: Sendable, Equatable {
    var evidence: ClaimEvidence
    /// As credits write it.
    var campaign: String
    /// As the event or its click id names it, in lower case; empty where neither does.
    var network: String
    var eventID: String
    var at: Timestamp

    /// The network of click ids that Aurum's own redirects hand on: whose ad it was, the campaign says.
    private static let ownNetwork = "aurum"

    init(_ touch: Touch) {
        evidence = ClaimEvidence(touch)
        campaign = (touch.campaign ?? touch.campaignID)?.storable ?? Credit.none
        let named = touch.network?.storable.lowercased() ?? ""
        network = named == Self.ownNetwork ? "" : named
        (eventID, at) = (touch.eventID.storable, touch.at)
    }

    init?(row: Row) throws {
        guard let name = try row.optional("evidence", as: String.self), let evidence = ClaimEvidence(rawValue: name)
        else { return nil }
        self.evidence = evidence
        (campaign, network) = (try row.get("campaign"), try row.get("network"))
        (eventID, at) = (try row.get("event_id"), try row.get("touched_at"))
    }
}

/// Keeps what the path to a lead or a sale holds, when it is credited: the log may have forgotten it later.
enum PathEvidence {
    /// Campaigns and networks of one path; of more the weakest and oldest are not kept.
    static let marksMax = 32
    private static let none = "none"

    /// What a path holds, strongest and newest first; touches that name neither campaign nor network are left out.
    static func marks(_ journey: Journey) -> [EvidenceMark] {
        struct Name: Hashable {
            let campaign: String
            let network: String
        }
        var found: [Name: EvidenceMark] = [:]
        // Oldest first, so that of equals the newest stays.
        for mark in journey.eligible.map({ EvidenceMark($0) })
        where mark.campaign != Credit.none || !mark.network.isEmpty {
            let name = Name(campaign: mark.campaign, network: mark.network)
            if let known = found[name], known.evidence.rank < mark.evidence.rank { continue }
            found[name] = mark
        }
        let sorted = found.values.sorted { one, other in
            if one.evidence != other.evidence { return one.evidence.rank < other.evidence.rank }
            return (other.at, one.campaign, one.network) < (one.at, other.campaign, other.network)
        }
        return Array(sorted.prefix(marksMax))
    }

    /// What was kept first stays: repeating it changes nothing, also when other touches have come in since.
    /// - Parameter item: the lead or the sold leg.
    static func note(
        _ kind: CohortPeople.Kind, _ item: UID, org: String, _ marks: [EvidenceMark], in transaction: Transaction
    ) throws {
        let known = try transaction.value(
            Int64.self,
            """
            SELECT COUNT(*) FROM attribution_evidence
            WHERE org = \(org) AND kind = \(kind.rawValue) AND item = \(item)
            """)
        guard known == 0 else { return }
        func keep(_ position: Int, _ mark: EvidenceMark?) throws {
            try transaction.run(
                """
                INSERT INTO attribution_evidence
                    (org, kind, item, position, evidence, campaign, network, event_id, touched_at, created_at)
                VALUES (\(org), \(kind.rawValue), \(item), \(position), \(mark?.evidence.rawValue ?? none),
                        \(mark?.campaign ?? Credit.none), \(mark?.network ?? ""), \(mark?.eventID), \(mark?.at),
                        \(transaction.now))
                ON CONFLICT (org, kind, item, position) DO NOTHING
                """)
        }
        if marks.isEmpty { try keep(0, nil) }
        for (position, mark) in marks.enumerated() { try keep(position, mark) }
    }
}
