internal import AurumCore

/// Bodies of `POST /v1/leads` for checks.
enum LeadBodies {
    /// A rooftop lead that scores well.
    /// - Parameter number: makes contact and own id unique.
    static func rooftop(number: UInt64, traceID: String? = nil, campaign: String = "validate-brand") -> JSONValue {
        let now = SystemWallClock().now
        let persona = Persona.ideal(number: number)
        var body: [String: JSONValue] = [
            "id": .string("validate-\(number)"), "type": "rooftop",
            "contact": [
                "name": .string(persona.name), "phone": .string(persona.phone), "email": .string(persona.email),
                "zip": "11215",
            ],
            "attributes": [
                "bill": 32_000, "ownership": "owner", "homeType": "oneFamily", "zip": "11215", "borough": "Brooklyn",
                "utility": "coned", "timeline": "under3Months", "payment": "cash", "decision": "alone",
                "roofType": "flat", "shade": "none", "roofCoverage": 9000, "systemWatts": 5200,
                "annualKilowattHours": 6400, "firstTimeAnswers": 9, "ownQuestion": true,
            ],
            "source": [
                "visitor_id": .string("validate-visitor-\(number)"), "campaign": .string(campaign),
                "utm_source": "google", "utm_medium": "cpc",
            ],
            "consent": [
                "text": "I agree that solar companies may call and write to me about my request.",
                "version": "validate-1",
                "language": "en", "control": "I agree", "scope": "rooftop", "channels": ["phone", "email"],
                "at": .string(now.rfc3339), "page_url": "https://example.com/solar",
                "session_id": .string("s-\(number)"),
            ],
        ]
        body["trace_id"] = traceID.map { .string($0) }
        return .object(body)
    }
}

extension CheckContext {
    /// A number that no other lead of this or another run carries.
    func number(_ index: Int) -> UInt64 { stableHash("\(runID)-\(findingsID)") &+ UInt64(index) }

    private var findingsID: String { findings.name }

    /// Posts a lead and waits until it is sold or unsold.
    /// - Returns: its id, its row of the overview, and how long it took from the post until the lead itself said so.
    func sellLead(
        _ body: JSONValue, in org: Organisation, within: Duration = .seconds(10)
    ) async throws -> (id: String, row: JSONValue, took: Duration) {
        let clock = ContinuousClock()
        let start = clock.now
        let posted = try await call { try await org.manage.post("/v1/leads", body) }
        guard posted.status == 201, let id = posted.json["id"]?.string else {
            throw CheckError.unexpected("POST /v1/leads answered \(posted.status): \(posted.text.prefix(400))")
        }
        let (row, at) = try await settled(id, in: org, within: within)
        return (id, row, at - start)
    }

    /// Waits until the lead is sold or unsold and the overview says the same (it may be a second old); the overview's
    /// row, whatever its state, when time is up.
    func settled(
        _ id: String, in org: Organisation, within: Duration
    ) async throws -> (row: JSONValue, at: ContinuousClock.Instant) {
        let lead = try await poll(within: within, every: .milliseconds(15)) {
            try await org.read.get("/v1/leads/\(id)")
        } until: {
            ["sold", "unsold"].contains($0.json["state"]?.string ?? "")
        }
        let at = ContinuousClock().now
        let overview = try await poll(within: .seconds(3)) {
            try await org.read.get("/v1/overview")
        } until: {
            overviewRow($0, id)?["state"] == lead.json["state"]
        }
        guard overview.status == 200 else {
            throw CheckError.unexpected("GET /v1/overview answered \(overview.status) \(overview.code)")
        }
        return (overviewRow(overview, id) ?? .null, at)
    }

    private func overviewRow(_ answer: APIAnswer, _ id: String) -> JSONValue? {
        answer.json["leads"]?["recent"]?.array?.first { $0["id"]?.string == id }
    }
}

extension JSONValue {
    /// Follows object members: `at("leads", "total")`.
    func at(_ path: String...) -> JSONValue? {
        var value: JSONValue? = self
        for key in path { value = value?[key] }
        return value
    }
}
