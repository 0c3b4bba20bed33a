internal import AurumCore

/// Who may do what, tried from outside.
extension CheckList {
    static let security: [Check] = [
        Check(
            id: "P09", title: "bad tokens, wrong scopes and foreign organisations are refused", phase: "security",
            suites: ["security"], threshold: "each refused with its code; nothing written",
            source: "platform validation",
            body: refusals)
    ]

    @Sendable private static func refusals(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p09")
        let event: JSONValue = [
            "id": .string("p09-\(context.runID)"), "type": "page", "anonymous_id": "p09", "url": "https://a/",
        ]
        let routes = ["/v1/events", "/v1/leads", "/v1/ledger", "/v1/overview", "/v1/buyers", "/v1/keys"]
        for key in [nil, "sk_nobody", "at_guess", String(repeating: "k", count: 4000)] as [String?] {
            for route in routes {
                let answer = try await context.call { try await context.client(key).get(route) }
                findings.expect(
                    answer.status == 401,
                    "GET \(route) with \(key == nil ? "no key" : "a wrong key") answers \(answer.status)")
            }
            let answer = try await context.call { try await context.client(key).events([event]) }
            findings.expect(
                answer.status == 401,
                "an event with \(key == nil ? "no key" : "a wrong key") is answered \(answer.status)")
        }
        let scopes: [(key: String, method: String, path: String)] = [
            (org.writer, "GET", "/v1/events"), (org.writer, "GET", "/v1/leads"), (org.writer, "GET", "/v1/overview"),
            (org.writer, "POST", "/v1/leads"), (org.reader, "POST", "/v1/events"), (org.reader, "POST", "/v1/leads"),
            (org.reader, "PUT", "/v1/buyers/alpha"), (org.reader, "POST", "/v1/keys"), (org.manager, "GET", "/v1/keys"),
            (org.site, "GET", "/v1/overview"), (org.site, "GET", "/v1/events"), (org.site, "POST", "/v1/leads"),
        ]
        for row in scopes {
            let body: [UInt8]? = row.method == "GET" ? nil : Array("{}".utf8)
            let answer = try await context.call {
                try await context.client(row.key).send(row.method, row.path, body: body)
            }
            findings.expect(
                answer.status == 403 && answer.code == "scope_missing",
                "\(row.method) \(row.path) with a key without the scope answers \(answer.status) \(answer.code)")
        }
        try await origins(context, findings, org, event)
        try await foreign(context, findings, org)
        let stored = try await context.call { try await org.read.get("/v1/events?anonymous_id=p09") }
        findings.expect(stored.json["events"]?.array?.isEmpty ?? false, "a refused event was stored")
    }

    private static func origins(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ event: JSONValue
    ) async throws {
        let evil = "https://evil.example"
        let answer = try await context.call { try await org.publish.events([event], headers: [("Origin", evil)]) }
        findings.expect(
            answer.status == 403 && answer.code == "origin_not_allowed",
            "a publishable key from a foreign page is answered \(answer.status) \(answer.code)")
        let socket = "ws" + context.target.url.dropFirst(4)
        let table: [(what: String, url: String, origin: String, statuses: Set<Int>)] = [
            ("a foreign origin", "\(socket)/v1/chat?site=\(org.site)", evil, [400, 403]),
            ("an unknown site key", "\(socket)/v1/chat?site=wk_nobody", context.target.url, [400, 401, 403]),
            ("no site key", "\(socket)/v1/chat", context.target.url, [400, 401, 403]),
            ("the live socket without a session", "\(socket)/v1/live", context.target.url, [400, 401, 403]),
        ]
        for row in table {
            findings.sent(1)
            do {
                let open = try await WebSocketConnection.connect(to: row.url, headers: [("Origin", row.origin)])
                await open.close()
                findings.expect(false, "\(row.what): the socket opened")
            } catch WebSocketError.refused(let status) {
                findings.expect(row.statuses.contains(status), "\(row.what): refused with \(status)")
            }
        }
    }

    private static func foreign(_ context: CheckContext, _ findings: Findings, _ org: Organisation) async throws {
        let other = try await context.organisation("p09b")
        let mark = "p09b-\(context.runID)"
        let sent = try await context.call {
            try await other.write.events([
                ["id": .string(mark), "type": "page", "anonymous_id": .string(mark), "url": "https://b/"]
            ])
        }
        findings.expect(sent.status == 202, "the other organisation's event is answered \(sent.status)")
        let receipt = sent.json["receipt"]?.string ?? ""
        for path in ["/v1/receipts/\(receipt)", "/v1/events/\(mark)/outcome"] {
            let mine = try await context.call { try await other.read.get(path) }
            findings.expect(mine.status == 200, "its own organisation reads \(path.prefix(20)) as \(mine.status)")
            let answer = try await context.call { try await org.read.get(path) }
            findings.expect(answer.status == 404, "another organisation reads \(path.prefix(20)) as \(answer.status)")
        }
        let search = try await context.call { try await org.read.get("/v1/events?anonymous_id=\(mark)") }
        findings.expect(search.json["events"]?.array?.isEmpty ?? false, "another organisation finds the event")
    }
}
