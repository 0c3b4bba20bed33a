internal import AurumCore
internal import Foundation

/// The API as a document, and what it says to nonsense.
extension CheckList {
    static let interface: [Check] = [
        Check(
            id: "G03", title: "OpenAPI lists every route; other versions are refused", phase: "integration",
            suites: ["events", "leads", "conversation"],
            threshold: "every contracted route documented and answering; unknown version 404 with hint",
            source: "architecture review", body: openAPI),
        Check(
            id: "G04", title: "300 bad inputs over all routes", phase: "integration",
            suites: ["security", "events", "leads"],
            threshold: "100 % refused or quarantined with a code, 0 × 5xx", source: "architecture review",
            body: badInputs),
    ]

    /// What the API's contract promises. Source: the HTTP API of the foundation.
    private static let contracted: [(method: String, path: String)] = [
        ("post", "/v1/events"), ("get", "/v1/events"), ("post", "/v1/batch"), ("post", "/v1/track"),
        ("post", "/v1/identify"), ("post", "/v1/page"), ("post", "/v1/screen"), ("post", "/v1/group"),
        ("post", "/v1/alias"), ("get", "/v1/receipts/{receipt}"), ("get", "/v1/events/{id}/outcome"),
        ("post", "/v1/installs"), ("post", "/beacon/v1/batch"), ("post", "/batch/"), ("post", "/capture/"),
        ("post", "/i/v0/e/"), ("post", "/e/"), ("post", "/flags/"), ("post", "/decide/"), ("post", "/mp/collect"),
        ("post", "/debug/mp/collect"), ("get", "/v1/px.gif"), ("get", "/v1/click"),
        ("get", "/v1/chat"), ("post", "/v1/leads"), ("get", "/v1/leads"), ("get", "/v1/leads/{id}"),
        ("get", "/v1/buyers"), ("put", "/v1/buyers/{code}"), ("get", "/v1/ledger"), ("get", "/v1/overview"),
        ("get", "/v1/live"), ("get", "/v1/explain/{leg}"), ("get", "/v1/keys"), ("post", "/v1/keys"),
        ("delete", "/v1/keys/{id}"), ("get", "/health/live"), ("get", "/health/ready"),
    ]

    @Sendable private static func openAPI(_ context: CheckContext, _ findings: Findings) async throws {
        let document = try await context.call { try await context.client(nil).get("/openapi.json") }
        findings.expect(document.status == 200, "GET /openapi.json answered \(document.status)")
        let paths = document.json["paths"]?.object ?? [:]
        findings.expect(document.json["openapi"]?.string?.hasPrefix("3.1") ?? false, "it is not OpenAPI 3.1")
        for route in contracted {
            findings.expect(
                paths[route.path]?[route.method] != nil, "\(route.method.uppercased()) \(route.path) is not documented")
        }
        for (path, operations) in paths.sorted(by: { $0.key < $1.key }) {
            guard operations["get"] != nil, !path.contains("{") else { continue }
            let answer = try await context.call { try await context.client(nil).get(path) }
            findings.expect(
                answer.status < 500 && answer.status != 405 && (answer.status != 404),
                "documented GET \(path) answers \(answer.status) \(answer.code)")
        }
        findings.measure(
            Measure(
                "operations documented", Double(paths.values.reduce(0) { $0 + ($1.object?.count ?? 0) }), "", .atLeast,
                bar: Double(contracted.count), n: 1))
        for path in ["/v2/events", "/v9/leads", "/v0/overview"] {
            let answer = try await context.call { try await context.client(nil).get(path) }
            findings.expect(
                answer.status == 404 && answer.code == "unknown_version",
                "GET \(path) answers \(answer.status) \(answer.code)")
            findings.expect(answer.json["detail"]?.string?.contains("/v1") ?? false, "GET \(path) gives no hint at /v1")
        }
    }

