package import AsyncHTTPClient
package import AurumCore
internal import Crypto
internal import Foundation
package import Leads
internal import NIOCore

/// Speaks with buyers over HTTP and JSON. It knows for every post whether the request began: where it did not, nothing
/// was taken and the lead may go elsewhere; where it did, only a mapped answer counts.
package struct HTTPLeadBuyer: LeadBuyer {
    /// A connection that takes longer counts as not opened.
    static let connectTimeout: TimeAmount = .seconds(3)

    private let poster: JSONPoster
    private let clock: any WallClock

    /// - Parameter client: one that `makeClient` made, so that connections are checked and redirects are refused.
    package init(client: HTTPClient, egress: EgressGuard, clock: any WallClock) {
        poster = JSONPoster(client: client)
        self.clock = clock
    }

    /// A client that follows no redirect, opens no second connection by itself, and gives up any connection whose
    /// address the guard refuses before a byte of a request is sent. An answer that comes before its request was sent
    /// whole is held back (`EarlyAnswerHandler`). Shut it down when its owner stops.
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
                try EarlyAnswerHandler.add(to: channel)
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
        case .answered(let status, let body, let retryAfter):
            let answer = buyer.responseMap.ping(status: status, body: body, expected: buyer.currency)
            guard case .unreadable(let reason) = answer, status == 429 || status == 503, let retryAfter else {
                return answer
            }
            return .busy(reason, retryAfter: retryAfter)
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
        case .answered(let status, let body, let retryAfter):
            return buyer.responseMap.post(status: status, body: body, hasRetryAfter: retryAfter != nil)
        case .notSent(let reason): return .notSent(reason)
        case .broken(let reason): return .unknown(reason)
        }
    }

    private func send(
        _ document: JSONValue, to url: String, headers: [(String, String)], credentials: BuyerCredentials,
        timeout: Duration
    ) async -> JSONPoster.Exchange {
        let body = Array(document.canonical.utf8)
        var headers = headers
        if let token = credentials.bearerToken { headers.append(("Authorization", "Bearer \(token.exposed)")) }
        if let secret = credentials.secret { headers.append(("Aurum-Signature", signature(body, secret))) }
        return await poster.post(body, to: url, headers: headers, timeout: timeout)
    }

    /// `t=SECONDS,v1=hex(HMAC-SHA256(secret, t + "." + body))`.
    private func signature(_ body: [UInt8], _ secret: Secret) -> String {
        let seconds = clock.now.microseconds / 1_000_000
        let code = HMAC<SHA256>.authenticationCode(
            for: Data("\(seconds).".utf8) + Data(body), using: SymmetricKey(data: Data(secret.exposed.utf8)))
        return "t=\(seconds),v1=\(Hex.encode(code))"
    }
}
