internal import AurumCore
internal import Foundation

/// Postbacks over the network, and the attribution command on a file whose answer is known.
extension CheckList {
    static let attribution: [Check] = [
        Check(
            id: "A01", title: "postbacks of Apple's ad networks: verdicts, duplicates, forgeries", phase: "integration",
            suites: ["attribution", "security"],
            threshold: "a golden postback is valid and counts once; every tampered one is invalid and claims nothing",
            source: "attribution specification", body: postbacks),
        Check(
            id: "A02", title: "the attribution command on a file with a known answer", phase: "integration",
            suites: ["attribution"], threshold: "credits to 1e-9, exit codes 0, 2 and 3",
            source: "attribution specification", body: command),
        Check(
            id: "A03", title: "spend is imported once and meets the revenue of its campaign", phase: "integration",
            suites: ["attribution", "leads"],
            threshold: "the same file twice changes nothing; ROAS, CPA and CTR as by own arithmetic; to the minor unit",
            source: "attribution specification", body: spend),
        Check(
            id: "A04", title: "conversions reach networks once, and those who refuse never", phase: "integration",
            suites: ["attribution", "leads"],
            threshold: "two networks hold the price of the one who may be sent, nothing of GPC and denied advertising",
            source: "attribution specification", body: uploads),
        Check(
            id: "A05", title: "installs are matched as they were made, and a link's payload is given once",
            phase: "integration", suites: ["attribution"],
            threshold: "method and touch of 240 installs as known beforehand; click, redirect, payload, install agree",
            source: "attribution specification", body: installs),
        Check(
            id: "A06", title: "networks' claims stand beside our evidence and change no credit", phase: "integration",
            suites: ["attribution", "leads"],
            threshold:
                "one sale with a click of one network and a view of another, by hand; credit as before the claims",
            source: "attribution specification", body: claims),
        Check(
            id: "A07", title: "a campaign above its cap raises an alert and a pause that is acknowledged",
            phase: "integration", suites: ["attribution"],
            threshold:
                "none at 1.1 caps, one alert and one pause a minor unit above within 60 s, cleared when put right",
            source: "attribution specification", body: stops),
        Check(
            id: "A08", title: "a network is told of an install, a purchase and a sale by its own address, signed",
            phase: "integration", suites: ["attribution", "leads"],
            threshold: "each of the three once, click id and value as known; nothing of denied advertising",
            source: "attribution specification", body: callbacks),
        Check(
            id: "A09", title: "a run over the event log credits as by hand", phase: "integration",
            suites: ["attribution"],
            threshold: "two sales of four journeys under six models, to the cent and the millionth; totals 100.01",
            source: "attribution specification", seconds: 150, body: logRuns),
        Check(
            id: "A10", title: "cohorts hold the persons, spend and revenue that were made", phase: "integration",
            suites: ["attribution", "leads"],
            threshold: "size, spend, revenue, LTV and ROAS of three cohorts to the minor unit; a person in one of them",
            source: "attribution specification", body: cohorts),
        Check(
            id: "A11", title: "clicks beyond what a person makes are rejected with the reason, and credited nothing",
            phase: "integration", suites: ["attribution", "security"],
            threshold: "5 of 25 clicks in a minute and one half a second before its install rejected, no other",
            source: "attribution specification", body: fraud),
    ]

    private static let golden: [String: JSONValue] = [
        "version": "4.0", "ad-network-id": "com.example", "source-identifier": "39", "app-id": 525_463_029,
        "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e31", "redownload": false,
        "source-domain": "example.com", "fidelity-type": 1, "did-win": true, "postback-sequence-index": 0,
        "coarse-conversion-value": "high",
        "attribution-signature":
            "MEUCIQD4rX6eh38qEhuUKHdap345UbmlzA7KEZ1bhWZuYM8MJwIgMnyiiZe6heabDkGwOaKBYrUXQhKtF3P/ERHqkR/XpuA=",
    ]
    private static let receivers = [
        "/.well-known/skadnetwork/report-attribution", "/.well-known/appattribution/report-attribution/",
        "/v1/postbacks/skadnetwork", "/v1/postbacks/adattributionkit",
    ]

