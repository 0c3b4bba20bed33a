internal import Accounts
internal import Attribution
internal import AurumCore
internal import Foundation
internal import Hummingbird

/// Runs over the log: every conversion with its newest run and its schedule, and two runs side by side.
extension AttributionPages {
    /// Groups that a comparison shows.
    private static let linesMax = 200
    private static let headsMax = 1000
    private static let runs = "runs"

    func registerRuns(in book: RouteBook) {
        let page = Page(
            name: Self.runs,
            summary: "Conversions with their newest runs over the log and schedules; two runs compared.",
            show: { try await showRuns($0) }, change: { try await changeRuns($0, $1) })
        register(page, in: book)
    }

    // MARK: what is shown

    private func showRuns(_ visit: Visit) async throws -> [String: JSONValue] {
        let org = visit.principal.org
        let definitions = try await conversions(org: org)
        let heads = try await parts.attribution.runs(org: org, limit: Self.headsMax)
        let schedules = try await parts.attribution.schedules.all(org: org)
        let atWork = try await parts.atWork(org)
        let rows = definitions.map { saved in
            Self.row(
                saved, heads.filter { $0.conversion == saved.name }.max { $0.version < $1.version },
                schedules.first { $0.conversion == saved.name }, atWork)
        }
        var values: [String: JSONValue] = [
            "conversions": .array(rows), "schedule-form": visit.form(Self.scheduleForm(definitions.map(\.name))),
        ]
        if heads.isEmpty {
            values["no-runs"] = true
        } else {
            values.merge(try await comparison(visit, heads)) { $1 }
        }
        return values
    }

    private static func row(
        _ saved: SavedDefinition, _ head: LogResultHead?, _ schedule: RunSchedule?, _ atWork: [RunAtWork]
    ) -> JSONValue {
        let mine = atWork.filter { $0.conversion == nil || $0.conversion == saved.name }
        let (state, note) = state(head, schedule, mine)
        return [
            "conversion": .string(saved.name), "where": .string(saved.definition?.condition ?? ""),
            "run": .string(head.map { "Version \($0.version)" } ?? "—"),
            "finished": .string(PageText.moment(head?.finishedAt)),
            "counted": .string(head?.facts["conversions"]?.integer.map(String.init) ?? "—"),
            "state": .string(state), "state-note": note.map { .string($0) } ?? false,
            "plan": .string(schedule.map { plan($0.plan) } ?? "When asked"),
            "next": schedule.map { .string(PageText.moment($0.next)) } ?? false,
            "is-scheduled": .bool(schedule != nil),
        ]
    }

    private static func state(
        _ head: LogResultHead?, _ schedule: RunSchedule?, _ atWork: [RunAtWork]
    ) -> (state: String, note: String?) {
        if atWork.contains(where: \.isRunning) { return ("running", nil) }
        if !atWork.isEmpty { return ("waiting", nil) }
        // A run by hand may have ended after the schedule's last.
        if let last = schedule?.last, last.at >= head?.finishedAt ?? last.at {
            switch last.outcome {
            case .failed:
                return ("failed", [last.code, PageText.moment(last.at)].compactMap(\.self).joined(separator: ", "))
            case .unchanged: return ("done", "nothing new " + PageText.moment(last.at))
            case .done: break
            }
        }
        return (head == nil ? "never run" : "done", nil)
    }

    private static func plan(_ plan: RunPlan?) -> String {
        switch plan {
        case .every(let hours)?: hours == 1 ? "Every hour" : "Every \(hours) hours"
        case .daily?:
            "Daily at \(plan?.members["daily_at"]?.string ?? "") \(plan?.members["timezone"]?.string ?? "")"
        case nil: "Cannot be read; set it anew"
        }
    }

    private static func scheduleForm(_ names: [String]) -> PageForm {
        PageForm(
            name: "schedule", action: path(runs), submit: "Set the schedule",
            fields: [
                PageForm.Field(
                    name: "conversion", label: "Conversion", kind: .choice(names.map { ($0, $0) }),
                    standard: "purchase"),
                PageForm.Field(
                    name: "every_hours", label: "Every so many hours", kind: .input("number", "6"),
                    hint: "1 to 168, at minutes of your organisation's own, always the same."),
                PageForm.Field(
                    name: "daily_at", label: "Or daily at", kind: .input("text", "03:30"),
                    hint: "Hours and minutes, in place of hours."),
                PageForm.Field(
                    name: "timezone", label: "Time zone of it", kind: .input("text", "America/New_York"),
                    hint: "UTC unless told."),
            ])
    }

    // MARK: two runs

