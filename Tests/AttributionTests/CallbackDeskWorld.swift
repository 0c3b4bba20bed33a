import AsyncHTTPClient
import Attribution
import AurumCore
import Connectors
import Database
import Events
import Foundation
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Validation

/// Everything that callbacks need: a real log, a real database, a real connector, and persons that a test knows.
struct CallbackWorld: Sendable {
    static let org = "o"
    static let start: Int64 = 1_760_000_000_000
    static let network = "everflow"

    let open: OpenDatabase
    let log: EventLog
    let jobs: SQLJobStore
    let store: CallbackStore
    let people = TestPeople()
    let refused = RefusedPersons()
    private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    var clock: ManualWallClock { open.clock }

    init(clock: ManualWallClock) throws {
        open = try OpenDatabase(clock: clock)
        log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: clock),
            clock: clock, logger: quiet)
        jobs = SQLJobStore(
            database: open.database, fences: SQLFences(database: open.database), registry: open.registry)
        store = CallbackStore(
            database: open.database, jobs: jobs, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
            allowLoopback: true, registry: open.registry)
    }

    /// A world two days after the start, and a receiver that goes by its clock.
    static func run(_ body: (CallbackWorld, FakeReceiver, _ url: String) async throws -> Void) async throws {
        let clock = ManualWallClock(Timestamp(milliseconds: start + 2 * 86_400_000))
        let receiver = FakeReceiver(clock: clock)
        try await FakesServer.withRunning(buyers: [], networks: [], receiver: receiver) { _, url in
            let world = try CallbackWorld(clock: clock)
            try await body(world, receiver, url + "/callbacks/here")
            await world.log.close()
        }
    }

    func installs(_ judge: any TouchJudge = TrustingJudge()) -> InstallAttribution {
        InstallAttribution(
            database: open.database, source: log.store, log: log.store.logIdentity, judge: judge, callbacks: store,
            clock: clock, registry: open.registry, logger: quiet)
    }

    func follow(_ judge: any TouchJudge = TrustingJudge()) async throws {
        try await InstallFollower(installs(judge)).catchUp()
    }

    func send(_ events: [JSONValue], org: String = Self.org) async throws {
        let lines = events.map(\.canonical).joined(separator: "\n")
        _ = try await log.capture.submit(
            Array(lines.utf8), format: .ndjson, source: CaptureSource(org: org, app: "shop"), receivedAt: clock.now)
    }

    /// Runs `body` with a desk that reaches the receiver.
    func withDesk(
        timeout: Duration = .seconds(5), afterSending: @escaping @Sendable () throws -> Void = {},
        _ body: (CallbackDesk) async throws -> Void
    ) async throws {
        let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: true))
        let guards = GuardBook(registry: open.registry, health: HealthRegistry(clock: clock), clock: clock)
        let (people, refused) = (people, refused)
        let desk = CallbackDesk(
            store: store,
            sink: CallbackCaller(client: client, guards: guards, clock: clock, timeout: timeout),
            people: { _, subjects in people.persons(subjects) }, refusal: { _, some in refused.refusal(some) },
            registry: open.registry, clock: clock, logger: quiet, afterSending: afterSending)
        let result: Result<Void, any Error>
        do { result = .success(try await body(desk)) } catch { result = .failure(error) }
        try await client.shutdown()
        try result.get()
    }

    /// Does everything that is due, as a process that has just started would.
    func work(_ desk: CallbackDesk) async throws {
        var configuration = JobQueue.Configuration()
        configuration.isAlone = true
        let queue = JobQueue(
            store: jobs, handlers: desk.handlers, clock: clock, registry: open.registry,
            health: HealthRegistry(clock: clock), logger: quiet, configuration: configuration)
        try await queue.start()
        try await queue.runDue()
    }

    func work() async throws { try await withDesk { try await work($0) } }

    func add(_ event: String, _ url: String, _ more: [String: JSONValue] = [:]) async throws -> UID {
        var body: [String: JSONValue] = [
            "network": .string(Self.network), "event": .string(event), "secret": .string(FakeReceiver.secret),
            "url": .string(
                url + "?c={click_id}&e={event}&v={value}&cur={currency}&t={ts}&d={delivery_id}&x={conversion_id}"),
        ]
        body.merge(more) { $1 }
        let made = try await store.create(.object(body), org: Self.org)
        return made["id"]?.string.flatMap { UID($0) } ?? UID(high: 0, low: 0)
    }

    func deliveries() async throws -> [JSONValue] {
        try await store.deliveries(CallbackFilter(), org: Self.org)["deliveries"]?.array ?? []
    }

    /// State and reason of the only delivery.
    func only() async throws -> String {
        let all = try await deliveries()
        guard all.count == 1 else { return "\(all.count) deliveries" }
        return "\(all[0]["state"]?.string ?? "") \(all[0]["reason"]?.string ?? "")"
    }

    /// A click of the network and the install that it led to an hour later.
    static func pair(
        click: String = "c1", device: String = "dev-1", install: String = "i1", _ more: [String: JSONValue] = [:]
    ) -> [JSONValue] {
        var members: [String: JSONValue] = ["device_id": .string(device), "click_id": .string(click)]
        members.merge(more) { $1 }
        return [
            event(
                "click", "t-" + install, 0,
                [
                    "click_id": .string(click), "device_id": .string(device),
                    "campaign": ["name": "spring", "network": "Everflow"],
                ]),
            event("install", install, 3_600_000, members),
        ]
    }

    static func event(_ type: String, _ id: String, _ at: Int64, _ members: [String: JSONValue] = [:]) -> JSONValue {
        var all: [String: JSONValue] = [
            "type": .string(type), "id": .string(id), "ts": .integer(start + at), "anonymous_id": .string("of-" + id),
        ]
        all.merge(members) { $1 }
        return .object(all)
    }
}

/// Who refuses advertising by a decision.
final class RefusedPersons: Sendable {
    private let known = Mutex<Set<PersonIdentifier>>([])

    func refuse(_ person: PersonIdentifier) { known.withLock { _ = $0.insert(person) } }

    func refusal(_ some: [PersonIdentifier]) -> UploadRefusal? {
        known.withLock { $0.isDisjoint(with: some) } ? nil : .noConsent
    }
}
