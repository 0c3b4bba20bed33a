internal import AurumCore
internal import Database

/// Touches that the fraud rules bar from credit, as runs over the log name events.
package struct RejectedTouches: Sendable {
    private var keys: Set<EventKey> = []
    private var ids: Set<UID> = []
    /// There are more than are held.
    package private(set) var isCut = false
    /// The newest so many are held.
    package static let most = 300_000

    package init() {}

    var isEmpty: Bool { ids.isEmpty }

    init(_ touches: [Touch], isCut: Bool) {
        keys.reserveCapacity(touches.count * 3)
        for touch in touches { keys.formUnion(EventKey.all(touch.id, touch.event)) }
        ids = Set(touches.map(\.id))
        self.isCut = isCut
    }

    /// Whether an event may be one of them: a few others have the same name.
    @inline(__always)
    func mayHold(_ order: UInt64, _ tail: UInt16) -> Bool {
        keys.contains(EventKey(order: order, tail: tail))
    }

    func holds(_ event: String) -> Bool { ids.contains(.ofEvent(event)) }

    /// Says to a digest which ones they are.
    func name(in digest: inout PartsDigest) {
        digest.add("rejected \(isCut)")
        for id in ids.map(\.hex).sorted() { digest.add(id) }
    }

    struct Touch: Sendable, RowDecodable {
        var id: UID
        /// The event's id as it was given, where that is no UUID.
        var event: String?

        init(row: Row) throws { (id, event) = (try row.get("touch"), try row.optional("event")) }
    }
}

extension FraudStore {
    /// All that an organisation's runs must leave out.
    func rejected(org: String) async throws -> RejectedTouches {
        let touches = try await database.read("fraud.rejected", limit: .report) { transaction in
            try transaction.all(
                RejectedTouches.Touch.self,
                """
                SELECT touch, event FROM fraud_verdicts WHERE org = \(org) AND newest = 1 AND barred = 1
                    AND subject = 'touch'
                ORDER BY at DESC, touch DESC LIMIT \(RejectedTouches.most + 1)
                """)
        }
        return RejectedTouches(
            Array(touches.prefix(RejectedTouches.most)), isCut: touches.count > RejectedTouches.most)
    }

    /// Which events, by their ids, nothing is credited to.
    func barred(among events: [String], org: String) async throws -> Set<String> {
        try await database.read("fraud.barred") { try Self.barred(among: events, org: org, in: $0) }
    }

    static func barred(among events: [String], org: String, in transaction: Transaction) throws -> Set<String> {
        var barred: Set<String> = []
        // As many as one statement may name.
        for start in stride(from: 0, to: events.count, by: 1000) {
            let ids = events[start..<min(events.count, start + 1000)].map { ($0, UID.ofEvent($0)) }
            let touches = ids.map(\.1)
            let found = Set(
                try transaction.values(
                    UID.self,
                    """
                    SELECT touch FROM fraud_verdicts
                    WHERE org = \(org) AND touch IN (\(list: touches)) AND newest = 1 AND barred = 1
                        AND subject = 'touch'
                    """))
            barred.formUnion(ids.lazy.filter { found.contains($0.1) }.map(\.0))
        }
        return barred
    }
}