    @Sendable private static func postbacks(_ context: CheckContext, _ findings: Findings) async throws {
        let open = context.client(nil)
        func received(_ state: String) async throws -> Int64 {
            let answer = try await context.call { try await context.admin.get("/v1/attribution/postbacks?limit=1") }
            findings.expect(answer.status == 200, "the list is answered \(answer.status) \(answer.code)")
            return (answer.json["totals"]?.array ?? []).filter { $0["state"]?.string == state }
                .compactMap { $0["postbacks"]?.integer }.reduce(0, +)
        }
        for path in receivers {
            let answer = try await context.call { try await open.post(path, .object(golden)) }
            findings.expect(
                answer.status == 200 && answer.json["verdict"] == "valid",
                "POST \(path) answers \(answer.status) \(answer.text.prefix(200))")
        }
        let counted = try await received("counted")
        findings.expect(counted >= 1, "nothing is counted")
        let forgeries: [(String, JSONValue)] = [
            ("did-win", .bool(false)), ("app-id", 525_463_028), ("source-identifier", "38"),
            ("transaction-id", .string("forged-\(context.runID)")), ("postback-sequence-index", 1),
        ]
        for (field, value) in forgeries {
            var forged = golden
            forged[field] = value
            let answer = try await context.call { try await open.post(receivers[0], .object(forged)) }
            findings.expect(
                answer.status == 200 && answer.json["verdict"] == "invalid" && answer.json["state"] == "refused",
                "a forged \(field) is answered \(answer.status) \(answer.text.prefix(200))")
        }
        var claimed = golden
        claimed["country-code"] = .string("check \(context.runID)")
        let copy = try await context.call { try await open.post(receivers[0], .object(claimed)) }
        findings.expect(
            copy.json["state"] == "duplicate" && copy.json["verdict"] == "valid",
            "an unsigned change is answered \(copy.text.prefix(200))")
        findings.expect(try await received("counted") == counted, "a forgery or a copy was counted")
        let broken = try await context.call {
            try await open.send("POST", receivers[0], body: Array("{\"version\":".utf8))
        }
        findings.expect(broken.status == 400, "a broken body is answered \(broken.status)")
        let large = try await context.call {
            try await open.send("POST", receivers[0], body: [UInt8](repeating: 32, count: 20_000))
        }
        findings.expect(large.status == 413, "a body of 20,000 bytes is answered \(large.status)")
    }

    @Sendable private static func command(_ context: CheckContext, _ findings: Findings) async throws {
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("aurum-paths-\(UUID().uuidString.lowercased()).csv")
        defer { try? FileManager.default.removeItem(at: file) }
        func run(_ text: String) async throws -> (status: Int32, json: JSONValue) {
            try Data(text.utf8).write(to: file)
            findings.sent(1)
            let arguments = ["attribute", file.path, "--models", "linear,markov1,shapley", "--format", "json"]
            let (status, output) = try await ownCommand(arguments)
            return (status, (try? JSONDecoder().decode(JSONValue.self, from: output)) ?? .null)
        }
        let (status, json) = try await run("path,total_conversions,total_null\na > b,1,0\na,1,1\nb,0,1\n")
        findings.expect(status == 0, "the command ends with \(status)")
        // P = 3/4·(1/3 + 1/6) + 1/8 = 1/2; without a 1/8, without b 1/4.
        let (a, b) = (0.75, 0.5)
        let known: [(String, String, String, Double)] = [
            ("linear", "a", "conversions", 1.5), ("linear", "b", "conversions", 0.5),
            ("shapley", "a", "conversions", 1.5), ("markov1", "a", "removalEffect", a),
            ("markov1", "b", "removalEffect", b), ("markov1", "a", "conversions", 2 * a / (a + b)),
            ("markov1", "b", "conversions", 2 * b / (a + b)),
        ]
        for (model, name, member, expected) in known {
            let found = json.at("models", model, "channels", name, member)?.double ?? .nan
            findings.expect(
                (found - expected).magnitude < 1e-9, "\(model) \(name) \(member) is \(found), not \(expected)")
        }
        let bad = try await run("path,total_conversions,total_null\na,x,1\n")
        findings.expect(bad.status == 2, "a file without a good row ends with \(bad.status)")
        let nothing = try await run("path,total_conversions,total_null\na,0,1\n")
        findings.expect(nothing.status == 3, "a file without conversions ends with \(nothing.status)")
    }

    /// Runs this program with other arguments; its status and standard output.
    private static func ownCommand(_ arguments: [String]) async throws -> (Int32, Data) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: SpawnedServer.ownBinary)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        let exited = OneTimeValue<Int32>()
        process.terminationHandler = { exited.resolve($0.terminationStatus) }
        try process.run()
        // The answer is a few hundred bytes and fits into the pipe.
        let status = try await exited.value()
        return (status, output.fileHandleForReading.readDataToEndOfFile())
    }
}
