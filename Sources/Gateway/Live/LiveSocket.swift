internal import Accounts
internal import AurumCore
internal import NIOCore
internal import NIOHTTP1
internal import Runtime
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

    func serve(_ socket: UpgradeChannel.Socket, _ head: HTTPRequestHead, _ principal: Principal) async {
        let session = access.sessions.session(cookies: head.headers.first(name: "cookie"))?.id
        let (outgoing, send) = AsyncStream<SocketLoop.Output>.makeStream(bufferingPolicy: .bufferingNewest(4))
        let news = overview.news(org: principal.org)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                var isFirst = true
                while !Task.isCancelled {
                    guard await access.sessions.keepsAlive(session, principal) else {
                        send.yield(.close(code: 1008, reason: "signed out"))
                        // Nothing that comes later may push the goodbye out.
                        return send.finish()
                    }
                    // Whoever asks first makes the next one, and all hear of it.
                    let document = try? await overview.document(org: principal.org)
                    if isFirst, let document { send.yield(.text(document)) }
                    isFirst = isFirst && document == nil
                    try? await Task.sleep(for: Self.interval)
                }
            }
            group.addTask { await pass(news, principal.org, to: send) }
            await loop.run(
                socket,
                SocketLoop.Peer(
                    receive: { _ in },
                    shutDown: {
                        send.yield(.close(code: 1012, reason: "server restarts"))
                        send.finish()
                    },
                    disconnect: { send.finish() }),
                outgoing: outgoing)
            group.cancelAll()
        }
    }

    /// Every new document, until the socket ends.
    private func pass(
        _ news: PubSubMessages, _ org: String, to send: AsyncStream<SocketLoop.Output>.Continuation
    ) async {
        for await message in news {
            if case .message(_, _, let document) = message, !document.isEmpty {
                send.yield(.text(String(decoding: document, as: UTF8.self)))
            } else if let document = try? await overview.document(org: org) {
                send.yield(.text(document))
            }
        }
    }
}
