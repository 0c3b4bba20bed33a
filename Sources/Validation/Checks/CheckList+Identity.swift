internal import AurumCore
internal import Foundation

/// One person under several identifiers: linked by events, merged by hand, and all of it taken back.
extension CheckList {
    static let identity: [Check] = [
        Check(
            id: "I01", title: "identify, merge and unmerge move a person's journey", phase: "integration",
            suites: ["events"],
            threshold: "visible in GET /v1/identity and the journey within 1 s; unmerge restores the earlier persons",
            source: "event contract, identity", body: personsMoveJourneys)
    ]

    @Sendable private static func personsMoveJourneys(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("i01")
        let admin = context.client(try await context.key(org.name, ["keys:manage", "events:read"]))
        let mark = context.runID.lowercased()
        let (visitor, user, other) = ("i01-a-\(mark)", "i01-u-\(mark)", "i01-v-\(mark)")
        let click =
            #"{"id":"i01-click-\#(mark)","type":"click","anonymous_id":"\#(visitor)","#
            + #""campaign":{"network":"google","name":"spring"}}"#
        let identify =
            #"{"id":"i01-identify-\#(mark)","type":"identify","anonymous_id":"\#(visitor)","user_id":"\#(user)"}"#
        try await send(context, findings, org, click)
        let before = try await person(context, admin, "user", user)
        findings.expect(before.json["links"]?.array?.isEmpty == true, "a person nobody linked has links")
        findings.expect(try await journey(context, admin, user).isEmpty, "the buyer has touches before any link")

        try await send(context, findings, org, identify)
        let linked = try await person(context, admin, "user", user)
        let links = linked.json["links"]?.array ?? []
        findings.expect(links.count == 1 && links[0]["cause"] == "identify", "identify made \(links.count) links")
        findings.expect(
            try await journey(context, admin, user) == ["i01-click-\(mark)"], "the click is not in the journey")

        let merged = try await context.call {
            try await admin.post("/v1/identity/merge", merge("user", user, "user", other))
        }
        findings.expect(merged.status == 201, "POST /v1/identity/merge answered \(merged.status) \(merged.code)")
        findings.measure(
            Measure("merge answered", merged.elapsed.seconds, "s", .below, bar: 1, n: 1))
        findings.expect(
            try await journey(context, admin, other) == ["i01-click-\(mark)"], "the merged user has no click")
        let refused = try await context.call {
            try await admin.post("/v1/identity/merge", merge("user", user, "user", "undefined"))
        }
        findings.expect(
            refused.status == 409 && refused.code == "identifier_not_linkable",
            "merging `undefined` answered \(refused.status) \(refused.code)")
        let forbidden = try await context.call {
            try await org.read.post("/v1/identity/merge", merge("user", user, "user", other))
        }
        findings.expect(forbidden.status == 403, "a key without the scope answered \(forbidden.status)")

        try await unmerge(context, findings, admin, merged.json["merge_id"]?.string ?? "")
        let back = try await person(context, admin, "user", user)
        findings.expect(
            back.json["identifiers"] == linked.json["identifiers"] && back.json["links"] == linked.json["links"],
            "after the unmerge the person is not as before")
        try await unmerge(context, findings, admin, links.first?["merge_id"]?.string ?? "")
        findings.expect(try await journey(context, admin, user).isEmpty, "the journey still has the click")
    }

    private static func send(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ line: String
    ) async throws {
        let answer = try await context.call {
            try await org.write.send(
                "POST", "/v1/events", body: Array(line.utf8), contentType: "application/x-ndjson")
        }
        findings.expect(answer.json["stored"]?.integer == 1, "the event is answered \(answer.status) \(answer.code)")
    }

    private static func person(
        _ context: CheckContext, _ client: APIClient, _ namespace: String, _ value: String
    ) async throws -> APIAnswer {
        try await context.call { try await client.get("/v1/identity?namespace=\(namespace)&value=\(value)") }
    }

    private static func journey(_ context: CheckContext, _ client: APIClient, _ user: String) async throws -> [String] {
        let answer = try await context.call {
            try await client.get("/v1/identity/journey?namespace=user&value=\(user)")
        }
        return (answer.json["touches"]?.array ?? []).compactMap { $0["event_id"]?.string }
    }

    private static func merge(_ one: String, _ value: String, _ two: String, _ other: String) -> JSONValue {
        [
            "a": ["namespace": .string(one), "value": .string(value)],
            "b": ["namespace": .string(two), "value": .string(other)], "reason": "validation",
        ]
    }

    private static func unmerge(
        _ context: CheckContext, _ findings: Findings, _ client: APIClient, _ merge: String
    ) async throws {
        let answer = try await context.call {
            try await client.post("/v1/identity/unmerge", ["merge_id": .string(merge), "reason": "validation"])
        }
        findings.expect(answer.status == 200, "POST /v1/identity/unmerge answered \(answer.status) \(answer.code)")
    }
}
