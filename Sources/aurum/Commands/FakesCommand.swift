internal import ArgumentParser
internal import Logging
internal import ServiceLifecycle
internal import Telemetry
internal import UnixSignals
internal import Validation

/// Two lead buyers and two advertising networks as real HTTP servers on loopback.
struct FakesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fakes",
        abstract: "Run lead buyers and advertising networks to test against: real HTTP servers on loopback.",
        discussion: """
            Paths: POST /{code}/ping, POST /{code}/post, GET /{code}/book, PUT /{code}/behaviour {"behaviour":"slow"}.
            Behaviours: \(BuyerBehaviour.allCases.map(\.rawValue).joined(separator: ", ")).
            Advertising networks take conversions as endpoints of `aurum uploads add`, with the access token \
            \(FakeNetwork.token); GET /networks tells what each counted. /callbacks/NAME takes callbacks of \
            `aurum callbacks add`, signed with \(FakeReceiver.secret); GET /callbacks tells what came.
            """)

    @Option(name: .long, help: "Port to listen on; 0 takes a free one.")
    var port = 9090

    func run() async throws {
        LoggingSystem.bootstrap { StructuredLogHandler(label: $0, level: .warning, format: .pretty) }
        let logger = Logger(label: "fakes")
        let server = FakesServer(buyers: FakesServer.demoBuyers, port: port, logger: logger)
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        async let running: Void = group.run()
        let bound = try await server.port()
        for buyer in server.buyers { Output.line("buyer \(buyer.code) at http://127.0.0.1:\(bound)/\(buyer.code)") }
        Output.line("network meta at http://127.0.0.1:\(bound)/meta/v21.0")
        Output.line("network google at http://127.0.0.1:\(bound)/google")
        Output.line("callbacks at http://127.0.0.1:\(bound)/callbacks/NAME")
        try await running
    }
}
