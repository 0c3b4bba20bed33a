internal import Accounts
internal import Attribution
internal import AurumCore
internal import Foundation
internal import Hummingbird

/// Single conversions of runs over the log: a list, and why one was credited as it was.
extension LogAttributionRoutes {
    /// Bytes of an event id or an app's name.
    private static let nameBytesMax = 500

    func registerConversions(in book: RouteBook) {
        book.get(
            "/v1/attribution/log-conversions",
            RouteDescription(
                "Conversions that a run over the log credited, newest first, a page at a time.", tag: "attribution",
                scope: .analyticsRead,
                query: [
                    "conversion": "The conversion's name; purchase unless told.",
                    "version": "Of the result, if not the newest.",
                    "from": "Conversions at this time or later: a date or RFC 3339.", "to": "Those before this time.",
                    "limit": "1 to \(ConversionFilter.limitMax), 50 unless told.",
                    "after": "`next` of the page before.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            var filter = ConversionFilter(conversion: try Self.conversion(request, standard: "purchase") ?? "")
            filter.version = try Self.version(request)
            (filter.from, filter.to) = (try Self.moment("from", request), try Self.moment("to", request))
            if let from = filter.from, let to = filter.to, from >= to {
                throw Problem.badQuery(name: "to", detail: "must be later than from.")
            }
            filter.limit = try RequestInput.integer(
                "limit", request, in: 1...ConversionFilter.limitMax, standard: filter.limit)
            if let text = RequestInput.text("after", request) {
                guard let mark = ConversionMark(text) else {
                    throw Problem.badQuery(name: "after", detail: "must be the `next` of a page.")
                }
                filter.after = mark
            }
            let asked = filter
            return try await Self.answered {
                .json(try await parts.attribution.credited(org: principal.org, asked))
            }
        }
        book.get(
            "/v1/attribution/log-conversions/{event}/why",
            RouteDescription(
                "Why a run over the log credited a conversion as it did: every touch with its reason, and each model's "
                    + "weights and credits.",
                tag: "attribution", scope: .analyticsRead,
                query: [
                    "conversion": "The conversion's name; purchase unless told.",
                    "model": "Only this one: \(Self.storedModels).", "version": "Of the result, if not the newest.",
                    "app": "Where several apps have an event of this id.",
                ])
        ) { request, context in
            let principal = try access.require(.analyticsRead, request)
            let question = try Self.question(request, context)
            return try await Self.answered {
                .json(try await parts.attribution.why(org: principal.org, question))
            }
        }
    }

    private static func question(_ request: Request, _ context: GatewayContext) throws(Problem) -> WhyQuestion {
        let text = context.parameters.get("event") ?? ""
        let id = text.removingPercentEncoding ?? text
        guard !id.isEmpty, !id.utf8.contains(0), id.utf8.count <= nameBytesMax else {
            throw .notFound(
                code: LogAttributionError.unknownEvent.tag, detail: LogAttributionError.unknownEvent.sentence)
        }
        var question = WhyQuestion(conversion: try conversion(request, standard: "purchase") ?? "", event: id)
        question.version = try version(request)
        if let app = RequestInput.text("app", request) {
            guard !app.isEmpty, !app.utf8.contains(0), app.utf8.count <= nameBytesMax else {
                throw .badQuery(name: "app", detail: "must be the name of an app.")
            }
            question.app = app
        }
        if let name = RequestInput.text("model", request) {
            guard let model = LogModel(name: name), LogModel.stored.contains(model) else {
                throw .badQuery(name: "model", detail: "must be one of \(storedModels).")
            }
            question.model = model
        }
        return question
    }

    /// A question that finds others waiting is told so: unlike a run it is not tried again by itself.
    private static func answered(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch LogAttributionError.busy {
            throw Problem.unavailable(
                code: LogAttributionError.busy.tag,
                detail: "Others ask about single conversions and wait; try again in a moment.")
        } catch let error as LogAttributionError { throw Problem(error) }
    }
}
