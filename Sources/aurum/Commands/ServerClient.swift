internal import AsyncHTTPClient
internal import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// Calls a running server's API for the data commands.
struct ServerClient {
    let contact: ServerContact

    /// Sends a request and answers its JSON; a problem document becomes a sentence.
    func call(_ method: String, _ path: String, body: JSONValue? = nil) async throws -> JSONValue {
        var request = HTTPClientRequest(url: contact.url + path)
        request.method = .init(rawValue: method)
        // The shared client gives up on answers that compress well, and these do.
        request.headers.add(name: "accept-encoding", value: "identity")
        request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body.canonical))
        }
        let response: HTTPClientResponse
        do {
            response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        } catch { throw CommandFailure("the server at \(contact.url) does not answer: \(error)") }
        let data = try await response.body.collect(upTo: 64 << 20)
        let answer =
            data.readableBytes == 0
            ? .null : try JSONDecoder().decode(JSONValue.self, from: Data(data.readableBytesView))
        guard (200..<300).contains(Int(response.status.code)) else {
            var sentence = answer["detail"]?.string ?? "status \(response.status.code)"
            for problem in answer["problems"]?.array ?? [] {
                sentence += "\n  - \(problem["field"]?.string ?? ""): \(problem["detail"]?.string ?? "")"
            }
            throw CommandFailure(sentence)
        }
        return answer
    }
}
