internal import ArgumentParser
internal import Attribution
internal import AurumCore

extension AttributionCommand {
    struct Schedule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Credit a conversion of the event log by itself, every few hours or daily; list what is.",
            discussion: """
                The runs are jobs of a running server, see aurum jobs; one that finds nothing new does nothing.
                Example: aurum attribution schedule
                Example: aurum attribution schedule purchase --every-hours 6
                Example: aurum attribution schedule purchase --daily-at 03:30 --timezone America/New_York
                Example: aurum attribution schedule purchase --off
                """)

        @OptionGroup var place: Place
        @Argument(help: "The conversion's name; without one all schedules are listed.")
        var conversion: String?
        @Option(name: .long, help: "Every so many hours, 1 to 168.")
        var everyHours: Int?
        @Option(name: .long, help: "Every day at this time, HH:MM.")
        var dailyAt: String?
        @Option(name: .long, help: "The time zone of --daily-at; UTC unless told.")
        var timezone: String?
        @Flag(name: .long, help: "Only when somebody asks, from now on.")
        var off = false
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func validate() throws {
            let changes = (everyHours == nil ? 0 : 1) + (dailyAt == nil ? 0 : 1) + (off ? 1 : 0)
            if conversion == nil, changes > 0 { throw ValidationError("name the conversion") }
            if conversion != nil, changes != 1 {
                throw ValidationError("give one of --every-hours, --daily-at and --off")
            }
            if timezone != nil, dailyAt == nil { throw ValidationError("--timezone belongs to --daily-at") }
        }

        func run() async throws {
            let org = place.org
            guard let conversion else {
                let answer = try await place.ask("GET", "/v1/attribution/schedules") { attribution in
                    ["schedules": .array(try await attribution.schedules.all(org: org).map(\.json))]
                }
                if json { return try Output.json(answer) }
                let rows = (answer["schedules"]?.array ?? []).map(Self.row)
                let head = ["conversion", "runs", "next", "last", "ended", "seconds", "succeeded"]
                for line in TextTable.lines([head] + rows) { Output.line(line) }
                return
            }
            let path = "/v1/attribution/conversions/\(conversion.percentEncoded)/schedule"
            if off {
                _ = try await place.ask("DELETE", path) { attribution in
                    try await attribution.schedules.remove(conversion: conversion, org: org)
                    return .null
                }
                return Output.line("\(conversion) is credited only when somebody asks")
            }
            let plan: RunPlan
            do { plan = try RunPlan(.object(members)) } catch { throw CommandFailure(error.sentence) }
            let answer = try await place.ask("PUT", path, .object(plan.members)) { attribution in
                try await attribution.schedule(plan, conversion: conversion, org: org).json
            }
            if json { return try Output.json(answer) }
            Output.line("\(conversion) is credited \(Self.times(answer)), next at \(answer["next_at"]?.string ?? "")")
        }

        private var members: [String: JSONValue] {
            var members: [String: JSONValue] = [:]
            if let everyHours { members["every_hours"] = .integer(Int64(everyHours)) }
            if let dailyAt { members["daily_at"] = .string(dailyAt) }
            if let timezone { members["timezone"] = .string(timezone) }
            return members
        }

        private static func times(_ schedule: JSONValue) -> String {
            if let hours = schedule["every_hours"]?.integer { return "every \(hours) h" }
            return "daily at \(schedule["daily_at"]?.string ?? "") \(schedule["timezone"]?.string ?? "")"
        }

        private static func row(_ schedule: JSONValue) -> [String] {
            let last = schedule["last"]
            let outcome = [last?["outcome"]?.string, last?["code"]?.string].compactMap { $0 }
            return [
                schedule["conversion"]?.string ?? "", times(schedule), schedule["next_at"]?.string ?? "",
                outcome.isEmpty ? "–" : outcome.joined(separator: " "), TextTable.cell(last?["ended_at"]),
                TextTable.cell(last?["seconds"]), TextTable.cell(schedule["succeeded_at"]),
            ]
        }
    }
}
