internal import AurumCore
internal import Database
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

extension Request {
    /// The key of the header `Idempotency-Key`, bound to this route and body; nil without one.
    func idempotencyKey(_ route: String, org: String, body: JSONValue) throws(Problem) -> IdempotencyKey? {
        guard let text = headers[.idempotencyKey] else { return nil }
        guard (1...IdempotencyKey.bytesMax).contains(text.utf8.count) else {
            throw .invalid([
                FieldProblem(field: "Idempotency-Key", detail: "must be 1 to \(IdempotencyKey.bytesMax) bytes")
            ])
        }
        return IdempotencyKey(org: org, key: text, route: route, body: body.canonical)
    }
}

extension Response {
    /// A JSON answer as it was given the first time.
    static func kept(_ answer: KeptAnswer) -> Response {
        Response(
            status: answer.status == 201 ? .created : .init(code: answer.status),
            headers: [.contentType: "application/json"], body: .init(byteBuffer: ByteBuffer(string: answer.body)))
    }
}
