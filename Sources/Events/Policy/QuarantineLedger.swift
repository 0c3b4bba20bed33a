internal import AurumCore
internal import Database

/// What was done with a quarantined event. Its place: the receipt it came under and its index there.
struct QuarantineAction: Sendable {
    enum State: String { case replaying, replayed, deleted }

    var receipt: String
    var place: Int
    var app: String
    var eventID: String?
    var state: State
    var outcome: EventOutcome?
    var planVersion: Int?
    /// The receipt under which it was stored.
    var replayReceipt: String?
    var at: Timestamp
}

/// The table of actions. An intent stands before an event is sent again, its outcome once the log has it for good: a
/// crash between the two is seen at the next replay.
struct QuarantineLedger: Sendable {
    let database: Database
    private let known = KnownReplays()

    init(database: Database) { self.database = database }

    private static let groupMax = 500

    /// Places by receipt, with their state.
    func places(org: String) async throws -> [String: [Int: QuarantineAction.State]] {
        let actions = try await database.read("quarantine.places") { transaction in
            try transaction.all(
                QuarantineAction.self,
                """
                SELECT receipt, place, app, event_id, state, outcome, plan_version, replay_receipt, at
                FROM quarantine_actions WHERE org = \(org)
                """)
        }
        return actions.reduce(into: [:]) { $0[$1.receipt, default: [:]][$1.place] = $1.state }
    }

    /// Places by receipt of the events of all organisations that were replayed or deleted.
    func left() async throws -> [String: Set<Int>] {
        let found = try await database.read("quarantine.left") { transaction in
            try transaction.all(
                ReplayedPlace.self, "SELECT receipt, place FROM quarantine_actions WHERE state <> 'replaying'")
        }
        return found.reduce(into: [:]) { $0[$1.receipt, default: []].insert($1.place) }
    }

    /// Every event of an organisation that was replayed: read once, and again after something was written.
    func replayed(org: String) async throws -> ReplayedRows {
        try await known.rows(org) {
            let found = try await database.read("quarantine.replayed") { transaction in
                try transaction.all(
                    ReplayedPlace.self,
                    "SELECT receipt, place FROM quarantine_actions WHERE org = \(org) AND state = 'replayed'")
            }
            return ReplayedRows(found.map { ($0.receipt, $0.place) })
        }
    }

    func actions(org: String, receipt: String) async throws -> [QuarantineAction] {
        try await database.read("quarantine.ofReceipt") { transaction in
            try transaction.all(
                QuarantineAction.self,
                """
                SELECT receipt, place, app, event_id, state, outcome, plan_version, replay_receipt, at
                FROM quarantine_actions WHERE org = \(org) AND receipt = \(receipt)
                """)
        }
    }

    /// The newest replay of an event id.
    func replay(org: String, app: String, eventID: String) async throws -> QuarantineAction? {
        try await database.read("quarantine.ofEvent") { transaction in
            try transaction.one(
                QuarantineAction.self,
                """
                SELECT receipt, place, app, event_id, state, outcome, plan_version, replay_receipt, at
                FROM quarantine_actions
                WHERE org = \(org) AND app = \(app) AND event_id = \(eventID) AND state = 'replayed'
                ORDER BY at DESC LIMIT 1
                """)
        }
    }

    /// Writes actions; a place that was replayed or deleted keeps what it has.
    func write(_ actions: [QuarantineAction], org: String) async throws {
        defer { known.forget() }
        for start in stride(from: 0, to: actions.count, by: Self.groupMax) {
            let group = Array(actions[start..<min(actions.count, start + Self.groupMax)])
            try await database.write("quarantine.write") { transaction in
                for action in group {
                    try transaction.run(
                        """
                        INSERT INTO quarantine_actions
                            (org, receipt, place, app, event_id, state, outcome, plan_version, replay_receipt, at)
                        VALUES (\(org), \(action.receipt), \(action.place), \(action.app), \(action.eventID),
                                \(action.state.rawValue), \(action.outcome?.name), \(action.planVersion),
                                \(action.replayReceipt), \(action.at))
                        ON CONFLICT (org, receipt, place) DO UPDATE SET
                            event_id = excluded.event_id, state = excluded.state, outcome = excluded.outcome,
                            plan_version = excluded.plan_version, replay_receipt = excluded.replay_receipt,
                            at = excluded.at
                        WHERE quarantine_actions.state = 'replaying'
                        """)
                }
            }
        }
    }

    /// Forgets actions on events that nobody can read any more.
    ///
    /// - Parameter replayed: before this also what was replayed: until then the row that was refused is in the log, and
    ///   must not be counted beside the one that a replay brought.
    func prune(before: Timestamp, replayed: Timestamp) async throws {
        defer { known.forget() }
        try await database.write("quarantine.prune") { transaction in
            _ = try transaction.run(
                "DELETE FROM quarantine_actions WHERE at < \(before) AND (state <> 'replayed' OR at < \(replayed))")
        }
    }
}

extension QuarantineAction: RowDecodable {
    init(row: Row) throws {
        (receipt, place, app) = (try row.get("receipt"), try row.get("place"), try row.get("app"))
        eventID = try row.optional("event_id")
        state = State(rawValue: try row.get("state")) ?? .deleted
        let name = try row.optional("outcome", as: String.self)
        outcome = EventOutcome.allCases.first { $0.name == name }
        planVersion = try row.optional("plan_version")
        replayReceipt = try row.optional("replay_receipt")
        at = try row.get("at")
    }
}
