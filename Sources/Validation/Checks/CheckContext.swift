internal import AurumCore
internal import Foundation
internal import Logging

/// What a check may use: the target, keys of organisations of its own, fake buyers, the run's marker.
struct CheckContext: Sendable {
    let target: ValidationTarget
    let server: SpawnedServer?
    let fakes: FakesServer
    let fakesURL: String
    let runID: String
    let seed: UInt64
    let profile: ValidationProfile
    /// Size of the event scenarios.
    let scenario: EventScenario
    let findings: Findings
    let logger: Logger
    /// Starts a PostgreSQL server for one check; nil where its programs are not on this machine.
    var postgres: (@Sendable () async throws -> any OutsideServer)?

    /// The same run against another server.
    func on(_ target: ValidationTarget, _ server: SpawnedServer) -> CheckContext {
        CheckContext(
            target: target, server: server, fakes: fakes, fakesURL: fakesURL, runID: runID, seed: seed,
            profile: profile, scenario: scenario, findings: findings, logger: logger, postgres: postgres)
    }

    var admin: APIClient { client(target.adminToken) }

    func client(_ key: String?) -> APIClient { APIClient(target.url, key: key) }

    /// Keys of a fresh organisation, so that no check sees another's rows. The name carries the run's id.
    func organisation(_ name: String) async throws -> Organisation {
        let org = "validate-\(runID.prefix(10))-\(name)"
        return Organisation(
            name: org, target: target,
            writer: try await key(org, ["events:write"]),
            reader: try await key(
                org,
                ["events:read", "leads:read", "ledger:read", "analytics:read", "conversations:read"]),
            manager: try await key(org, ["leads:write", "buyers:write", "leads:read"]),
            site: try await key(org, ["events:write"], publishable: true))
    }

    func key(_ org: String, _ scopes: [String], publishable: Bool = false) async throws -> String {
        var body: [String: JSONValue] = [
            "name": .string("validate \(runID)"), "org": .string(org), "scopes": .array(scopes.map { .string($0) }),
        ]
        if publishable {
            body["publishable"] = true
            body["origins"] = [.string(target.url)]
        }
        let answer = try await call { try await admin.post("/v1/keys", .object(body)) }
        guard answer.status == 201, let key = answer.json["key"]?.string else {
            throw CheckError.unexpected("POST /v1/keys answered \(answer.status) \(answer.code)")
        }
        return key
    }

    /// Counts the request.
    func call(_ request: () async throws -> APIAnswer) async throws -> APIAnswer {
        findings.sent(1)
        return try await request()
    }

    /// Makes a fake buyer known to the organisation.
    func addBuyer(_ code: String, to org: Organisation, extra: [String: JSONValue] = [:]) async throws {
        var body: [String: JSONValue] = [
            "code": .string(code), "name": .string(code.capitalized), "state": "active",
            "ping": .string("\(fakesURL)/\(code)/ping"), "post": .string("\(fakesURL)/\(code)/post"),
            "leadTypes": ["rooftop"], "exclusive": true, "maxLegs": 1, "timeZone": "America/New_York",
            "currency": "USD", "reservePrice": "1.00", "caps": [], "pingTimeoutMilliseconds": 2000,
            "postTimeoutMilliseconds": 3000, "idempotent": true, "networkFeeBasisPoints": 0, "returnWindowDays": 14,
        ]
        body.merge(extra) { $1 }
        let answer = try await call { try await client(org.manager).put("/v1/buyers/\(code)", .object(body)) }
        guard (200..<300).contains(answer.status) else {
            throw CheckError.unexpected("PUT /v1/buyers/\(code) answered \(answer.status): \(answer.text.prefix(300))")
        }
    }

    /// Asks until `done` says so; the last answer either way.
    func poll(
        within: Duration, every: Duration = .milliseconds(50), _ request: () async throws -> APIAnswer,
        until done: (APIAnswer) -> Bool
    ) async throws -> APIAnswer {
        let clock = ContinuousClock()
        let deadline = clock.now + within
        while true {
            let answer = try await call(request)
            if done(answer) || clock.now >= deadline { return answer }
            try await Task.sleep(for: every)
        }
    }
}

/// An organisation made for one check.
struct Organisation: Sendable {
    let name: String
    let target: ValidationTarget
    /// events:write, server key.
    let writer: String
    let reader: String
    /// leads:write, buyers:write.
    let manager: String
    /// Publishable key of a site whose origin is the target itself.
    let site: String

    var read: APIClient { APIClient(target.url, key: reader) }
    var write: APIClient { APIClient(target.url, key: writer) }
    var manage: APIClient { APIClient(target.url, key: manager) }
    var publish: APIClient { APIClient(target.url, key: site) }
}

enum CheckError: Error, CustomStringConvertible {
    case unexpected(String)
    case tooLong(seconds: Double)

    var description: String {
        switch self {
        case .unexpected(let sentence): sentence
        case .tooLong(let seconds): "not done within \(decimal(seconds, 0)) s"
        }
    }
}
