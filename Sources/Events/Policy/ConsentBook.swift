internal import AurumCore
package import Database
internal import Synchronization

/// One person's decision: who by keyed hash, what, and when.
struct ConsentChange: Sendable {
    /// Keyed hashes of the identifiers that the consent event carried.
    var persons: [UInt64]
    var state: ConsentState
    /// Microseconds since 1970, by the event's own time.
    var at: Int64
}

/// The last consent of persons, by keyed hash of each identifier. Only hashes are kept, never an identifier.
///
/// A change acts on the next event, and is in the table before its request is answered. At `personsMax` of an
/// organisation the oldest decision is forgotten.
package final class ConsentBook: Sendable {
    private struct Entry {
        var state: ConsentState
        var at: Int64
    }

    private static let shardCount = 16
    package static let personsMax = 2_000_000

    private typealias Persons = [String: [UInt64: Entry]]
    private let shards: [Shard]
    private let database: Database?
    private let count = Atomic<Int>(0)

    private final class Shard: Sendable {
        let persons = Mutex<Persons>([:])
    }

    /// Reads what is known.
    package static func open(_ database: Database) async throws -> ConsentBook {
        let book = ConsentBook(database: database)
        let rows = try await database.read("consents.all", limit: .report) { transaction in
            try transaction.all(
                ConsentRow.self, "SELECT org, person, analytics, ads, personalisation, gpc, at FROM consents")
        }
        for row in rows { book.remember(row.org, row.person, row.state, row.at) }
        return book
    }

    /// - Parameter database: nil keeps decisions in memory only.
    package init(database: Database?) {
        self.database = database
        shards = (0..<Self.shardCount).map { _ in Shard() }
    }

    /// Whether nobody has decided anything yet: then no event needs a look.
    var isEmpty: Bool { count.load(ordering: .relaxed) == 0 }

    /// The newest decision among a person's identifiers.
    func state(org: String, persons: [UInt64]) -> ConsentState? { decision(org: org, persons: persons)?.state }

    /// The newest decision among a person's identifiers, and when it was taken, in microseconds since 1970.
    func decision(org: String, persons: [UInt64]) -> (state: ConsentState, at: Int64)? {
        var newest: Entry?
        for person in persons {
            guard let entry = shards[Int(person & 15)].persons.withLock({ $0[org]?[person] }) else { continue }
            if entry.at >= newest?.at ?? .min { newest = entry }
        }
        return newest.map { ($0.state, $0.at) }
    }

    /// Takes a decision unless a newer one is known. Acts at once.
    func apply(_ change: ConsentChange, org: String) {
        for person in change.persons { remember(org, person, change.state, change.at) }
    }

    private func remember(_ org: String, _ person: UInt64, _ state: ConsentState, _ at: Int64) {
        let added = shards[Int(person & 15)].persons.withLock { all -> Int in
            var persons = all.removeValue(forKey: org) ?? [:]
            defer { all[org] = persons }
            if let known = persons[person] {
                if at >= known.at { persons[person] = Entry(state: state, at: at) }
                return 0
            }
            persons[person] = Entry(state: state, at: at)
            guard persons.count > Self.personsMax / Self.shardCount else { return 1 }
            if let oldest = persons.min(by: { $0.value.at < $1.value.at })?.key { persons[oldest] = nil }
            return 0
        }
        count.add(added, ordering: .relaxed)
    }

    /// Writes decisions to the table, then calls `done` with whether it is durable. Does not block.
    func save(_ changes: [ConsentChange], org: String, done: @escaping @Sendable (Bool) -> Void) {
        guard let database else { return done(true) }
        database.enqueue("consents.save", isolation: .readCommitted) { transaction in
            for change in changes {
                for person in change.persons {
                    try transaction.run(
                        """
                        INSERT INTO consents (org, person, analytics, ads, personalisation, gpc, at)
                        VALUES (\(org), \(Int64(bitPattern: person)), \(Int(change.state.analytics.rawValue)),
                                \(Int(change.state.ads.rawValue)), \(Int(change.state.personalisation.rawValue)),
                                \(change.state.gpc), \(change.at))
                        ON CONFLICT (org, person) DO UPDATE SET
                            analytics = excluded.analytics, ads = excluded.ads,
                            personalisation = excluded.personalisation, gpc = excluded.gpc, at = excluded.at
                        WHERE excluded.at >= consents.at
                        """)
                }
            }
        } finish: { error in
            done(error == nil)
        }
    }
}

private struct ConsentRow: RowDecodable {
    var org: String
    var person: UInt64
    var state: ConsentState
    var at: Int64

    init(row: Row) throws {
        org = try row.get("org")
        person = UInt64(bitPattern: try row.get("person", as: Int64.self))
        func choice(_ column: String) throws -> ConsentChoice {
            ConsentChoice(rawValue: UInt8(clamping: try row.get(column, as: Int.self))) ?? .denied
        }
        state = ConsentState(
            analytics: try choice("analytics"), ads: try choice("ads"),
            personalisation: try choice("personalisation"))
        state.gpc = try row.get("gpc")
        at = try row.get("at")
    }
}
