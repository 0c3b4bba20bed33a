package import AsyncHTTPClient
package import AurumCore
internal import Crypto
internal import Foundation
package import Leads
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// Speaks with buyers over HTTP and JSON. It knows for every post whether the request began: where it did not, nothing
/// was taken and the lead may go elsewhere; where it did, only a mapped answer counts.
package struct HTTPLeadBuyer: LeadBuyer {
    /// Longest answer that is read.
    static let answerBytesMax = 64 << 10
    /// A connection that takes longer counts as not opened.
    static let connectTimeout: TimeAmount = .seconds(3)

    private let client: HTTPClient
    private let egress: EgressGuard
    private let clock: any WallClock

    /// - Parameter client: one that `makeClient` made, so that connections are checked and redirects are refused.
    package init(client: HTTPClient, egress: EgressGuard, clock: any WallClock) {
        self.client = client
        self.egress = egress
        self.clock = clock
    }

    /// A client that follows no redirect, opens no second connection by itself, and gives up any connection whose
    /// address the guard refuses before a byte of a request is sent. Shut it down when its owner stops.
    package static func makeClient(egress: EgressGuard) -> HTTPClient {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout.connect = connectTimeout
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.idleTimeout = .seconds(4)
        configuration.decompression = .disabled
        configuration.httpVersion = .http1Only
        configuration.http1_1ConnectionDebugInitializer = { channel in
            do {
                try egress.check(channel.remoteAddress)
                return channel.eventLoop.makeSucceededVoidFuture()
            } catch {
                channel.close(promise: nil)
                return channel.eventLoop.makeFailedFuture(error)
            }
        }
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    package func ping(
        _ ping: BuyerPing, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration
    ) async -> PingAnswer {
        guard let url = buyer.ping else { return .unreadable("no_endpoint") }
        let exchange = await send(ping.json, to: url, headers: [], credentials: credentials, timeout: timeout)
        switch exchange {
        case .answered(let status, let body, _):
            return buyer.responseMap.ping(status: status, body: body, expected: buyer.currency)
        case .notSent(let reason): return .unreachable(reason)
        case .broken(let reason): return reason == "timeout" ? .late : .unreadable(reason)
        }
    }

    package func post(
        _ post: BuyerPost, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration
    ) async -> PostAnswer {
        let exchange = await send(
            post.json, to: buyer.post, headers: post.headers, credentials: credentials, timeout: timeout)
        switch exchange {
        case .answered(let status, let body, let hasRetryAfter):
            return buyer.responseMap.post(status: status, body: body, hasRetryAfter: hasRetryAfter)
        case .notSent(let reason): return .notSent(reason)
        case .broken(let reason): return .unknown(reason)
        }
    }

    private enum Exchange {
        case answered(status: Int, body: JSONValue?, hasRetryAfter: Bool)
        /// No byte of the body left this machine.
        case notSent(String)
        /// The request began; there is no whole answer.
        case broken(String)
    }

    private func send(
        _ document: JSONValue, to url: String, headers: [(String, String)], credentials: BuyerCredentials,
        timeout: Duration
    ) async -> Exchange {
        let body = Array(document.canonical.utf8)
        let begun = BegunFlag()
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/json")
        request.headers.add(name: "Accept", value: "application/json")
        request.headers.add(name: "User-Agent", value: "aurum")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let token = credentials.bearerToken {
            request.headers.add(name: "Authorization", value: "Bearer \(token.exposed)")
        }
        if let secret = credentials.secret {
            request.headers.add(name: "Aurum-Signature", value: signature(body, secret))
        }
        request.body = .stream(WatchedBody(bytes: body, begun: begun), length: .known(Int64(body.count)))
        do {
            let response = try await client.execute(request, timeout: .nanoseconds(timeout.microseconds * 1000))
            let bytes = try await response.body.collect(upTo: Self.answerBytesMax)
            let parsed = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes.readableBytesView))
            return .answered(
                status: Int(response.status.code), body: parsed,
                hasRetryAfter: response.headers.contains(name: "Retry-After"))
        } catch {
            return begun.isSet ? .broken(reason(error)) : .notSent(reason(error))
        }
    }

    /// `t=SECONDS,v1=hex(HMAC-SHA256(secret, t + "." + body))`.
    private func signature(_ body: [UInt8], _ secret: Secret) -> String {
        let seconds = clock.now.microseconds / 1_000_000
        let code = HMAC<SHA256>.authenticationCode(
            for: Data("\(seconds).".utf8) + Data(body), using: SymmetricKey(data: Data(secret.exposed.utf8)))
        return "t=\(seconds),v1=\(Hex.encode(code))"
    }

    /// A stable code; never an address or a buyer's own words.
    private func reason(_ error: any Error) -> String {
        if let refused = error as? EgressGuard.Refused { return refused.reason }
        if error is CancellationError { return "cancelled" }
        guard let known = error as? HTTPClientError else {
            return error is NIOTooManyBytesError ? "answer_too_large" : "connection_failed"
        }
        switch known {
        case .connectTimeout: return "connect_timeout"
        case .deadlineExceeded, .readTimeout, .writeTimeout: return "timeout"
        case .remoteConnectionClosed: return "connection_closed"
        case .cancelled: return "cancelled"
        default: return "connection_failed"
        }
    }
}

/// Whether the client has asked for the request's body, which it does only on an open, checked connection.
private final class BegunFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}

/// A body in one piece that notes when it is first asked for.
private struct WatchedBody: AsyncSequence, Sendable {
    let bytes: [UInt8]
    let begun: BegunFlag

    struct AsyncIterator: AsyncIteratorProtocol {
        var rest: [UInt8]?
        let begun: BegunFlag

        mutating func next() async -> ByteBuffer? {
            begun.set()
            defer { rest = nil }
            return rest.map { ByteBuffer(bytes: $0) }
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(rest: bytes, begun: begun) }
}
