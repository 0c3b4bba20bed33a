internal import ArgumentParser
internal import Attribution
internal import AurumCore

extension AttributionCommand {
    struct Windows: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Windows of the touches of a network or campaign: list, set or end.",
            discussion: """
                They go before those of the conversion in runs over the log. Without --starts-at they hold from now.
                Example: aurum attribution windows
                Example: aurum attribution windows --network tiktok --click-hours 72 --starts-at 2026-11-01
                Example: aurum attribution windows --campaign "Spring sale" --click-hours 336 --view-hours 12
                Example: aurum attribution windows --campaign "Spring sale" --end
                """)

        @OptionGroup var place: Place
        @Option(name: .long, help: "The network, as events say it in campaign.network.")
        var network: String?
        @Option(name: .long, help: "The campaign's name, or the id of one without a name.")
        var campaign: String?
        @Option(name: .long, help: "Hours after which a click or visit is too old, 1 to 8760.")
        var clickHours: Double?
        @Option(name: .long, help: "Hours after which a view is too old, 1 to 720.")
        var viewHours: Double?
        @Option(name: .long, help: "Conversions at or after this date or RFC 3339 time.")
        var startsAt: String?
        @Flag(name: .long, help: "No windows of its own any more.")
        var end = false

        func validate() throws {
            if network != nil, campaign != nil { throw ValidationError("--network and --campaign exclude each other") }
            let hasHours = clickHours != nil || viewHours != nil
            guard network != nil || campaign != nil else {
                if hasHours || end || startsAt != nil { throw ValidationError("name the --network or the --campaign") }
                return
            }
            if hasHours == end { throw ValidationError("give --click-hours, --view-hours or both, or --end") }
        }

        func run() async throws {
            let org = place.org
            guard let name = network ?? campaign else {
                let answer = try await place.ask("GET", "/v1/attribution/windows") { attribution in
                    ["windows": .array(try await attribution.windows.versions(org: org).map(\.json))]
                }
                return try Output.json(answer)
            }
            let scope = (network == nil ? WindowOverride.Scope.campaign : .network).rawValue
            let window: WindowOverride
            do { window = try read(scope, name) } catch { throw CommandFailure(error.sentence) }
            let path = "/v1/attribution/windows"
            let answer: JSONValue
            if end {
                let query = ServerClient.query([("scope", scope), ("name", name), ("starts_at", startsAt)])
                answer = try await place.ask("DELETE", path + query) { attribution in
                    try await attribution.windows.save(window, org: org).json
                }
            } else {
                answer = try await place.ask("PUT", path, .object(members(scope, name))) { attribution in
                    try await attribution.windows.save(window, org: org).json
                }
            }
            try Output.json(answer)
        }

        private func members(_ scope: String, _ name: String) -> [String: JSONValue] {
            var members: [String: JSONValue] = ["scope": .string(scope), "name": .string(name)]
            if let clickHours { members["click_hours"] = .number(clickHours) }
            if let viewHours { members["view_hours"] = .number(viewHours) }
            if let startsAt { members["starts_at"] = .string(startsAt) }
            return members
        }

        private func read(_ scope: String, _ name: String) throws(LogAttributionError) -> WindowOverride {
            let now = SystemWallClock().now
            guard end else { return try WindowOverride(.object(members(scope, name)), now: now) }
            return try WindowOverride(
                scope, name, startsAt: try LogAttribution.Wish.moment("starts_at", startsAt) ?? now)
        }
    }
}
