package import AurumCore
internal import Crypto
internal import Foundation
internal import Synchronization

/// A network that is told by callbacks, as its own address: keeps what came, and checks who signed it. All decisions
/// are here and synchronous; `FakesServer` only carries them over HTTP.
package final class FakeReceiver: Sendable {
    /// One request as it came.
    package struct Callback: Sendable, Equatable {
        package var path: String
        package var method: String
        /// The names of the query, values decoded.
        package var query: [String: String]
        package var body: String
        package var delivery: String
        /// Its signature is right by `secret`, and about as old as it says.
        package var isSigned: Bool
    }

    /// What it answers; `204` where nothing is left of the plan.
    package struct Answer: Sendable {
        package var status: Int
        package var retryAfter: String?

        package init(_ status: Int, retryAfter: String? = nil) { (self.status, self.retryAfter) = (status, retryAfter) }
    }

    private struct State {
        var callbacks: [Callback] = []
        var plan: [Answer] = []
    }

    package static let secret = "fake-callback-secret"
    /// More are answered and not kept.
    private static let kept = 100_000
    /// Older signatures are not taken, however right they are.
    private static let secondsMax: Int64 = 300

    private let state = Mutex(State())
    private let clock: any WallClock

    package init(clock: any WallClock = SystemWallClock()) { self.clock = clock }

    package var callbacks: [Callback] { state.withLock { $0.callbacks } }

    /// The next answers, one a request.
    package func plan(_ answers: [Answer]) { state.withLock { $0.plan = answers } }

    /// - Parameter target: path and query as they stand in the request.
    func take(
        method: String, target: String, body: String, signature: String?, delivery: String?
    ) -> Answer {
        let parts = URLComponents(string: target)
        var query: [String: String] = [:]
        for item in parts?.queryItems ?? [] { query[item.name] = item.value ?? "" }
        let callback = Callback(
            path: parts?.path ?? "", method: method, query: query, body: body, delivery: delivery ?? "",
            isSigned: isSigned(signature, method: method, target: target, body: body, delivery: delivery ?? ""))
        return state.withLock { state in
            if state.callbacks.count < Self.kept { state.callbacks.append(callback) }
            return state.plan.isEmpty ? Answer(204) : state.plan.removeFirst()
        }
    }

    /// As docs/callbacks.md tells a receiver to check.
    private func isSigned(
        _ header: String?, method: String, target: String, body: String, delivery: String
    ) -> Bool {
        var parts: [Substring: Substring] = [:]
        for part in header?.split(separator: ",") ?? [] {
            let pair = part.split(separator: "=", maxSplits: 1)
            if pair.count == 2 { parts[pair[0]] = pair[1] }
        }
        guard let seconds = parts["t"].flatMap({ Int64($0) }), let given = parts["v1"].flatMap({ Hex.decode($0) }),
            (clock.now.microseconds / 1_000_000).subtractingReportingOverflow(seconds).partialValue.magnitude
                <= UInt64(Self.secondsMax)
        else { return false }
        let text = [String(seconds), delivery, method, target, body].joined(separator: "\n")
        return HMAC<SHA256>.isValidAuthenticationCode(
            Data(given), authenticating: Data(text.utf8), using: SymmetricKey(data: Data(Self.secret.utf8)))
    }

    var document: JSONValue {
        [
            "callbacks": .array(
                callbacks.suffix(1000).map { one in
                    [
                        "path": .string(one.path), "method": .string(one.method), "body": .string(one.body),
                        "query": .object(one.query.mapValues { .string($0) }), "delivery": .string(one.delivery),
                        "signed": .bool(one.isSigned),
                    ]
                })
        ]
    }
}