    private func comparison(_ visit: Visit, _ heads: [LogResultHead]) async throws -> [String: JSONValue] {
        let known = heads.map { head in
            (
                value: "\(head.conversion):\(head.version)",
                text: "\(head.conversion), version \(head.version) of \(PageText.moment(head.finishedAt))"
            )
        }
        let asked = Dictionary(
            uniqueKeysWithValues: ["one", "other", "model", "by"].map { name in
                (name, RequestInput.text(name, visit.request) ?? "")
            })
        let isAsked = asked["one"] != "" || asked["other"] != ""
        // The newest of a conversion that has two beside the one before it.
        let pair = heads.first { head in
            heads.contains { $0.conversion == head.conversion && $0.version < head.version }
        }
        let before = pair.flatMap { pair in
            heads.filter { $0.conversion == pair.conversion && $0.version < pair.version }.max {
                $0.version < $1.version
            }
        }
        func standard(_ head: LogResultHead?) -> String { head.map { "\($0.conversion):\($0.version)" } ?? "" }
        let form = PageForm(
            name: "compare", action: Self.path(Self.runs), submit: "Compare",
            fields: [
                PageForm.Field(name: "one", label: "One run", kind: .choice(known), standard: standard(before)),
                PageForm.Field(name: "other", label: "The other", kind: .choice(known), standard: standard(pair)),
                PageForm.Field(
                    name: "model", label: "Credit model", kind: Self.choices(LogModel.allCases.map(\.name)),
                    standard: "last"),
                PageForm.Field(
                    name: "by", label: "By", kind: Self.choices(LogDimension.allCases.map(\.rawValue)),
                    standard: "channel"),
            ], asks: true)
        guard isAsked else { return ["compare-form": form.json(nil, nil)] }
        let input = FormInput(values: asked)
        do {
            var values = try await compared(input, heads, org: visit.principal.org)
            values["compare-form"] = form.json(input, nil)
            return values
        } catch {
            guard let refusal = FormRefusal(error) else { throw error }
            return ["compare-form": form.json(input, refusal), "wrong-link": true]
        }
    }

    private func compared(
        _ input: FormInput, _ heads: [LogResultHead], org: String
    ) async throws -> [String: JSONValue] {
        func head(_ name: String) throws(FormRefusal) -> LogResultHead {
            guard let found = heads.first(where: { "\($0.conversion):\($0.version)" == input[name] }) else {
                throw FormRefusal(name, "must be a run that is kept.")
            }
            return found
        }
        let (one, other) = (try head("one"), try head("other"))
        guard one.conversion == other.conversion else {
            throw FormRefusal("other", "must be a run of the same conversion.")
        }
        guard let model = LogModel(name: input["model"] ?? "last") else {
            throw FormRefusal("model", "must be one of \(LogAttributionRoutes.models).")
        }
        guard let dimension = LogDimension(rawValue: input["by"] ?? "channel") else {
            throw FormRefusal("by", "must be channel, campaign or day.")
        }
        let found = try await parts.attribution.compare(
            org: org, conversion: one.conversion, model: model, by: dimension, version: one.version, to: other.version)
        let lines = found.lines.prefix(Self.linesMax).map { line -> JSONValue in
            [
                "key": .string(["(organic)", "organic"].contains(line.key) ? "No touch known" : line.key),
                "conversions-one": .string(PageText.number(line.one.conversions)),
                "conversions-other": .string(PageText.number(line.other.conversions)),
                "conversions-more": .string(Self.signed(line.conversionsMore)),
                "net-one": .string(PageText.money(line.one.netMinor, line.currency)),
                "net-other": .string(PageText.money(line.other.netMinor, line.currency)),
                "net-more": .string(PageText.money(line.netMore, line.currency)),
            ]
        }
        return [
            "compared": [
                "group": .string(PageText.words(dimension.rawValue)), "lines": .array(lines),
                "sides": .array([Self.side("One", one), Self.side("The other", other)]),
                "left-out": found.lines.count > lines.count
                    ? .string("\(found.lines.count - lines.count) more are not shown.") : false,
            ]
        ]
    }

    private static func signed(_ number: Double) -> String {
        let text = PageText.number(number)
        return number > 0 && text != "0" ? "+" + text : text
    }

    /// What a run went by.
    private static func side(_ title: String, _ head: LogResultHead) -> JSONValue {
        let used = (head.settings.array ?? []).filter { $0["name"]?.string == head.conversion }
            .compactMap { $0["version"]?.integer }
        let range = [head.from.map { "from \(PageText.moment($0))" }, head.to.map { "before \(PageText.moment($0))" }]
            .compactMap(\.self).joined(separator: " ")
        return [
            "title": .string(title), "version": .integer(Int64(head.version)),
            "finished": .string(PageText.moment(head.finishedAt)), "cause": .string(head.cause),
            "range": .string(range.isEmpty ? "All time" : range),
            "counted": .string(head.facts["conversions"]?.integer.map(String.init) ?? "—"),
            "organic": .string(head.facts["organic"]?.integer.map(String.init) ?? "—"),
            "definition": .string(
                used.isEmpty ? "—" : used.map { $0 == 0 ? "built in" : "version \($0)" }.joined(separator: ", ")),
            "windows": .integer(Int64(head.facts["windows"]?.array?.count ?? 0)),
        ]
    }

    // MARK: what is changed

    private func changeRuns(_ principal: Principal, _ input: FormInput) async throws -> String {
        let (name, org) = (input["conversion"] ?? "", principal.org)
        guard ConversionDefinition.isName(name) else {
            throw FormRefusal("conversion", "must be the name of a conversion.")
        }
        switch input.form {
        case "run":
            let wish = LogAttribution.Wish(conversion: name, reason: "asked on the page")
            try await parts.attribution.check(wish, org: org)
            _ = try await parts.enqueue(wish, org)
        case "unschedule": try await parts.attribution.schedules.remove(conversion: name, org: org)
        case "schedule":
            var members: [String: JSONValue] = [:]
            members["every_hours"] = try input.number("every_hours")
            for field in ["daily_at", "timezone"] where input[field] != nil { members[field] = input.json(field) }
            _ = try await parts.attribution.schedule(try RunPlan(.object(members)), conversion: name, org: org)
        default: throw FormRefusal("", "The page has no such form.")
        }
        return input.form
    }
}
