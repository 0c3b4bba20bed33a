internal import AurumCore

/// `POST /v1/query/paths`: where persons go from an event, or how they came to one.
struct PathQuestion: Sendable {
    private let scope: BehaviourScope
    private let direction: PathRule.Direction
    private let anchor: EventCondition
    private let depth: Int
    private let window: Int64
    private let label: ColumnName?
    private let branchesMax: Int

    private static let windowStandard: Int64 = 86_400_000_000

    init(_ body: BehaviourBody, org: String, now: Timestamp) {
        scope = BehaviourScope(body, org: org, now: now)
        let (start, end) = (body.condition("start"), body.condition("end"))
        if (start == nil) == (end == nil) {
            body.refuse("start", "exactly one of start and end says where the paths begin or end")
        }
        direction = start != nil ? .from : .to
        anchor = start ?? end ?? .and([])
        depth = body.integer("depth", PathRule.depths, standard: 4)
        window = body.duration("window", max: FunnelQuestion.windowMax, standard: Self.windowStandard)
        label = body.column("by")
        branchesMax = body.integer("limit", 1...PathRule.branchesMax, standard: PathRule.branchesMax)
    }

    func answer(_ desk: BehaviourDesk) throws -> [String: JSONValue] {
        let range = scope.range
        let from = direction == .from ? range.lowerBound : saturating(range.lowerBound, -window)
        let to = direction == .from ? saturating(range.upperBound, window) : range.upperBound
        var plan = SequencePlan(
            base: scope.filter(from: from, to: to),
            marks: [.init(filter: scope.filter(anchor), bit: PathRule.anchor)], org: scope.org)
        plan.label = label.map { .column($0) } ?? .step
        let rule = PathRule(direction: direction, depth: depth, window: window, range: range)
        let (walker, stats) = try desk.walk(plan) { PathWalker(rule) }
        let labels = plan.labels
        let all = walker.persons.map { path, persons in
            (path: path.map { labels.text($0) ?? "(none)" }, persons: persons)
        }.sorted { one, other in
            one.persons != other.persons
                ? one.persons > other.persons : one.path.lexicographicallyPrecedes(other.path)
        }
        let total = all.reduce(0) { $0 + $1.persons } + walker.uncounted
        let shown = all.prefix(branchesMax)
        let answer: [String: JSONValue] = [
            "direction": .string(direction.rawValue), "depth": .integer(Int64(depth)),
            "by": .string(label?.path ?? "step"), "persons": .integer(Int64(total)),
            "branches": .array(
                shown.map { path, persons in
                    [
                        "path": .array(
                            (direction == .from ? path : path.reversed()).map { .string($0) }),
                        "persons": .integer(Int64(persons)), "share": Figure.share(persons, of: total),
                    ]
                }),
            "links": links(all), "branch_count": .integer(Int64(all.count)),
            "truncated": .bool(all.count > shown.count), "labels_cut": .bool(labels.isFull),
            "persons_not_told_apart": .integer(Int64(walker.uncounted)),
        ]
        return answer.merging(desk.facts(stats, scope)) { $1 }
    }

    /// The busiest steps between two labels, by their distance from the common one: what a flow diagram draws.
    private func links(_ paths: [(path: [String], persons: Int)]) -> JSONValue {
        struct Link: Hashable {
            var step: Int
            var from: String
            var to: String
        }
        var counts: [Link: Int] = [:]
        for (path, persons) in paths {
            for step in path.indices.dropFirst() {
                let link =
                    direction == .from
                    ? Link(step: step, from: path[step - 1], to: path[step])
                    : Link(step: step, from: path[step], to: path[step - 1])
                counts[link, default: 0] += persons
            }
        }
        let order = counts.sorted { one, other in
            (one.key.step, other.value, one.key.from, one.key.to)
                < (other.key.step, one.value, other.key.from, other.key.to)
        }
        var shown: [Int: Int] = [:]
        return .array(
            order.compactMap { link, persons in
                shown[link.step, default: 0] += 1
                guard shown[link.step, default: 0] <= branchesMax else { return nil }
                return [
                    "step": .integer(Int64(link.step)), "from": .string(link.from), "to": .string(link.to),
                    "persons": .integer(Int64(persons)),
                ]
            })
    }
}
