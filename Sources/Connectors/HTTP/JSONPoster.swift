package import AsyncHTTPClient
package import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// Sends JSON over HTTP and knows for every request whether it began: where it did not, nothing was taken; where it
/// did and no whole answer came, nobody knows.
package struct JSONPoster: Sendable {
    package enum Exchange: Sendable {
        /// - Parameter retryAfter: what the server asked for, zero where nobody understands it; nil where it did not.
        case answered(status: Int, body: JSONValue?, retryAfter: Duration?)
        /// No byte of the body left this machine.
        case notSent(String)
        /// The request began; there is no whole answer.
        case broken(String)
    }

    /// Longest answer that is read.
    package static let answerBytesMax = 64 << 10

    private let client: HTTPClient
    private let answerBytesMax: Int

    /// - Parameter client: one that `HTTPLeadBuyer.makeClient` made, so that connections are checked and redirects are
    ///   refused.
    package init(client: HTTPClient, answerBytesMax: Int = Self.answerBytesMax) {
        (self.client, self.answerBytesMax) = (client, answerBytesMax)
    }

    package func post(
        _ body: [UInt8], to url: String, headers: [(String, String)], type: String = "application/json",
        timeout: Duration
    ) async -> Exchange {
        let begun = BegunFlag()
        var request = request(.POST, url, headers)
        request.headers.add(name: "Content-Type", value: type)
        request.body = .stream(WatchedBody(bytes: body, begun: begun), length: .known(Int64(body.count)))
        return await execute(request, timeout: timeout) { begun.isSet }
    }

    /// For questions that change nothing: what is not answered counts as not sent.
    package func get(_ url: String, headers: [(String, String)], timeout: Duration) async -> Exchange {
        await execute(request(.GET, url, headers), timeout: timeout) { false }
    }

    private func request(_ method: HTTPMethod, _ url: String, _ headers: [(String, String)]) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: url)
        request.method = method
        request.headers.add(name: "Accept", value: "application/json")
        request.headers.add(name: "User-Agent", value: "aurum")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        return request
    }

    private func execute(
        _ request: HTTPClientRequest, timeout: Duration, hasBegun: () -> Bool
    ) async -> Exchange {
        do {
            let (response, body) = try await client.exchange(
                request, answerBytesMax: answerBytesMax, timeout: timeout)
            let bytes = try body.get()
            let parsed = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes.readableBytesView))
            return .answered(
                status: Int(response.status.code), body: parsed,
                retryAfter: Self.retryAfter(response.headers))
        } catch {
            return hasBegun() ? .broken(Self.reason(error)) : .notSent(Self.reason(error))
        }
    }

    /// A date counts from the one of the answer: both are of the server's clock. What cannot be read asks for rest all
    /// the same, nobody knows for how long.
    private static func retryAfter(_ headers: HTTPHeaders) -> Duration? {
        guard let text = headers.first(name: "Retry-After") else { return nil }
        return RetryAfter.wait(text, now: headers.first(name: "Date").flatMap(RetryAfter.date))
            ?? RetryAfter.longest
    }

    /// A stable code; never an address or a partner's own words.
    static func reason(_ error: any Error) -> String {
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
