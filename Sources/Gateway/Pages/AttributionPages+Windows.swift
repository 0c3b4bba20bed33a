internal import Accounts
internal import Attribution
internal import AurumCore
internal import Hummingbird

/// Lookback windows of definitions, networks and campaigns, with every version and the time it holds from.
extension AttributionPages {
    private static let windows = "windows"
    /// Those of a definition stand in its versions, the others for themselves.
    private static let definition = "definition"
    private static let scopes = [definition] + WindowOverride.Scope.allCases.map(\.rawValue)

    func registerWindows(in book: RouteBook) {
        let page = Page(
            name: Self.windows, summary: "Windows of definitions, networks and campaigns in all their versions.",
            show: { try await showWindows($0) }, change: { try await changeWindows($0, $1) })
        register(page, in: book)
    }

    private func showWindows(_ visit: Visit) async throws -> [String: JSONValue] {
        let org = visit.principal.org
        let definitions = try await parts.attribution.definitions.versions(org: org)
        let overrides = try await parts.attribution.windows.versions(org: org)
        let newest = Dictionary(grouping: overrides) { [$0.scope.rawValue, $0.name] }
            .compactMapValues { $0.map(\.version).max() }
        return [
            "definitions": .array(definitions.map(Self.row)),
            "overrides": .array(
                overrides.map { Self.row($0, isNewest: newest[[$0.scope.rawValue, $0.name]] == $0.version) }),
            "no-overrides": .bool(overrides.isEmpty), "window-form": visit.form(Self.windowForm),
        ]
    }

    private static func row(_ saved: SavedDefinition) -> JSONValue {
        let json = saved.json
        return [
            "conversion": .string(saved.name),
            "version": .string(saved.version == 0 ? "built in" : "\(saved.version)"),
            "starts": .string(saved.version == 0 ? "—" : json == nil ? "always" : PageText.moment(saved.startsAt)),
            "click": .string(json == nil ? "ended" : hours(json?["click_hours"])),
            "view": .string(json == nil ? "ended" : hours(json?["view_hours"])),
        ]
    }

    private static func row(_ window: WindowOverride, isNewest: Bool) -> JSONValue {
        let json = window.json
        return [
            "scope": .string(PageText.words(window.scope.rawValue)), "scope-name": .string(window.scope.rawValue),
            "name": .string(window.name), "version": .integer(Int64(window.version)),
            "starts": .string(PageText.moment(window.startsAt)),
            "click": .string(window.isEnded ? "ended" : hours(json["click_hours"])),
            "view": .string(window.isEnded ? "ended" : hours(json["view_hours"])),
            "may-end": .bool(isNewest && !window.isEnded),
        ]
    }

    /// A dash leaves it to what comes after.
    private static func hours(_ value: JSONValue?) -> String { value?.double.map { PageText.number($0) + " h" } ?? "—" }

    private static let emptyHours = "Empty: those of the definition; a definition keeps its own."
    private static let windowForm = PageForm(
        name: "window", action: path(windows), submit: "Add a version",
        fields: [
            PageForm.Field(name: "scope", label: "Of a", kind: choices(scopes), standard: "campaign"),
            PageForm.Field(name: "name", label: "Name", kind: .input("text", "spring sale")),
            PageForm.Field(
                name: "click_hours", label: "Hours after a click", kind: .input("text", "72"), hint: emptyHours),
            PageForm.Field(
                name: "view_hours", label: "Hours after a view", kind: .input("text", "12"), hint: emptyHours),
            PageForm.Field(
                name: "starts_at", label: "Holds from", kind: .input("text", "2026-11-01"),
                hint: "A date of UTC or RFC 3339; now unless told."),
        ])

    private func changeWindows(_ principal: Principal, _ input: FormInput) async throws -> String {
        let (org, now) = (principal.org, clock.now)
        switch input.form {
        case "window":
            var body: [String: JSONValue] = [:]
            for name in ["click_hours", "view_hours"] { body[name] = try input.number(name) }
            guard !body.isEmpty else { throw FormRefusal("click_hours", "or hours after a view must be there.") }
            body["starts_at"] = input["starts_at"].map { .string($0) }
            guard let scope = input["scope"], Self.scopes.contains(scope) else {
                throw FormRefusal("scope", "must be \(Self.scopes.joined(separator: ", ")).")
            }
            if scope == Self.definition {
                try await changeDefinition(input["name"] ?? "", body, field: "name", org: org)
            } else {
                (body["scope"], body["name"]) = (input.json("scope"), input.json("name"))
                let window = try WindowOverride(.object(body), now: now)
                _ = try await parts.attribution.windows.save(window, org: org)
            }
        case "end-window":
            let window = try WindowOverride(input["scope"], input["name"], startsAt: now)
            _ = try await parts.attribution.windows.save(window, org: org)
        default: throw FormRefusal("", "The page has no such form.")
        }
        return input.form
    }

    /// Saves a version of a conversion that differs from its newest in some members.
    /// - Parameters:
    ///   - change: null takes a member out; without `starts_at` it holds from now.
    ///   - field: of the form that names the conversion.
    func changeDefinition(_ name: String, _ change: [String: JSONValue], field: String, org: String) async throws {
        guard let newest = try await conversions(org: org).first(where: { $0.name == name }),
            var body = newest.json?.object
        else { throw FormRefusal(field, "must be the name of a conversion.", status: .notFound) }
        // Its other members do not hold yet: without a time they would from now on.
        if newest.version > 0, newest.startsAt > clock.now, change["starts_at"] == nil {
            throw FormRefusal(
                field,
                "has version \(newest.version), which begins at \(PageText.moment(newest.startsAt)): change it then.",
                status: .conflict)
        }
        body["starts_at"] = nil
        for (member, value) in change { body[member] = value == .null ? nil : value }
        _ = try await parts.attribution.definitions.save(.object(body), name: name, org: org, now: clock.now)
    }
}
