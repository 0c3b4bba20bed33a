internal import Accounts
internal import AurumCore
internal import Events
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Questions about events, answered as JSON, CSV or lines of JSON.
struct QueryRoutes: Sendable {
    let access: Access
    let engine: QueryEngine

    /// Room for lists of values in conditions.
    private static let bodyBytesMax = 256 << 10

    private static let example: JSONValue = [
        "last": "7d", "timezone": "America/New_York", "measures": ["count", "unique(person)", "sum(value)"],
        "where": ["and": [["column": "type", "op": "=", "value": "page"], ["column": "url", "op": "exists"]]],
        "group_by": ["channel"], "bucket": "day", "limit": 1000,
    ]

    func register(in book: RouteBook) {
        book.post(
            "/v1/query",
            RouteDescription(
                "Counts, distinct persons, sums and quantiles of events by groups and time; or `{\"q\": TEXT}`.",
                tag: "reports", scope: .analyticsRead, body: Self.example)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let document = try await RequestInput.json(request, limit: Self.bodyBytesMax)
            return try await answer(document, org: principal.org, request)
        }
        book.get(
            "/v1/query",
            RouteDescription(
                "The same in the text language.", tag: "reports", scope: .analyticsRead,
                query: [
                    "q": "For example: count, unique(person) where type = page by channel per day last 7d.",
                    "timezone": "An IANA name; wins over the text's.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            guard let text = RequestInput.text("q", request) else {
                throw Problem.badQuery(name: "q", detail: "must be a query such as `count by channel last 7d`.")
            }
            var document: [String: JSONValue] = ["q": .string(text)]
            if let zone = RequestInput.text("timezone", request) { document["timezone"] = .string(zone) }
            return try await answer(.object(document), org: principal.org, request)
        }
        book.get(
            "/v1/outcomes",
            RouteDescription(
                "How many events had which outcome, by reason, app, format or type.", tag: "events",
                scope: .analyticsRead,
                query: [
                    "by": "reason, app, format or type; without it the five outcomes alone.",
                    "last": "A span such as 7d; without it everything.", "from": "A date or time.",
                    "to": "A date or time, not included.", "app": "One app.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            return try await answer(Self.outcomes(request), org: principal.org, request)
        }
    }

    /// The question about outcomes that a request asks.
    private static func outcomes(_ request: Request) throws(Problem) -> JSONValue {
        var group: OutcomeQuestion.Group?
        if let by = RequestInput.text("by", request) {
            group = OutcomeQuestion.Group(rawValue: by)
            if group == nil { throw .badQuery(name: "by", detail: "must be \(OutcomeQuestion.Group.names).") }
        }
        let range = ["last", "from", "to"].map { ($0, RequestInput.text($0, request)) }
        return OutcomeQuestion.document(
            by: group, range: Dictionary(uniqueKeysWithValues: range), app: RequestInput.text("app", request))
    }

    private func answer(_ document: JSONValue, org: String, _ request: Request) async throws -> Response {
        let answer: QueryAnswer
        do throws(QueryError) {
            answer = try await engine.answer(try engine.query(document), org: org)
        } catch { throw Problem.query(error) }
        let accepted = request.headers[.accept] ?? ""
        var headers: HTTPFields = [.cacheControl: "no-store", .aurumQuery: answer.factsObject]
        let body: String
        if accepted.contains("text/csv") {
            headers[.contentType] = "text/csv; charset=utf-8; header=present"
            headers[.contentDisposition] = "attachment; filename=\"query.csv\""
            body = answer.csv
        } else if accepted.contains("ndjson") {
            headers[.contentType] = "application/x-ndjson"
            body = answer.lines
        } else {
            headers[.contentType] = "application/json"
            headers[.aurumQuery] = nil
            body = answer.json
        }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: body)))
    }
}

extension HTTPField.Name {
    /// What is said of an answer beside its rows, where the body has rows only.
    static let aurumQuery = HTTPField.Name("Aurum-Query")!
}
