internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
package import Logging
internal import NIOCore
internal import ServiceLifecycle
internal import Synchronization

/// Fake lead buyers as one real HTTP server: `POST /{code}/ping`, `POST /{code}/post`, `GET /{code}/book`, `GET /book`,
/// `PUT /{code}/behaviour`. Beside them fake advertising networks under `/meta` and `/google`; `GET /networks` tells
/// what they counted. Callbacks are taken at `/callbacks/{anything}`; `GET /callbacks` tells which came.
package struct FakesServer: Service {
    package let buyers: [FakeBuyer]
    package let networks: [FakeNetwork]
    package let receiver: FakeReceiver
    private let host: String
    private let requestedPort: Int
    private let logger: Logger
    private let bound = OneTimeValue<Int>()
    /// How long a request that must never be answered is held open.
    private static let hang = Duration.seconds(120)
    private static let bodyBytesMax = 4 << 20

    /// - Parameter port: 0 takes a free one; `port()` tells which.
    package init(
        buyers: [FakeBuyerConfiguration], networks: [FakeNetwork] = FakeNetwork.Kind.allCases.map { FakeNetwork($0) },
        receiver: FakeReceiver = FakeReceiver(), host: String = "127.0.0.1", port: Int = 0, logger: Logger
    ) {
        self.buyers = buyers.map { FakeBuyer($0) }
        (self.networks, self.receiver) = (networks, receiver)
        self.host = host
        requestedPort = port
        self.logger = logger
    }

    /// The two buyers of the demo: one pays well for good leads and scatters, one pays evenly.
    package static var demoBuyers: [FakeBuyerConfiguration] {
        [
            FakeBuyerConfiguration(code: "helios", bidCents: 9_000...26_000, seed: 11),
            FakeBuyerConfiguration(code: "brightroof", bidCents: 14_000...21_000, seed: 23),
        ]
    }

    package func buyer(_ code: String) -> FakeBuyer? { buyers.first { $0.code == code } }

    package func network(_ kind: FakeNetwork.Kind) -> FakeNetwork? { networks.first { $0.kind == kind } }

    /// The port in use, as soon as the server listens.
    package func port() async throws -> Int { try await bound.value() }

    package func run() async throws {
        let router = Router()
        addRoutes(to: router)
        addNetworks(to: router)
        addReceiver(to: router)
        let app = Application(
            router: router,
            configuration: .init(address: .hostname(host, port: requestedPort), serverName: "aurum-fakes"),
            onServerRunning: { channel in bound.resolve(channel.localAddress?.port ?? 0) }, logger: logger)
        do {
            try await app.run()
            bound.fail(FakesError.stopped)
        } catch {
            bound.fail(error)
            throw error
        }
    }

    /// Runs a server on a free port around `body` and stops it afterwards.
    package static func withRunning<Result: Sendable>(
        buyers: [FakeBuyerConfiguration],
        networks: [FakeNetwork] = FakeNetwork.Kind.allCases.map { FakeNetwork($0) },
        receiver: FakeReceiver = FakeReceiver(),
        _ body: (_ server: FakesServer, _ baseURL: String) async throws -> Result
    ) async throws -> Result {
        var logger = Logger(label: "aurum.fakes")
        logger.logLevel = .critical
        let server = FakesServer(buyers: buyers, networks: networks, receiver: receiver, logger: logger)
        var configuration = ServiceGroupConfiguration(services: [server], logger: logger)
        configuration.maximumGracefulShutdownDuration = .seconds(2)
        let group = ServiceGroup(configuration: configuration)
        return try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let result: Swift.Result<Result, any Error>
            do {
                let port = try await server.port()
                result = .success(try await body(server, "http://127.0.0.1:\(port)"))
            } catch { result = .failure(error) }
            await group.triggerGracefulShutdown()
            // How it stops no longer matters: the work is done.
            while let stopped = await tasks.nextResult() { _ = stopped }
            return try result.get()
        }
    }

    private func addRoutes(to router: Router<BasicRequestContext>) {
        router.get("/book") { _, _ in
            jsonResponse(200, .object(["buyers": .array(buyers.map(bookDocument))]))
        }
        router.get("/:code/book") { _, context in
            guard let buyer = buyer(try context.parameters.require("code")) else { throw HTTPError(.notFound) }
            return jsonResponse(200, bookDocument(buyer))
        }
        router.put("/:code/behaviour") { request, context in
            let body = try await document(of: request)
            guard let buyer = buyer(try context.parameters.require("code")),
                let behaviour = BuyerBehaviour(rawValue: body?["behaviour"]?.string ?? "")
            else { throw HTTPError(.notFound) }
            buyer.setBehaviour(behaviour)
            return jsonResponse(200, ["behaviour": .string(behaviour.rawValue)])
        }
        router.post("/:code/ping") { request, context in
            guard let buyer = buyer(try context.parameters.require("code")) else { throw HTTPError(.notFound) }
            return try await send(buyer.ping(try await document(of: request)))
        }
        router.post("/:code/post") { request, context in
            guard let buyer = buyer(try context.parameters.require("code")),
                let name = HTTPField.Name("Idempotency-Key")
            else { throw HTTPError(.notFound) }
            return try await send(buyer.post(try await document(of: request), key: request.headers[name] ?? ""))
        }
    }

    private func addNetworks(to router: Router<BasicRequestContext>) {
        router.get("/networks") { _, _ in
            jsonResponse(200, ["networks": .array(networks.map(\.document))])
        }
        if let meta = network(.meta) {
            router.post("/meta/:version/:pixel/events") { request, _ in
                let authorization = request.headers[.authorization]
                return try await send(meta.metaEvents(try await document(of: request), authorization: authorization))
            }
            router.get("/meta/:version/:pixel") { request, context in
                let pixel = try context.parameters.require("pixel")
                return try await send(meta.metaPixel(pixel, authorization: request.headers[.authorization]))
            }
        }
        if let google = network(.google) {
            router.post("/google/v1/events:ingest") { request, _ in
                let authorization = request.headers[.authorization]
                return try await send(
                    google.googleEvents(try await document(of: request), authorization: authorization))
            }
            router.post("/google/token") { request, _ in
                let form = try await request.body.collect(upTo: FakesServer.bodyBytesMax)
                return try await send(google.googleToken(String(buffer: form)))
            }
        }
    }

    private func addReceiver(to router: Router<BasicRequestContext>) {
        router.get("/callbacks") { _, _ in jsonResponse(200, receiver.document) }
        router.get("/callbacks/:name") { request, _ in try await take(request) }
        router.post("/callbacks/:name") { request, _ in try await take(request) }
    }

    private func take(_ request: Request) async throws -> Response {
        func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { request.headers[$0] } }
        let body = try await request.body.collect(upTo: FakesServer.bodyBytesMax)
        let answer = receiver.take(
            method: request.method.rawValue, target: request.head.path ?? "", body: String(buffer: body),
            signature: header("Aurum-Signature"), delivery: header("Aurum-Delivery"))
        var response = Response(status: .init(code: answer.status))
        if let wait = answer.retryAfter, let field = HTTPField.Name("Retry-After") { response.headers[field] = wait }
        return response
    }

    private func send(_ answer: FakeAnswer) async throws -> Response {
        let wait = answer.hangs ? FakesServer.hang : answer.wait
        if wait > .zero {
            try await cancelWhenGracefulShutdown { try await Task.sleep(for: wait) }
        }
        var response = Response(
            status: .init(code: answer.status), body: .init(byteBuffer: ByteBuffer(string: answer.body)))
        response.headers[.contentType] = answer.body.hasPrefix("{") ? "application/json" : "text/html"
        for (name, value) in answer.headers {
            if let field = HTTPField.Name(name) { response.headers[field] = value }
        }
        return response
    }

    private func document(of request: Request) async throws -> JSONValue? {
        let buffer = try await request.body.collect(upTo: FakesServer.bodyBytesMax)
        return try? JSONDecoder().decode(JSONValue.self, from: Data(buffer.readableBytesView))
    }

    private func bookDocument(_ buyer: FakeBuyer) -> JSONValue {
        let leads: [JSONValue] = buyer.book.map { entry in
            [
                "legId": .string(entry.legID), "leadId": .string(entry.leadID),
                "priceMinor": .integer(entry.priceCents), "currency": .string(entry.currency),
                "token": .string(entry.token), "id": .string(entry.acceptedID),
                "receivedAt": .string(entry.receivedAt),
            ]
        }
        return ["buyer": .string(buyer.code), "leads": .array(leads)]
    }

    private func jsonResponse(_ status: Int, _ value: JSONValue) -> Response {
        var response = Response(
            status: .init(code: status), body: .init(byteBuffer: ByteBuffer(string: value.canonical)))
        response.headers[.contentType] = "application/json"
        return response
    }
}

package enum FakesError: Error, Equatable { case stopped }