    /// Bodies that nobody should send, and things in paths that nobody should ask for.
    private static func badBodies(_ random: inout SeededRandom) -> [[UInt8]] {
        var noise = [UInt8](repeating: 0, count: 200)
        for index in noise.indices { noise[index] = UInt8.random(in: .min ... .max, using: &random) }
        return [
            [], Array("{".utf8), Array("null".utf8), Array("[]".utf8), Array("\"text\"".utf8), Array("{\"a\":1}".utf8),
            noise,
            Array("{\"type\":{\"$ne\":null},\"contact\":[],\"scopes\":5,\"id\":true}".utf8),
            Array((String(repeating: "[", count: 2000) + String(repeating: "]", count: 2000)).utf8),
            Array("{\"id\":\"\u{0}\",\"type\":\"<script>alert(1)</script>\",\"name\":\"'; DROP TABLE leads;--\"}".utf8),
            [0x7B, 0x22, 0xFF, 0xFE, 0x22, 0x3A, 0x31, 0x7D], Array("{\"value\":1e999999,\"limit\":-1}".utf8),
        ]
    }

    private static let badValues = [
        "..%2f..%2fetc%2fpasswd", "%00", "'%20OR%201=1--", String(repeating: "9", count: 400), "%F0%9F%92%A9", "-1",
        "{id}",
    ]

    @Sendable private static func badInputs(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("g04")
        let all = try await context.key(
            org.name,
            [
                "events:write", "events:read", "leads:write", "leads:read", "ledger:read", "analytics:read",
                "buyers:write", "campaigns:write", "conversations:read", "conversations:reply",
            ])
        let client = context.client(all)
        let document = try await context.call { try await client.get("/openapi.json") }
        var random = SeededRandom(seed: context.seed)
        var requests: [(method: String, path: String, body: [UInt8]?)] = []
        for (path, operations) in (document.json["paths"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            for method in (operations.object ?? [:]).keys.sorted() where path != "/v1/keys/{id}" {
                let upper = method.uppercased()
                if path.contains("{") {
                    for value in badValues {
                        requests.append((upper, filled(path, value), upper == "GET" ? nil : Array("{}".utf8)))
                    }
                }
                if upper != "GET", upper != "DELETE" {
                    for body in badBodies(&random) {
                        requests.append((upper, filled(path, "00000000000000000000000000000000"), body))
                    }
                } else if !path.contains("{") {
                    for query in ["?limit=-1", "?trace_id=zz&limit=99999999", "?app=%00&name=%FF"] {
                        requests.append((upper, path + query, nil))
                    }
                }
            }
        }
        var fives = 0
        var silent = 0
        for request in requests {
            let answer: APIAnswer
            do {
                answer = try await context.call {
                    try await client.send(request.method, request.path, body: request.body)
                }
            } catch {
                findings.expect(false, "\(request.method) \(request.path.prefix(60)) broke the connection: \(error)")
                continue
            }
            if answer.status >= 500 {
                fives += 1
                findings.expect(
                    false,
                    "\(request.method) \(request.path.prefix(60)) answered \(answer.status) to "
                        + (request.body.map { String(decoding: $0.prefix(60), as: UTF8.self) } ?? "no body")
                )
            }
            // Pages answer people with pages; the API answers programs with problem documents.
            if request.path.hasPrefix("/v1"), (400..<500).contains(answer.status), answer.code.isEmpty {
                silent += 1
                findings.expect(
                    false, "\(request.method) \(request.path.prefix(60)) answered \(answer.status) without a code")
            }
        }
        findings.measure(Measure("bad inputs sent", Double(requests.count), "", .atLeast, bar: 300, n: requests.count))
        findings.measure(Measure("answers 5xx", Double(fives), "", .equals, bar: 0, n: requests.count))
        findings.measure(Measure("refusals without a code", Double(silent), "", .equals, bar: 0, n: requests.count))
        let alive = try await context.call { try await client.get("/health/live") }
        findings.expect(alive.status == 200, "afterwards /health/live answers \(alive.status)")
    }

    private static func filled(_ path: String, _ value: String) -> String {
        path.split(separator: "/", omittingEmptySubsequences: false)
            .map { $0.hasPrefix("{") ? value : String($0) }.joined(separator: "/")
    }
}
