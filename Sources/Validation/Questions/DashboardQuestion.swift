internal import AurumCore

/// One of the twelve questions that a dashboard asks again and again. Source: spec/events.md §10.
struct DashboardQuestion: Sendable {
    var name: String
    var path: String
    var body: JSONValue
    /// Whether the answer is about events at all: a question that finds nothing measures nothing.
    var finds: @Sendable (JSONValue) -> Bool

    /// The app that Q9 to Q12 are asked of: one of those that the standard data goes round.
    static let app = "app-0"

    static let all: [DashboardQuestion] =
        overview + [
            behaviour(
                "q9_funnel", "funnel",
                [
                    "last": "7d",
                    "steps": [
                        ["where": "name = \"Page Viewed\""], ["where": "name = \"Product Viewed\""],
                        ["where": "name = \"Product Added\""],
                    ],
                ]),
            behaviour("q10_retention", "retention", ["last": "30d", "days": [1, 7, 30]]),
            behaviour("q11_paths", "paths", ["last": "7d", "start": "name = \"Page Viewed\"", "depth": 4]),
            behaviour("q12_cohorts", "cohorts", ["last": "30d", "period": "week"]),
        ]

    private static let overview: [DashboardQuestion] = [
        ("q1_events_by_hour", "count per hour last 7d"),
        ("q2_persons_by_day", "unique(person) per day last 30d"),
        ("q3_top_channels", "count by channel order by count desc limit 20"),
        ("q4_value_by_campaign", "sum(value), count by campaign.name last 30d order by sum(value) desc limit 50"),
        ("q5_top_pages", "count by url where url exists order by count desc limit 50"),
        ("q6_devices", "count, unique(person) by context.platform"),
        ("q7_outcomes", "count by outcome outcomes all"),
        ("q8_today", "count, unique(person), sum(value) today"),
    ].map { name, text in
        DashboardQuestion(name: name, path: "/v1/query", body: ["q": .string(text)]) {
            $0["rows"]?.array?.isEmpty == false
        }
    }

    private static func behaviour(_ name: String, _ kind: String, _ body: [String: JSONValue]) -> DashboardQuestion {
        let body = body.merging(["apps": [.string(app)]]) { $1 }
        return DashboardQuestion(name: name, path: "/v1/query/\(kind)", body: .object(body)) {
            ($0["persons"]?.integer ?? 0) > 0
        }
    }
}
