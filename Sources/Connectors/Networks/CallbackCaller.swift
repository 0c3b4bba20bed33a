package import AsyncHTTPClient
package import Attribution
package import AurumCore
internal import Crypto
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
package import Runtime

/// Sends callbacks over HTTP, signed, and gives up on a receiver that does not answer. Only the status of an answer
/// counts; what a receiver writes is not kept.
package struct CallbackCaller: CallbackSink {
    package static let timeout: Duration = .seconds(10)
    private static let answerBytesMax = 64 << 10

    private let client: HTTPClient
    private let guards: GuardBook
    private let clock: any WallClock
    private let timeout: Duration

    /// - Parameter client: one that `HTTPLeadBuyer.makeClient` made, so that connections are checked and redirects are
    ///   refused.
    package init(
        client: HTTPClient, guards: GuardBook, clock: any WallClock, timeout: Duration = Self.timeout
    ) {
        (self.client, self.guards, self.clock, self.timeout) = (client, guards, clock, timeout)
    }

    package func send(_ call: CallbackCall) async -> CallbackOutcome {
        var options = GuardOptions()
        // Every try is a delivery's own, with a record.
        options.triesMax = 1
        options.judgesSlowness = false
        let lost = CallbackOutcome.failed(reason: GuardRefusal.injectedReason, status: nil, retryAfter: nil)
        do throws(GuardRefusal) {
            return try await guards.guard("callback:\(call.callback.hex)").call(
                within: timeout, options, lost: lost, judge: Self.judge
            ) { left in await execute(call, timeout: left) }
        } catch {
            var wait: Duration?
            if case .breakerOpen(let retryAfter) = error { wait = retryAfter }
            return .failed(reason: error.reason, status: nil, retryAfter: wait)
        }
    }

    private static func judge(_ outcome: CallbackOutcome) -> GuardJudgement {
        switch outcome {
        case .delivered, .refused: .good
        // One that asks for patience is there.
        case .failed(_, let status, _): status.map { $0 < 500 } ?? false ? .good : .bad
        }
    }

    private func execute(_ call: CallbackCall, timeout: Duration) async -> CallbackOutcome {
        var request = HTTPClientRequest(url: call.request.url)
        request.method = call.request.method == .get ? .GET : .POST
        request.headers.add(name: "User-Agent", value: "aurum")
        request.headers.add(name: "Aurum-Delivery", value: call.delivery.hex)
        if let secret = call.secret {
            request.headers.add(name: "Aurum-Signature", value: signature(call, secret))
        }
        if let body = call.request.body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body))
        }
        do {
            // The body is read so that the connection can be used again; a longer or later one is cut off with it.
            let (response, _) = try await client.exchange(
                request, answerBytesMax: Self.answerBytesMax, timeout: timeout)
            let wait = response.headers.first(name: "Retry-After").flatMap { RetryAfter.wait($0, now: clock.now) }
            return CallbackOutcome(status: Int(response.status.code), retryAfter: wait)
        } catch {
            return .failed(reason: JSONPoster.reason(error), status: nil, retryAfter: nil)
        }
    }

    /// `t=SECONDS,v1=hex(HMAC-SHA256(secret, text))`; the text is seconds, delivery id, method, path with query as they
    /// stand in the request, and body, each on a line of its own.
    private func signature(_ call: CallbackCall, _ secret: String) -> String {
        let seconds = clock.now.microseconds / 1_000_000
        let text = [
            String(seconds), call.delivery.hex, call.request.method.rawValue, Self.target(call.request.url),
            call.request.body ?? "",
        ].joined(separator: "\n")
        let code = HMAC<SHA256>.authenticationCode(
            for: Data(text.utf8), using: SymmetricKey(data: Data(secret.utf8)))
        return "t=\(seconds),v1=\(Hex.encode(code))"
    }

    /// Path and query of an address, as the client writes them.
    static func target(_ url: String) -> String {
        guard let url = URL(string: url) else { return "/" }
        let path = URLComponents(url: url, resolvingAgainstBaseURL: true)?.percentEncodedPath ?? url.path
        return (path.isEmpty ? "/" : path) + (url.query.map { "?\($0)" } ?? "")
    }
}
