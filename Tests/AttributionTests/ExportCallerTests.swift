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

    /// An export of one event, posted once.
    private static func post(_ world: CallbackWorld, to url: String, allowLoopback: Bool) async throws -> ExportJob {
        let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: allowLoopback))
        let guards = GuardBook(
            registry: world.open.registry, health: HealthRegistry(clock: world.clock), clock: world.clock)
        let caller = ExportCaller(client: client, guards: guards, clock: world.clock, timeout: .seconds(5))
        let exports = try await exports(world, caller)
        try await world.send([["id": "e1", "type": "track", "name": "order", "user_id": "u1"]])
        _ = try await exports.create(
            ["compression": "none", "target": "webhook", "url": .string(url), "secret": .string(FakeReceiver.secret)],
            org: CallbackWorld.org, actor: "key-1")
        let id = try #require(try await exports.list(org: CallbackWorld.org).first).id
        try await exports.work(id, org: CallbackWorld.org)
        _ = try await exports.deliver(id, org: CallbackWorld.org)
        let job = try #require(try await exports.job(id, org: CallbackWorld.org))
        let attempts = try await exports.attempts(job)
        #expect(attempts.count == 1)
        try await client.shutdown()
        return job
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
