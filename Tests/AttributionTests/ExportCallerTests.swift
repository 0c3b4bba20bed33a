import AsyncHTTPClient
import AurumCore
import Connectors
import Database
import Events
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

    @Test func `a receiver that sends a head and then nothing holds no job, and is asked again`() async throws {
        try await SilentServer.run(200) { url in
            let world = try CallbackWorld(clock: ManualWallClock(Timestamp(milliseconds: CallbackWorld.start)))
            let job = try await Self.post(world, to: url, allowLoopback: true, timeout: .milliseconds(300))
            #expect(job.delivery == .waiting)
            await world.log.close()
        }
    }

    @Test func `a callback whose receiver sends a head and then nothing is delivered by its status`() async throws {
        try await SilentServer.run(200) { url in
            let clock = ManualWallClock(Timestamp(milliseconds: CallbackWorld.start + 2 * 86_400_000))
            let world = try CallbackWorld(clock: clock)
            _ = try await world.add("install", url + "/in")
            try await world.send(CallbackWorld.pair())
            try await world.follow()
            try await world.withDesk(timeout: .milliseconds(300)) { try await world.work($0) }
            #expect(try await world.only() == "delivered ")
            await world.log.close()
        }
    }

    @Test func `a post whose server sends a head and then nothing is broken, not waited for`() async throws {
        try await SilentServer.run(200) { url in
            let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: true))
            let answer = await JSONPoster(client: client).post(
                Array("{}".utf8), to: url, headers: [], timeout: .milliseconds(300))
            try await client.shutdown()
            guard case .broken("timeout") = answer else {
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
