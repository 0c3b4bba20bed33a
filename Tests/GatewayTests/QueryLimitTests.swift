internal import Accounts
internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Telemetry
internal import TestSupport
import Testing

/// What a query that has no answer is told, by every route of questions.
struct QueryLimitTests {
    private static let bodies: [BehaviourKind: JSONValue] = [
        .funnel: ["last": "7d", "steps": [["where": "type = track"], ["where": "type = page"]]],
        .retention: ["last": "7d", "first": "type = track", "days": [1]],
        .cohorts: ["last": "7d", "first": "type = track", "event": "type = track", "period": "day"],
        .paths: ["last": "7d", "start": "type = track", "depth": 4], .sessions: ["last": "7d"],
    ]

    private static func harness(change: @escaping (inout QueryLimits) -> Void) async throws -> CaptureHarness {
        try await CaptureHarness(register: { book, access, log in
            var limits = QueryLimits()
            change(&limits)
            let clock = ManualWallClock()
            let engine = QueryEngine(
                source: log.store, limits: limits, registry: MetricRegistry(), clock: clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            BehaviourRoutes(access: access, questions: BehaviourService(engine: engine, clock: clock))
                .register(in: book)
        })
    }

    @Test(arguments: BehaviourKind.allCases)
    func `a question that runs out of time says so itself, with the rows it read`(kind: BehaviourKind) async throws {
        let capture = try await Self.harness { $0.duration = .zero }
        let key = try await capture.key(scopes: [.eventsWrite, .analyticsRead])
        let line = #"{"id":"e","type":"track","name":"n","user_id":"u"}"#
        #expect(try await capture.post("/v1/events", line, key: key).status == 202)
        let body = try #require(Self.bodies[kind])
        let answer = try await capture.post("/v1/query/\(kind.rawValue)", body.canonical, key: key)
        #expect(answer.status == 504 && answer.code == "query_timeout", "\(answer.status) \(answer.text)")
        #expect(answer.json["rows_scanned"]?.integer != nil)
        await capture.log.close()
    }

    @Test(arguments: ["/v1/events?user_id=nobody", "/v1/events/none/outcome"])
    func `a look-up that runs out of time says so itself, and one that does not is answered`(path: String) async throws
    {
        for (within, status, code) in [(Duration.zero, 504, "query_timeout"), (.seconds(600), 200, "")] {
            let store = try OpenDatabase(clock: ManualWallClock())
            let policies = try await EventPolicies.open(
                store.database, sealer: InstallationKeySealer(key: [UInt8](repeating: 7, count: 32)),
                quota: QuarantineQuota(bytesMax: 1 << 20))
            let capture = try await CaptureHarness(register: { book, access, log in
                EventRoutes(access: access, store: log.store, policies: policies, within: within).register(in: book)
            })
            let key = try await capture.key(scopes: [.eventsWrite, .eventsRead])
            let line = #"{"id":"none","type":"track","name":"n","user_id":"u"}"#
            #expect(try await capture.post("/v1/events", line, key: key).status == 202)
            let answer = try await capture.call(.get, path, key: key)
            #expect(answer.status == status && answer.code == code, "\(answer.status) \(answer.text)")
            #expect((answer.json["rows_scanned"] != nil) == (status == 504))
            await capture.log.close()
        }
    }

    @Test func `a question too many is told that, and not that it came too fast`() async throws {
        let capture = try await Self.harness { $0.concurrentPerOrganisation = 0 }
        let key = try await capture.key(scopes: [.analyticsRead])
        let answer = try await capture.post("/v1/query/sessions", #"{"last":"7d"}"#, key: key)
        #expect(answer.status == 429 && answer.code == "too_many_queries" && answer.header("Retry-After") == "1")
        await capture.log.close()
    }
}
