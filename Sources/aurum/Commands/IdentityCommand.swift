internal import ArgumentParser
internal import AurumCore
internal import Events
internal import Foundation

/// Who is who: through the server when one runs, from its folder otherwise.
struct IdentityCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "identity", abstract: "Show which identifiers are one person; merge two persons, or take it back.",
        discussion: "An identifier is NAMESPACE:VALUE; namespaces are anonymous, user, device, distinct and group.",
        subcommands: [Show.self, Merge.self, Unmerge.self, Erase.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "The person behind an identifier.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The identifier, for example user:u1.")
        var identifier: NamedIdentifier
        @Option(name: .long, help: "Organisation.")
        var org = "default"

        func run() async throws {
            let configuration = try await options.read()
            let (identifier, org) = (identifier.identifier, org)
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let query = ServerClient.query([
                    ("namespace", identifier.namespace.name), ("value", identifier.value), ("org", org),
                ])
                return Output.line(
                    try await ServerClient(contact: contact).call("GET", "/v1/identity" + query).canonical)
            }
            try await EventsCommand.withLog(configuration) { log in
                Output.line(try await log.identity.person(org: org, identifier).json.canonical)
            }
        }
    }

    struct Merge: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make two persons one; prints the merge's id.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "An identifier of the one person.")
        var first: NamedIdentifier
        @Argument(help: "An identifier of the other.")
        var second: NamedIdentifier
        @Option(name: .long, help: "Why; kept in the log.")
        var reason: String
        @Option(name: .long, help: "Organisation.")
        var org = "default"

        func run() async throws {
            let configuration = try await options.read()
            let (a, b, reason, org) = (first.identifier, second.identifier, reason, org)
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let answer = try await ServerClient(contact: contact).call(
                    "POST", "/v1/identity/merge?org=\(org.percentEncoded)",
                    body: ["a": a.json, "b": b.json, "reason": .string(reason)])
                return Output.line(answer["merge_id"]?.string ?? "")
            }
            try await EventsCommand.withLog(configuration) { log in
                let merge = try await IdentityCommand.sentences {
                    try await log.identity.merge(org: org, a, b, reason: reason, actor: "aurum identity")
                }
                Output.line(merge.text)
            }
        }
    }

    struct Unmerge: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take one link out again, whatever made it.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The merge, mrg_….")
        var merge: String
        @Option(name: .long, help: "Why; kept in the log.")
        var reason: String
        @Option(name: .long, help: "Organisation.")
        var org = "default"

        func run() async throws {
            guard let id = MergeID(merge) else { throw ValidationError("a merge is mrg_ and 32 hex digits") }
            let configuration = try await options.read()
            let (reason, org) = (reason, org)
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                _ = try await ServerClient(contact: contact).call(
                    "POST", "/v1/identity/unmerge?org=\(org.percentEncoded)",
                    body: ["merge_id": .string(id.text), "reason": .string(reason)])
            } else {
                try await EventsCommand.withLog(configuration) { log in
                    try await IdentityCommand.sentences {
                        try await log.identity.unmerge(org: org, id, reason: reason, actor: "aurum identity")
                    }
                }
            }
            Output.line("unmerged \(id.text)")
        }
    }

    struct Erase: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Erase every event of a person: hidden at once, taken out of the files later.",
            discussion: """
                Prints the record of the erasure, which names nobody. It cannot be taken back.
                Example: aurum identity erase user:u1
                """)

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "An identifier of the person; all that are linked to it go as well.")
        var identifier: NamedIdentifier
        @Option(name: .long, help: "Organisation.")
        var org = "default"

        func run() async throws {
            let configuration = try await options.read()
            let (identifier, org) = (identifier.identifier, org)
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let answer = try await ServerClient(contact: contact).call(
                    "POST", "/v1/identity/erase?org=\(org.percentEncoded)", body: identifier.json)
                return Output.line(answer.canonical)
            }
            try await EventsCommand.withGovernedLog(configuration) { log, policies, _ in
                let stored = policies.storedForm(identifier, org: org)
                let record = try await log.upkeep.erase(org: org, [stored], actor: "aurum identity")
                Output.line(record.json.canonical)
            }
        }
    }

    /// Refusals as sentences for the operator.
    private static func sentences<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as IdentityError {
            switch error {
            case .refused(let refusal): throw CommandFailure("\(refusal.rawValue): \(refusal.detail)")
            case .sameIdentifier: throw CommandFailure("the two identifiers are the same")
            case .unknownMerge: throw CommandFailure("there is no such merge, or it was taken back before")
            }
        }
    }
}

/// `NAMESPACE:VALUE` on the command line.
struct NamedIdentifier: ExpressibleByArgument {
    let identifier: PersonIdentifier

    init?(argument: String) {
        let parts = argument.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let namespace = PersonIdentifier.Namespace(name: String(parts[0])) else { return nil }
        identifier = PersonIdentifier(namespace, String(parts[1]))
    }
}

extension PersonIdentifier {
    fileprivate var json: JSONValue { ["namespace": .string(namespace.name), "value": .string(value)] }
}
