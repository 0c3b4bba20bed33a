package import AurumCore
internal import Crypto
internal import Foundation

/// What a client says so that a request has one effect, however often it arrives. Of one organisation.
package struct IdempotencyKey: Sendable, Equatable {
    package static let bytesMax = 200
    /// How long an answer is kept.
    package static let keep: Duration = .seconds(86_400)

    package let org: String
    package let key: String
    /// SHA-256 of what was asked for, as hex.
    package let requestHash: String

    /// - Parameters:
    ///   - route: what was called, so that one key cannot serve two routes.
    ///   - body: in a form that is the same for the same request.
    package init(org: String, key: String, route: String, body: String) {
        (self.org, self.key) = (org, key)
        requestHash = Hex.encode(SHA256.hash(data: Data("\(route)\n\(body)".utf8)))
    }
}

/// The key came before with another request.
package struct IdempotencyKeyReused: Error, Equatable, Sendable {
    package init() {}
}

/// An answer that is given again to whoever asks again.
package struct KeptAnswer: Sendable, Equatable {
    package var status: Int
    package var body: String

    package init(status: Int, body: String) { (self.status, self.body) = (status, body) }

    /// Something that was made.
    package init(made json: JSONValue) { self.init(status: 201, body: json.canonical) }

    /// The body, which is JSON.
    package func json() throws -> JSONValue { try JSONDecoder().decode(JSONValue.self, from: Data(body.utf8)) }
}

extension Transaction {
    /// Runs `effect` unless a committed transaction did so for the same key; then answers what that one answered.
    /// The answer is kept by this transaction: with its effect, or not at all. Of several at the same time one runs
    /// `effect` and the others wait for it. Without a key it always runs.
    /// - Throws: `IdempotencyKeyReused`; what `effect` throws, and then the key is free again.
    package func once(_ key: IdempotencyKey?, _ effect: () throws -> KeptAnswer) throws -> KeptAnswer {
        guard let key else { return try effect() }
        let taken = try run(
            """
            INSERT INTO idempotency (org, key, request_hash, status, response, expires_at, created_at)
            VALUES (\(key.org), \(key.key), \(key.requestHash), 0, '', \(now + IdempotencyKey.keep), \(now))
            ON CONFLICT (org, key) DO UPDATE SET request_hash = excluded.request_hash, status = 0, response = '',
                expires_at = excluded.expires_at, created_at = excluded.created_at
            WHERE idempotency.expires_at <= \(now)
            """)
        guard taken == 0 else { return try keep(try effect(), for: key) }
        let kept = try one(
            Kept.self,
            "SELECT request_hash, status, response FROM idempotency WHERE org = \(key.org) AND key = \(key.key)")
        // It was taken out between the two statements: once more.
        guard let kept else { throw SQLError.serialization }
        guard kept.requestHash == key.requestHash else { throw IdempotencyKeyReused() }
        return kept.answer
    }

    private func keep(_ answer: KeptAnswer, for key: IdempotencyKey) throws -> KeptAnswer {
        try run(
            """
            UPDATE idempotency SET status = \(answer.status), response = \(answer.body)
            WHERE org = \(key.org) AND key = \(key.key)
            """)
        return answer
    }
}

private struct Kept: RowDecodable {
    let requestHash: String
    let answer: KeptAnswer

    init(row: Row) throws {
        requestHash = try row.get("request_hash")
        answer = KeptAnswer(status: try row.get("status"), body: try row.get("response"))
    }
}

extension Database {
    private static let expiredBatch = 1000

    /// Takes answers out that were kept long enough, a batch at a time, and says how many.
    @discardableResult
    package func purgeIdempotency() async throws -> Int {
        var (all, last) = (0, Self.expiredBatch)
        while last == Self.expiredBatch {
            last = try await write("idempotency.purge", isolation: .readCommitted) { transaction in
                try transaction.run(
                    """
                    DELETE FROM idempotency WHERE (org, key) IN (
                        SELECT org, key FROM idempotency WHERE expires_at <= \(transaction.now)
                        ORDER BY expires_at LIMIT \(Self.expiredBatch))
                    """)
            }
            all += last
        }
        return all
    }
}
