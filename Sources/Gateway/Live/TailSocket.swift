internal import Accounts
internal import AurumCore
internal import Events
internal import Foundation
internal import Hummingbird
internal import NIOCore
internal import NIOHTTP1

/// The live tail: events as they become durable, for one organisation.
struct TailSocket: Sendable {
    let access: Access
    let feed: TailFeed
    let clock: any WallClock
    let loop: SocketLoop
    static let path = "/v1/tail"
    /// How long a client may take to read the goodbye of a server that stops.
    private static let goodbye: TimeAmount = .seconds(1)

    /// Between looks at whether whoever opened the tail is still signed in.
    private static let signInCheck: Duration = .seconds(1)

    /// What a client asked to see.
    struct Wish: Sendable {
        var filter: RowFilter
        var from: LogPosition?
    }

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
        let parameters = Self.parameters(head.uri)
        let key = parameters.first { $0.name == "key" }.flatMap { access.keys.principal(forKey: $0.value) }
        guard let principal = bearer ?? key ?? access.sessions.principal(cookies: head.headers.first(name: "cookie"))
        else { throw .unknownKey }
        guard principal.has(.eventsRead) else { throw .scopeMissing(.eventsRead) }
        return principal
    }

    private static func parameters(_ uri: String) -> [(name: String, value: String)] {
        (URLComponents(string: uri)?.queryItems ?? []).map { ($0.name, $0.value ?? "") }
    }

    /// - Throws: `badQuery` with the parameter that is wrong.
    static func wish(_ uri: String, org: String) throws(Problem) -> Wish {
        var condition: EventCondition?
        var apps: [String] = []
        var bots = BotChoice.exclude
        var from: LogPosition?
        for (name, value) in parameters(uri) {
            switch name {
            case "where" where !value.isEmpty:
                do throws(QueryParseError) { condition = try EventCondition(text: value) } catch {
                    throw .badQuery(name: "where", detail: error.plea)
                }
            case "app": apps.append(value)
            case "bots":
                guard let choice = BotChoice(rawValue: value) else {
                    throw .badQuery(name: "bots", detail: "must be exclude, include or only.")
                }
                bots = choice
            case "from" where !value.isEmpty:
                guard let position = LogPosition(value) else {
                    throw .badQuery(name: "from", detail: "must be a position of the log.")
                }
                from = position
            case "where", "from", "key": break
            default: throw .badQuery(name: "where", detail: "is one of where, app, bots, from; nothing else is known.")
            }
        }
        return Wish(filter: RowFilter(condition, org: org, apps: apps, bots: bots), from: from)
    }

    /// What a request is told that did not become a socket: why not.
    static func describe(_ access: Access, _ feed: TailFeed, in book: RouteBook) {
        let description = RouteDescription(
            "The live tail of events, a WebSocket.", tag: "sockets", scope: .eventsRead, success: 101,
            query: [
                "where": "A condition, such as name = purchase.", "app": "An app; may be given again.",
                "bots": "exclude, include or only.",
                "from": "A position of the log: everything after it comes first.",
            ])
        book.get(path, description) { request, _ -> Response in
            let key = RequestInput.text("key", request).flatMap { access.keys.principal(forKey: $0) }
            guard let principal = access.principal(request) ?? key else { throw Problem.unknownKey }
            guard principal.has(.eventsRead) else { throw Problem.scopeMissing(.eventsRead) }
            _ = try wish(request.uri.string, org: principal.org)
            if feed.isFull(principal.org) { throw Problem.rateLimited(retryAfterSeconds: 10) }
            throw Problem.upgradeRequired
        }
    }

    /// Why a request for the tail is no socket.
    func refusal(_ head: HTTPRequestHead) -> Problem? {
        do throws(Problem) {
            let principal = try principal(head)
            _ = try Self.wish(head.uri, org: principal.org)
            return feed.isFull(principal.org) ? .rateLimited(retryAfterSeconds: 10) : nil
        } catch { return error }
    }

    func serve(_ socket: UpgradeChannel.Socket, _ head: HTTPRequestHead) async {
        guard let principal = try? principal(head), let wish = try? Self.wish(head.uri, org: principal.org),
            let session = TailSession(feed, filter: wish.filter, from: wish.from, clock: clock)
        else { return await loop.turnAway(socket) }
        let channel = socket.channel
        let signIn = access.sessions.session(cookies: head.headers.first(name: "cookie"))?.id
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while await access.sessions.keepsAlive(signIn, principal) {
                    guard (try? await Task.sleep(for: Self.signInCheck)) != nil else { return }
                }
                session.end()
            }
            await run(socket, channel, session)
            group.cancelAll()
        }
    }

    private func run(_ socket: UpgradeChannel.Socket, _ channel: any NIOCore.Channel, _ session: TailSession) async {
        await loop.run(
            socket,
            SocketLoop.Peer(
                receive: { _ in },
                shutDown: {
                    session.end()
                    // A client that does not read holds the writer back for good.
                    _ = channel.eventLoop.scheduleTask(in: Self.goodbye) { channel.close(promise: nil) }
                },
                disconnect: { session.end() }),
            outgoing: TailOutput(session: session))
    }
}

/// The frames of a session, and a close when the server ends it.
private struct TailOutput: AsyncSequence, Sendable {
    typealias Element = SocketLoop.Output
    typealias Failure = Never
    let session: TailSession

    func makeAsyncIterator() -> Iterator { Iterator(frames: session.makeAsyncIterator()) }

    struct Iterator: AsyncIteratorProtocol {
        var frames: TailSession.Iterator
        var isOver = false

        mutating func next() async -> SocketLoop.Output? {
            if isOver { return nil }
            if let frame = await frames.next() { return .text(frame) }
            isOver = true
            return Task.isCancelled ? nil : .close(code: 1012, reason: "the tail ends; come back with from")
        }
    }
}
