internal import Accounts
internal import AurumCore
internal import Crypto
internal import Database
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Leads
internal import NIOCore
internal import Runtime

/// Leads: taking them in, and reading what became of them.
struct LeadRoutes: Sendable {
    let access: Access
    let parts: GatewayParts

    static let bodyBytesMax = 262_144
    private static let missing = Problem.notFound(code: "lead_unknown", detail: "There is no such lead.")
    private static let example: JSONValue = [
        "type": "rooftop",
        "contact": ["name": "Ana Diaz", "phone": "917-555-0143", "email": "ana@example.com", "zip": "11215"],
        "attributes": ["bill": 24_000, "ownership": "owner", "timeline": "under3Months"],
        "source": ["campaign": "brooklyn-solar", "utm_source": "google", "utm_medium": "cpc"],
    ]

    func register(in book: RouteBook) {
        book.post(
            "/v1/leads",
            RouteDescription(
                "Takes a lead in; the same Idempotency-Key gives the first answer.", tag: "leads", scope: .leadsWrite,
                success: 201, body: Self.example)
        ) { try await accept($0, $1) }
        book.get(
            "/v1/leads",
            RouteDescription(
                "Leads, newest first.", tag: "leads", scope: .leadsRead,
                query: ["limit": "1 to 200, 50 unless told.", "before": "An id: only older leads."])
        ) { request, _ in
            let principal = try access.require(.leadsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...200, standard: 50)
            var before: UID?
            if let text = RequestInput.text("before", request) {
                guard let id = UID(text) else { throw Problem.badQuery(name: "before", detail: "must be a lead's id.") }
                before = id
            }
            let leads = try await parts.leads.list(org: principal.org, limit: limit, before: before)
            return .json(["leads": .array(leads)])
        }
        reading("", "One lead with its legs.", in: book) { try await parts.leads.read(org: $0, id: $1) }
        reading("/score", "The score with its reasons.", in: book) { try await parts.leads.score(org: $0, id: $1) }
        reading("/decision", "How it was sold: bids, formula values, sentence.", in: book) {
            try await parts.leads.decision(org: $0, id: $1)
        }
        reading("/timeline", "Every step, oldest first.", in: book) { org, id in
            guard try await parts.leads.read(org: org, id: id) != nil else { return nil }
            return ["timeline": .array(try await parts.leads.timeline(org: org, id: id))]
        }
        book.get(
            "/v1/leads/{id}/certificate",
            RouteDescription("The sealed consent certificate.", tag: "leads", scope: .leadsRead)
        ) { request, context in
            let principal = try access.require(.leadsRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            guard let file = try await parts.leads.certificate(org: principal.org, id: id) else {
                throw Problem.notFound(code: "certificate_unknown", detail: "This lead has no consent certificate.")
            }
            return Response(
                status: .ok, headers: [.contentType: "application/json"],
                body: .init(byteBuffer: ByteBuffer(string: file)))
        }
    }

    private func reading(
        _ suffix: String, _ summary: String, in book: RouteBook,
        _ read: @escaping @Sendable (String, UID) async throws -> JSONValue?
    ) {
        book.get("/v1/leads/{id}\(suffix)", RouteDescription(summary, tag: "leads", scope: .leadsRead)) {
            request, context in
            let principal = try access.require(.leadsRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            guard let document = try await read(principal.org, id) else { throw Self.missing }
            return .json(document)
        }
    }

    private func accept(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try access.require(.leadsWrite, request)
        let body = try await RequestInput.json(request, limit: Self.bodyBytesMax)
        let now = parts.clock.now
        do {
            var draft = try LeadBody.draft(
                from: body, org: principal.org, idempotencyKey: request.headers[.idempotencyKey],
                policies: parts.policies,
                now: now)
            draft.fingerprint = Hex.encode(SHA256.hash(data: Data(body.canonical.utf8)))
            let intake = parts.intake
            let accepted = draft
            let key = try request.idempotencyKey("POST /v1/leads", org: principal.org, body: body)
            let answer = try await parts.database.write("leads.accept") { tx in
                try tx.once(key) {
                    KeptAnswer(status: 201, body: try intake.accept(accepted, in: tx).json.canonical)
                }
            }
            return .kept(answer)
        } catch let error as LeadIntakeError { throw Problem(error) } catch let error as JobError {
            throw Problem(error)
        }
    }
}

extension Problem {
    init(_ error: LeadIntakeError) {
        switch error {
        case .unknownType:
            self = .invalid([FieldProblem(field: "type", detail: "is no lead type that has a score policy")])
        case .keyReused:
            self = .conflict(
                code: "idempotency_key_reused", detail: "This key or id was used before with another body.")
        case .invalid(let problems):
            self = .invalid(problems.map { FieldProblem(field: $0.field, detail: $0.detail) })
        }
    }
}
