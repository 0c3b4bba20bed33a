internal import Accounts
internal import AurumCore
package import Events
internal import Hummingbird

/// Questions about what persons do one after another.
package struct BehaviourRoutes: Sendable {
    private let access: Access
    private let questions: BehaviourService

    private static let bodyBytesMax = 262_144

    package init(access: Access, questions: BehaviourService) { (self.access, self.questions) = (access, questions) }

    private static func description(_ kind: BehaviourKind) -> (summary: String, example: JSONValue) {
        switch kind {
        case .funnel:
            (
                "How many persons go through 2 to 10 steps, and how long it takes them.",
                [
                    "last": "7d", "window": "7d", "order": "ordered", "breakdown": "channel",
                    "steps": [
                        ["name": "Visit", "where": "type = page"], ["name": "Purchase", "where": "name = purchase"],
                    ],
                ]
            )
        case .retention:
            (
                "How many persons come back on the days after their first event.",
                ["last": "30d", "first": "name = signup", "mode": "classic", "days": [1, 7, 30], "by": "week"]
            )
        case .cohorts:
            (
                "What persons do in the periods after their first event.",
                ["last": "12w", "first": "name = signup", "event": "name = purchase", "period": "week"]
            )
        case .paths:
            (
                "Where persons go from an event, or how they came to one.",
                ["last": "7d", "start": "type = page", "depth": 4, "window": "1d"]
            )
        case .sessions:
            (
                "The visits of a time: how many, how long, where they begin and end.",
                ["last": "7d", "gap_minutes": 30, "bucket": "day", "list": 20]
            )
        }
    }

    package func register(in book: RouteBook) {
        for kind in BehaviourKind.allCases {
            let (summary, example) = Self.description(kind)
            book.post(
                "/v1/query/\(kind.rawValue)",
                RouteDescription(summary, tag: "query", scope: .analyticsRead, body: example)
            ) { request, _ in
                let principal = try access.require(.analyticsRead, request)
                let body = try await RequestInput.json(request, limit: Self.bodyBytesMax)
                do { return .json(try await questions.answer(kind, body, org: principal.org)) } catch let error
                    as BehaviourError
                {
                    throw Problem(error)
                } catch let error as QueryError { throw Problem.query(error) }
            }
        }
    }
}

extension Problem {
    init(_ error: BehaviourError) {
        self = .invalid(error.problems.map { FieldProblem(field: $0.field, detail: $0.detail) })
    }
}
