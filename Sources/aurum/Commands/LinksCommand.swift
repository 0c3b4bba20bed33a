internal import ArgumentParser
internal import AurumCore
internal import Foundation

/// Short links that lead to an app or to the web.
struct LinksCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "links", abstract: "Make, list and remove short links to apps and the web.",
        discussion: """
            Example: aurum links create --web https://www.shop.example/spring \\
                --ios 525463029 --android com.example.shop \\
                --campaign spring --payload '{"coupon":"SPRING"}'
            """,
        subcommands: [Create.self, List.self, Delete.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a link. The host of --web must be one of the app's redirect_hosts.")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "Where browsers and expired links lead.")
        var web: String
        @Option(name: .long, help: "3 to 64 of a-z, 0-9, - and _; made up unless told.")
        var slug: String?
        @Option(name: .long, help: "The app that clicks are recorded for; the key's own unless told.")
        var app: String?
        @Option(name: .long, help: "The app's number in Apple's store.")
        var ios: String?
        @Option(name: .long, help: "Where to go inside the iOS app.")
        var iosPath: String?
        @Option(name: .long, help: "The name of the Android app's package.")
        var android: String?
        @Option(name: .long, help: "Where to go inside the Android app.")
        var androidPath: String?
        @Option(name: .long, help: "Name of the campaign.")
        var campaign: String?
        @Option(name: .long, help: "Network of the campaign.")
        var network: String?
        @Option(name: .long, help: "A JSON object of at most 2048 bytes for the first open.")
        var payload: String?
        @Option(name: .long, help: "A date or RFC 3339 time.")
        var expires: String?

        func validate() throws {
            if iosPath != nil, ios == nil { throw ValidationError("--ios-path needs --ios") }
            if androidPath != nil, android == nil { throw ValidationError("--android-path needs --android") }
        }

        func run() async throws {
            var members: [String: JSONValue] = ["web_url": .string(web)]
            for (name, value) in [("slug", slug), ("app", app), ("expires", expires)] {
                if let value { members[name] = .string(value) }
            }
            func store(_ name: String, _ id: String?, _ path: String?) -> JSONValue? {
                id.map { [name: .string($0), "path": path.map { .string($0) } ?? .null] }
            }
            members["ios"] = store("app", ios, iosPath)
            members["android"] = store("package", android, androidPath)
            var about: [String: JSONValue] = [:]
            if let campaign { about["name"] = .string(campaign) }
            if let network { about["network"] = .string(network) }
            if !about.isEmpty { members["campaign"] = .object(about) }
            if let payload {
                guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(payload.utf8)) else {
                    throw ValidationError("--payload is no JSON")
                }
                members["payload"] = value
            }
            let client = try await target.client()
            let made = try await client.call("POST", "/v1/links", body: .object(members))
            Output.line(client.contact.url + (made["path"]?.string ?? ""))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Links, newest first.")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "1 to 1000.")
        var limit = 100
        @Option(name: .long, help: "The slug that the page before ended with.")
        var after: String?
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let query = ServerClient.query([("limit", "\(limit)"), ("after", after)])
            let answer = try await target.client().call("GET", "/v1/links" + query)
            if json { return try Output.json(answer) }
            var rows = [["slug", "campaign", "web", "ios", "android", "expires"]]
            for link in answer["links"]?.array ?? [] {
                rows.append([
                    TextTable.cell(link["slug"]), TextTable.cell(link["campaign"]?["name"]),
                    TextTable.cell(link["web_url"]), TextTable.cell(link["ios"]?["app"]),
                    TextTable.cell(link["android"]?["package"]), TextTable.cell(link["expires"]),
                ])
            }
            for line in TextTable.lines(rows) { Output.line(line) }
            if let next = answer["next"]?.string { Output.line("more: --after \(next)") }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a link; its clicks stay.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "The link's slug.")
        var slug: String

        func run() async throws {
            _ = try await target.client().call("DELETE", "/v1/links/\(slug.percentEncoded)")
            Output.line("\(slug) leads nowhere any more")
        }
    }
}
