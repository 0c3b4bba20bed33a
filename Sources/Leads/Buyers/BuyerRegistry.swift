package import AurumCore
package import Database
internal import Foundation
internal import Synchronization

/// The buyers of an organisation, kept in the database. Answers never hold credentials, only whether they are set.
package struct BuyerRegistry: Sendable {
    /// Buyers an organisation may have.
    package static let buyersMax = 1000

    package enum Failure: Error, Equatable { case tooMany }

    private let database: Database
    private let policies: ScorePolicies
    private let allowLoopback: Bool

    package init(database: Database, policies: ScorePolicies, allowLoopback: Bool) {
        self.database = database
        self.policies = policies
        self.allowLoopback = allowLoopback
    }

    /// Creates or replaces a buyer and answers its configuration. Credentials that the body does not hold are kept.
    /// - Throws: `LeadIntakeError.invalid` with all problems; `Failure.tooMany`.
    package func put(org: String, code: String, body: JSONValue) async throws -> JSONValue {
        let parsed = try BuyerBody(body, code: code, leadTypes: policies.types, allowLoopback: allowLoopback)
        let (buyer, credentials) = (parsed.buyer, parsed.credentials)
        try await database.write("buyers.put") { tx in
            try Self.save(buyer, credentials, org: org, in: tx)
        }
        return try await read(org: org, code: code) ?? .null
    }

    static func save(_ buyer: Buyer, _ credentials: BuyerCredentials, org: String, in tx: Transaction) throws {
        let count = try tx.value(
            Int.self, "SELECT COUNT(*) FROM buyers WHERE org = \(org) AND code <> \(buyer.code)")
        guard count ?? 0 < buyersMax else { throw Failure.tooMany }
        try tx.run(
            """
            INSERT INTO buyers (org, code, state, configuration, created_at, updated_at)
            VALUES (\(org), \(buyer.code), \(buyer.state.rawValue), \(try jsonText(buyer)), \(tx.now), \(tx.now))
            ON CONFLICT (org, code) DO UPDATE SET state = excluded.state, configuration = excluded.configuration,
                updated_at = excluded.updated_at
            """)
        for (kind, value) in [("secret", credentials.secret), ("bearerToken", credentials.bearerToken)] {
            guard let value else { continue }
            try tx.run(
                """
                INSERT INTO buyer_credentials (org, buyer, kind, value, created_at)
                VALUES (\(org), \(buyer.code), \(kind), \(value.exposed), \(tx.now))
                ON CONFLICT (org, buyer, kind) DO UPDATE SET value = excluded.value
                """)
        }
    }

    /// Configurations in order of code, without credentials.
    package func list(org: String) async throws -> [JSONValue] {
        try await database.read("buyers.list") { tx in
            try Self.all(org: org, in: tx).map { try Self.document($0) }
        }
    }

    package func read(org: String, code: String) async throws -> JSONValue? {
        try await database.read("buyers.read") { tx in
            try Self.one(org: org, code: code, in: tx).map { try Self.document($0) }
        }
    }

    /// The longest return window of all buyers that ever could buy, in days; nil without one.
    package func longestReturnDays(org: String) async throws -> Int? {
        try await database.read("buyers.returnDays") { tx in
            try Self.all(org: org, in: tx).map(\.buyer).filter { $0.state != .draft }.map(\.returnWindowDays).max()
        }
    }

    private static func document(_ account: BuyerAccount) throws -> JSONValue {
        let text = try jsonText(account.buyer)
        var members = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)).object ?? [:]
        members["price"] = account.buyer.price.map { .string($0.decimal) }
        members["reservePrice"] = account.buyer.reservePrice.map { .string($0.decimal) }
        members["secretSet"] = .bool(account.credentials.secret != nil)
        members["bearerTokenSet"] = .bool(account.credentials.bearerToken != nil)
        return .object(members)
    }

    /// Every buyer with its credentials, in order of code.
    static func all(org: String, in tx: Transaction, cache: BuyerCache? = nil) throws -> [BuyerAccount] {
        let rows = try tx.all(
            BuyerRow.self, "SELECT configuration, state FROM buyers WHERE org = \(org) ORDER BY code")
        let credentials = try tx.all(
            CredentialRow.self, "SELECT buyer, kind, value FROM buyer_credentials WHERE org = \(org)")
        return try accounts(rows, credentials, cache)
    }

    /// One buyer with its credentials.
    static func one(org: String, code: String, in tx: Transaction, cache: BuyerCache? = nil) throws -> BuyerAccount? {
        let rows = try tx.all(
            BuyerRow.self, "SELECT configuration, state FROM buyers WHERE org = \(org) AND code = \(code)")
        let credentials = try tx.all(
            CredentialRow.self,
            "SELECT buyer, kind, value FROM buyer_credentials WHERE org = \(org) AND buyer = \(code)")
        return try accounts(rows, credentials, cache).first
    }

    private static func accounts(
        _ rows: [BuyerRow], _ credentials: [CredentialRow], _ cache: BuyerCache?
    ) throws -> [BuyerAccount] {
        let byBuyer = Dictionary(grouping: credentials, by: \.buyer)
        return try rows.map { row in
            let buyer = try cache?.buyer(row) ?? row.buyer()
            var own = BuyerCredentials()
            for credential in byBuyer[buyer.code] ?? [] {
                if credential.kind == "secret" {
                    own.secret = credential.value
                } else {
                    own.bearerToken = credential.value
                }
            }
            return BuyerAccount(buyer: buyer, credentials: own)
        }
    }
}

/// A buyer with what it takes to reach it.
struct BuyerAccount: Sendable {
    let buyer: Buyer
    let credentials: BuyerCredentials
}

struct BuyerRow: RowDecodable {
    let configuration: String
    let state: Buyer.State

    init(row: Row) throws {
        configuration = try row.get("configuration")
        state = try row.choice("state")
    }

    func buyer() throws -> Buyer {
        var buyer = try JSONDecoder().decode(Buyer.self, from: Data(configuration.utf8))
        buyer.state = state
        return buyer
    }
}

/// Parsed configurations by their text, so that a lead does not parse every buyer again. Always right: another text is
/// another entry.
final class BuyerCache: Sendable {
    /// Texts kept; one more clears them.
    static let textsMax = 4096

    private let buyers = Mutex<[String: Buyer]>([:])

    func buyer(_ row: BuyerRow) throws -> Buyer {
        if var known = buyers.withLock({ $0[row.configuration] }) {
            known.state = row.state
            return known
        }
        let buyer = try row.buyer()
        buyers.withLock { buyers in
            if buyers.count >= Self.textsMax { buyers.removeAll() }
            buyers[row.configuration] = buyer
        }
        return buyer
    }
}

private struct CredentialRow: RowDecodable {
    let buyer: String
    let kind: String
    let value: Secret

    init(row: Row) throws {
        buyer = try row.get("buyer")
        kind = try row.get("kind")
        value = Secret(try row.get("value", as: String.self))
    }
}
