internal import ArgumentParser
internal import Foundation
internal import NIOCore

/// A running server: the one of the data folder, or another with a key.
struct ServerTarget: ParsableArguments {
    @OptionGroup var options: ConfigurationOptions
    @Option(name: .long, help: "Server to ask, with a key in AURUM_KEY.")
    var url: String?

    /// A million rows of spend on a busy machine.
    private static let timeout = TimeAmount.minutes(10)

    func client() async throws -> ServerClient {
        if let url {
            guard let key = ProcessInfo.processInfo.environment["AURUM_KEY"], !key.isEmpty else {
                throw ValidationError("--url needs a key in AURUM_KEY")
            }
            return ServerClient(
                contact: ServerContact(url: url, token: key, pid: 0), timeout: Self.timeout)
        }
        let configuration = try await options.read()
        guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
            throw CommandFailure("no server runs on \(configuration.dataDirectory); start one with aurum serve")
        }
        return ServerClient(contact: contact, timeout: Self.timeout)
    }
}
