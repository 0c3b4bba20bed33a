package import AurumCore
internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1
package import Telemetry

/// Answers to what never becomes a request for the router, in the form of all refusals.
package struct EdgeRefusals: Sendable {
    private let registry: MetricRegistry
    private let clock: any WallClock
    /// Bytes of an address, and of an address with all headers.
    let headerBytesMax: Int

    package init(registry: MetricRegistry, clock: any WallClock, headerBytesMax: Int) {
        self.registry = registry
        self.clock = clock
        self.headerBytesMax = headerBytesMax
    }

    /// The answer, which is the connection's last; counted as one.
    func answer(_ problem: Problem) -> (head: HTTPResponseHead, body: ByteBuffer) {
        registry.counter(.httpRejected, "unmatched", problem.code).increment()
        let requestID = RequestID.choose(nil, now: clock.now)
        let body = ByteBuffer(string: problem.document(requestID: requestID).canonical)
        var fields: HTTPFields = [
            .contentType: "application/problem+json", .contentLength: String(body.readableBytes),
            .connection: "close",
        ]
        EdgeMiddleware.finish(&fields, requestID: requestID)
        let headers = HTTPHeaders(fields.map { ($0.name.rawName, $0.value) })
        let status = HTTPResponseStatus(statusCode: problem.status.code, reasonPhrase: problem.status.reasonPhrase)
        return (HTTPResponseHead(version: .http1_1, status: status, headers: headers), body)
    }
}
