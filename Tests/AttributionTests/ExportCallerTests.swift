import AsyncHTTPClient
import AurumCore
import Connectors
import Database
import Events
import Foundation
import Logging
import Runtime
import Telemetry
import TestSupport
import Testing
import Validation

/// Files of exports on their way to a real receiver.
struct ExportCallerTests {
    private static func exports(_ world: CallbackWorld, _ caller: ExportCaller) async throws -> ExportService {
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let exports = ExportService(
            database: world.open.database,
            engine: QueryEngine(
                source: world.log.store, registry: world.open.registry, clock: world.clock, logger: quiet),
            folder: world.open.folder.file("exports"), directory: nil, freeBytesMin: 0, clock: world.clock,
            logger: quiet,
            hooks: ExportHooks(
                allowsLoopback: true, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
                registry: world.open.registry, enqueue: { _, _, _ in }, send: { await caller.send($0) }),
            enqueue: { _, _, _ in })
        try await exports.adopt()
        return exports
    }

    /// An export of one event, posted once to each address.
    @discardableResult
    private static func post(
        _ world: CallbackWorld, to urls: String..., allowLoopback: Bool, timeout: Duration = .seconds(5),
        guards: GuardBook? = nil
    ) async throws -> ExportJob {
        let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: allowLoopback))
        let caller = ExportCaller(
            client: client, guards: guards ?? Self.guards(world), clock: world.clock, timeout: timeout)
        let exports = try await exports(world, caller)
        try await world.send([["id": "e1", "type": "track", "name": "order", "user_id": "u1"]])
        for url in urls {
            _ = try await exports.create(
                [
                    "compression": "none", "target": "webhook", "url": .string(url),
                    "secret": .string(FakeReceiver.secret),
                ], org: CallbackWorld.org, actor: "key-1")
        }
        for job in try await exports.list(org: CallbackWorld.org) {
            try await exports.work(job.id, org: CallbackWorld.org)
            _ = try await exports.deliver(job.id, org: CallbackWorld.org)
            #expect(try await exports.attempts(job).count == 1)
        }
        let first = try await exports.list(org: CallbackWorld.org).first
        try await client.shutdown()
        return try #require(first)
    }

    private static func guards(_ world: CallbackWorld) -> GuardBook {
        GuardBook(registry: world.open.registry, health: HealthRegistry(clock: world.clock), clock: world.clock)
    }

    @Test func `a receiver gets the file whole, under its id, with a signature that holds`() async throws {
        try await CallbackWorld.run { world, receiver, url in
            let job = try await Self.post(world, to: url + "?from=aurum%20here", allowLoopback: true)
            #expect(job.delivery == .delivered)
            let got = try #require(receiver.callbacks.first)
            #expect(receiver.callbacks.count == 1 && got.isSigned && got.method == "POST")
            #expect(got.delivery == job.id.hex && got.body.utf8.count == job.bytes)
            #expect(got.body.contains("\"order\"") && got.body.hasSuffix("\n"))
        }
    }

    @Test func `all receivers of an organisation share one guard`() async throws {
        try await CallbackWorld.run { world, receiver, url in
            let guards = Self.guards(world)
            try await Self.post(world, to: url + "?n=1", url + "?n=2", allowLoopback: true, guards: guards)
            #expect(receiver.callbacks.count == 2)
            #expect(guards.states.map(\.name) == ["export:" + CallbackWorld.org])
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a receiver that sends a head and then nothing holds no job, and is asked again`() async throws {
        try await SilentServer.run(200) { url, heads in
            let world = try CallbackWorld(clock: ManualWallClock(Timestamp(milliseconds: CallbackWorld.start)))
            let job = try await Self.post(world, to: url, allowLoopback: true, timeout: .seconds(4))
            #expect(job.delivery == .waiting && heads.count == 1)
            await world.log.close()
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a callback whose receiver sends a head and then nothing is delivered by its status`() async throws {
        try await SilentServer.run(200) { url, heads in
            let clock = ManualWallClock(Timestamp(milliseconds: CallbackWorld.start + 2 * 86_400_000))
            let world = try CallbackWorld(clock: clock)
            _ = try await world.add("install", url + "/in")
            try await world.send(CallbackWorld.pair())
            try await world.follow()
            try await world.withDesk(timeout: .seconds(4)) { try await world.work($0) }
            #expect(try await world.only() == "delivered " && heads.count == 1)
            await world.log.close()
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a post whose server sends a head and then nothing is broken, not waited for`() async throws {
        try await SilentServer.run(200) { url, heads in
            let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: true))
            let answer = await JSONPoster(client: client).post(
                Array("{}".utf8), to: url, headers: [], timeout: .seconds(4))
            try await client.shutdown()
            #expect(heads.count == 1)
            guard case .broken("timeout") = answer else {
                Issue.record("\(answer)")
                return
            }
        }
    }

    // MARK: answers that come before the file was sent whole

    /// More than the sockets of both ends hold.
    private static let largeBytes = 32 << 20

    /// A large file on its way to a server that answers as soon as it has the head.
    /// - Returns: the answer, once nobody in this process has the file open any more.
    private static func post(
        _ answer: String, _ rest: HastyServer.Rest, timeout: Duration = .seconds(50)
    ) async throws -> ExportAnswer {
        let (folder, clock, registry) = (TemporaryFolder(), ManualWallClock(), MetricRegistry())
        let path = folder.file("large.ndjson")
        try Data(count: largeBytes).write(to: URL(fileURLWithPath: path))
        let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: true))
        let guards = GuardBook(registry: registry, health: HealthRegistry(clock: clock), clock: clock)
        let caller = ExportCaller(client: client, guards: guards, clock: clock, timeout: timeout)
        let got = try await HastyServer.run(answer, rest) { url in
            let got = await caller.send(
                ExportCall(
                    delivery: UID(now: clock.now), org: "acme", url: url + "/in", secret: FakeReceiver.secret,
                    path: path, bytes: largeBytes, contentType: "application/x-ndjson", sha256: "0",
                    fileName: "large.ndjson"))
            // The server is still there: nothing but the caller lets go of the file.
            let end = ContinuousClock.now + .seconds(30)
            while isOpen(path) {
                guard ContinuousClock.now < end else {
                    Issue.record("the file is held for ever after \(got)")
                    break
                }
                try await Task.sleep(for: .milliseconds(10))
            }
            return got
        }
        try await client.shutdown()
        return got
    }

    /// Whether this process has a file open; false where nobody can tell.
    private static func isOpen(_ path: String) -> Bool {
        let folder = "/proc/self/fd"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.contains {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)"))?.hasSuffix(path) == true
        }
    }

    private static let taken = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    @Test(.timeLimit(.minutes(2)))
    func `a receiver that refuses a file before it has it is believed, and nothing is held for it`() async throws {
        let refused = try await Self.post("HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n", .leftUnread)
        #expect(refused == .refused(reason: "http_413", status: 413))
        let busy = try await Self.post(
            "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno", .leftUnread)
        #expect(busy == .failed(reason: "http_503", status: 503, retryAfter: .seconds(7)))
    }

    @Test(.timeLimit(.minutes(2)))
    func `a file is not delivered before it was sent whole, whatever the receiver says`() async throws {
        let ways: [(HastyServer.Rest, Duration)] = [
            (.leftUnread, .seconds(4)), (.cutOff(after: 4 << 20), .seconds(50)),
        ]
        for (rest, timeout) in ways {
            let answer = try await Self.post(Self.taken, rest, timeout: timeout)
            guard case .failed(_, nil, nil) = answer else {
                Issue.record("\(rest): \(answer)")
                continue
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a receiver that says yes early and takes the whole file has it`() async throws {
        #expect(try await Self.post(Self.taken, .read) == .delivered(status: 200))
    }

    @Test(.timeLimit(.minutes(1)))
    func `a refusal that comes before a body was sent is read to its end`() async throws {
        let text = #"{"error":"key"}"#
        try await HastyServer.run(
            "HTTP/1.1 401 No\r\ncontent-length: \(text.utf8.count)\r\n\r\n\(text)", .leftUnread
        ) { url in
            let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: true))
            let answer = await JSONPoster(client: client).post(
                [UInt8](repeating: 32, count: Self.largeBytes), to: url, headers: [], timeout: .seconds(50))
            try await client.shutdown()
            guard case .answered(401, .some(let body), _) = answer, body["error"] == "key" else {
                Issue.record("\(answer)")
                return
            }
        }
    }

    @Test func `an address of this machine or a private network is refused for good, and nothing is sent`()
        async throws
    {
        try await CallbackWorld.run { world, receiver, url in
            let job = try await Self.post(world, to: url, allowLoopback: false)
            #expect(job.delivery == .refused)
            #expect(receiver.callbacks.isEmpty)
        }
    }
}
