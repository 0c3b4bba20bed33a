internal import ArgumentParser
internal import Attribution
internal import AurumCore
internal import Foundation

/// Tools around attribution.
struct AttributionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attribution",
        abstract: "Credit the conversions of the event log; saturation, cohorts, advice and claims; Apple's postbacks.",
        subcommands: [
            Run.self, Report.self, Compare.self, Why.self, Conversions.self, Schedule.self, Windows.self,
            Experiments.self, Saturation.self, Cohorts.self, Retention.self, Advice.self, Claims.self,
            SharedClaims.self, Installs.self, ReEngagements.self, PostbackCommand.self,
        ])

    struct PostbackCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "postback", abstract: "Postbacks of SKAdNetwork and AdAttributionKit.",
            subcommands: [Verify.self, PostbackList.self, PostbackSummary.self, PostbackSchema.self])
    }

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Check the signature of one postback body, offline.",
            discussion: """
                Takes SKAdNetwork 2.1, 2.2, 3.0 and 4.0 and AdAttributionKit, as a device or a network posted it. Exit \
                0 valid, 1 invalid or unverifiable, 2 no postback at all.
                Example: aurum attribution postback verify body.json --json
                """)

        @Argument(help: "The file with the body, or - for standard input.")
        var file: String
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() throws {
            let postback: Postback
            do {
                postback = try PostbackVerifier.read(try body())
            } catch let error as PostbackError {
                Output.error("\(file): \(error.sentence)")
                throw ExitCode(2)
            } catch let error as InputError {
                Output.error(error.sentence)
                throw ExitCode(2)
            }
            if json { try Output.json(postback.json) } else { Output.line(Self.text(postback)) }
            if postback.verdict != .valid { throw ExitCode(1) }
        }

        private func body() throws -> [UInt8] {
            let source = try AttributeCommand.source(file)
            var bytes = [UInt8](repeating: 0, count: PostbackVerifier.bodyBytesMax + 1)
            var filled = 0
            while filled < bytes.count {
                let room = filled
                let count = try bytes.withUnsafeMutableBytes { buffer in
                    try source(UnsafeMutableRawBufferPointer(rebasing: buffer[room...]))
                }
                if count == 0 { break }
                filled += count
            }
            return Array(bytes[..<filled])
        }

        private static func text(_ postback: Postback) -> String {
            var lines = [
                "\(postback.verdict.rawValue): \(postback.reason)",
                "\(postback.kind.rawValue) \(postback.version), \(postback.environment.rawValue)"
                    + (postback.keyID.map { ", key \($0)" } ?? ""),
            ]
            for field in postback.signed { lines.append("  signed    \(field.name) = \(field.value.canonical)") }
            for (name, value) in postback.unsigned.sorted(by: { $0.key < $1.key }) {
                lines.append("  unsigned  \(name) = \(value.canonical)")
            }
            return lines.joined(separator: "\n")
        }
    }
}
