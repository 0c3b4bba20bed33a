internal import Accounts
internal import AurumCore
internal import NIOCore
internal import NIOHTTP1
internal import Telemetry

/// The dashboard's socket: the overview document, about once a second.
struct LiveSocket: Sendable {
    let access: Access
    let overview: OverviewFeed
    let loop: SocketLoop
    static let interval: Duration = .seconds(1)

    func principal(_ head: HTTPRequestHead) throws(Problem) -> Principal {
        let host = head.headers.first(name: "host")
        if let origin = head.headers.first(name: "origin"), let host, origin != "http://\(host)",
            origin != "https://\(host)"
        {
            throw .originNotAllowed
        }
        let bearer = head.headers.first(name: "authorization").flatMap { header in
            header.lowercased().hasPrefix("bearer ") ? access.keys.principal(forKey: String(header.dropFirst(7))) : nil
        }
        guard let principal = bearer ?? access.sessions.principal(cookies: head.headers.first(name: "cookie")) else {
            throw .unknownKey
        }
        guard principal.has(.analyticsRead) else { throw .scopeMissing(.analyticsRead) }
        return principal
    }

    func serve(_ socket: UpgradeChannel.Socket, _ principal: Principal) async {
        let (outgoing, send) = AsyncStream<SocketLoop.Output>.makeStream(bufferingPolicy: .bufferingNewest(4))
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while !Task.isCancelled {
                    if let document = try? await overview.document(org: principal.org) { send.yield(.text(document)) }
                    try? await Task.sleep(for: Self.interval)
                }
            }
            await loop.run(
                socket,
                SocketLoop.Peer(
                    receive: { _ in },
                    shutDown: { send.yield(.close(code: 1012, reason: "server restarts")) },
                    disconnect: { send.finish() }),
                outgoing: outgoing)
            group.cancelAll()
        }
    }
}
