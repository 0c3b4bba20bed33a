internal import AurumCore

/// `POST /v1/query/funnel`: how many persons go through steps, and how long it takes them.
struct FunnelQuestion: Sendable {
    private struct Step: Sendable {
        var name: String
        var condition: EventCondition
    }

    private let scope: BehaviourScope
    private let steps: [Step]
    private let window: Int64
    private let order: FunnelOrder
    private let breakdown: ColumnName?
    private let groupsMax: Int

    static let windowMax: Int64 = 366 * 86_400_000_000
    static let windowStandard: Int64 = 7 * 86_400_000_000

    init(_ body: BehaviourBody, org: String, now: Timestamp) {
        scope = BehaviourScope(body, org: org, now: now)
        var steps: [Step] = []
        for (index, step) in body.objects("steps", count: FunnelRule.steps).enumerated() {
            let name = step.body.text("name") ?? "step \(index + 1)"
            // A step is a condition, or an object that holds one under `where`.
            if step.value["where"] != nil, let condition = step.body.requiredCondition("where") {
                steps.append(Step(name: name, condition: condition))
            } else if step.value["where"] == nil, let condition = step.body.conditionItself() {
                steps.append(Step(name: name, condition: condition))
            }
            step.body.close()
        }
        self.steps = steps
        window = body.duration("window", max: Self.windowMax, standard: Self.windowStandard)
        order = body.choice("order", standard: FunnelOrder.ordered)
        breakdown = body.column("breakdown")
        groupsMax = body.integer("limit", 1...200, standard: 20)
    }

    func answer(_ desk: BehaviourDesk) throws -> [String: JSONValue] {
        let last = saturating(scope.range.upperBound, window)
        var plan = SequencePlan(
            base: order == .strict ? scope.filter(to: last) : nil,
            marks: steps.enumerated().map { index, step in
                SequencePlan.Mark(filter: scope.filter(step.condition, to: last), bit: 1 << UInt32(index))
            }, org: scope.org)
        if let breakdown { plan.extra = .text(breakdown) }
        let rule = FunnelRule(steps: steps.count, order: order, window: window, end: scope.range.upperBound)
        let (walker, stats) = try desk.walk(plan) { FunnelWalker(rule) }
        let empty = FunnelWalker.Group(
            persons: [Int](repeating: 0, count: steps.count), times: [[Int64]](repeating: [], count: steps.count))
        let total = walker.groups.values.reduce(into: empty) { total, group in
            for step in steps.indices {
                total.persons[step] += group.persons[step]
                total.times[step] += group.times[step]
            }
        }
        var answer: [String: JSONValue] = [
            "steps": rows(total), "persons": .integer(Int64(total.persons[0])), "order": .string(order.rawValue),
            "window_seconds": .integer(window / 1_000_000),
            "conversion": Figure.share(total.persons[steps.count - 1], of: total.persons[0]),
        ]
        if let breakdown {
            answer["breakdown"] = .string(breakdown.path)
            answer.merge(groups(walker, plan.groups)) { $1 }
        }
        return answer.merging(desk.facts(stats, scope)) { $1 }
    }

    private func rows(_ group: FunnelWalker.Group) -> JSONValue {
        .array(
            steps.enumerated().map { index, step in
                [
                    "step": .integer(Int64(index + 1)), "name": .string(step.name),
                    "persons": .integer(Int64(group.persons[index])),
                    "conversion": Figure.share(group.persons[index], of: group.persons[0]),
                    "from_previous": index == 0
                        ? .null : Figure.share(group.persons[index], of: group.persons[index - 1]),
                    "median_seconds": index == 0 ? .null : Figure.medianSeconds(group.times[index]),
                ]
            })
    }

    private func groups(_ walker: FunnelWalker, _ texts: LabelTable) -> [String: JSONValue] {
        let all = walker.groups.map { code, group in (text: texts.text(UInt32(clamping: code)), group: group) }.sorted {
            ($1.group.persons[0], $0.text ?? "") < ($0.group.persons[0], $1.text ?? "")
        }
        return [
            "groups": .array(
                all.prefix(groupsMax).map { text, group in
                    ["value": text.map { .string($0) } ?? .null, "steps": rows(group)]
                }),
            "group_count": .integer(Int64(all.count)), "truncated": .bool(all.count > groupsMax),
        ]
    }
}
