internal import AsyncHTTPClient
internal import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// Calls a running server's API for the data commands.
struct ServerClient {
    let contact: ServerContact
    /// For the whole answer.
    var timeout = TimeAmount.seconds(30)

    /// Ends with the process. The shared client would try a refused connection again until its time is over.
    private static let client: HTTPClient = {
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.timeout.connect = .seconds(5)
        return HTTPClient(configuration: configuration)
    }()

    /// The parameters of a query that have values, with the question mark; empty without any.
    static func query(_ parameters: [(String, String?)]) -> String {
        let given = parameters.compactMap { name, value in value.map { "\(name)=\($0.percentEncoded)" } }
        return given.isEmpty ? "" : "?" + given.joined(separator: "&")
    }

    /// Sends a request; what keeps the server from answering becomes a sentence.
    static func send(
        _ request: HTTPClientRequest, to url: String, timeout: TimeAmount
    ) async throws -> HTTPClientResponse {
        guard let parts = URL(string: url), ["http", "https"].contains(parts.scheme), parts.host?.isEmpty == false
        else {
            throw CommandFailure("\(url) is no address of a server; give one such as http://127.0.0.1:8080")
        }
        do { return try await client.execute(request, timeout: timeout) } catch let error as HTTPClientError {
            throw CommandFailure("the server at \(url) does not answer: \(error.shortDescription)")
        } catch { throw CommandFailure("the server at \(url) cannot be reached; is it running?") }
    }

    /// Sends a request and answers its JSON; a problem document becomes a sentence.
    func call(_ method: String, _ path: String, body: JSONValue? = nil) async throws -> JSONValue {
        try await call(method, path, body.map { ByteBuffer(string: $0.canonical) }, type: "application/json")
    }

    /// The same with a body of any type.
    func call(_ method: String, _ path: String, _ body: ByteBuffer?, type: String) async throws -> JSONValue {
        var request = HTTPClientRequest(url: contact.url + path)
        request.method = .init(rawValue: method)
        // The shared client gives up on answers that compress well, and these do.
        request.headers.add(name: "accept-encoding", value: "identity")
        request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
        if let body {
            request.headers.add(name: "content-type", value: type)
            request.body = .bytes(body)
        }
        let (status, data) = try await answer(request)
        let text = data.readableBytes == 0 ? Data("null".utf8) : Data(data.readableBytesView)
        guard let answer = try? JSONDecoder().decode(JSONValue.self, from: text) else {
            throw CommandFailure("what answers at \(contact.url) is no Aurum")
        }
        guard (200..<300).contains(status) else { throw Self.failure(status, answer) }
        return answer
    }

    /// The answer to a GET as it came.
    func text(_ path: String) async throws -> String {
        var request = HTTPClientRequest(url: contact.url + path)
        request.headers.add(name: "accept-encoding", value: "identity")
        request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
        let (status, data) = try await answer(request)
        guard (200..<300).contains(status) else {
            let problem = try? JSONDecoder().decode(JSONValue.self, from: Data(data.readableBytesView))
            throw Self.failure(status, problem ?? .null)
        }
        return String(buffer: data)
    }

    private func answer(_ request: HTTPClientRequest) async throws -> (status: Int, body: ByteBuffer) {
        let response = try await Self.send(request, to: contact.url, timeout: timeout)
        return (Int(response.status.code), try await response.body.collect(upTo: 64 << 20))
    }

    private static func failure(_ status: Int, _ answer: JSONValue) -> CommandFailure {
        var sentence = answer["detail"]?.string ?? "status \(status)"
        for problem in answer["problems"]?.array ?? [] { sentence += "\n  - " + self.sentence(problem) }
        return CommandFailure(sentence)
    }

    /// One problem of many: of a field, or of a row of a file.
    private static func sentence(_ problem: JSONValue) -> String {
        guard let line = problem["line"]?.integer else {
            return "\(problem["field"]?.string ?? ""): \(problem["detail"]?.string ?? "")"
        }
        let column = problem["column"]?.string ?? ""
        return "line \(line)\(column.isEmpty ? "" : ", column \(column)"): \(problem["reason"]?.string ?? "")"
    }
}
