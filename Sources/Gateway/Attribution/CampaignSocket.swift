internal import Accounts
internal import Attribution
internal import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// Campaign reports that are watched: each made once however many watch it.
final class CampaignFeed: Sendable {
    struct Watch: Hashable, Sendable {
        var org: String
        var question: CampaignQuestion
    }

    /// Reports kept; with more, the oldest leave.
    private static let keptMax = 64
    private let reports: CampaignReports
    private let copies = ReportCopies<Watch>(freshFor: LivePace.freshFor, copiesMax: keptMax)

    init(_ reports: CampaignReports) { self.reports = reports }

    /// Grows with every change that this process makes.
    var revision: UInt64 { reports.attribution.revision.value }

    var now: Timestamp { reports.clock.now }

    func document(_ watch: Watch) async throws -> String {
        try await copies.text(watch, revision: { revision }) {
            try await reports.report(org: watch.org, watch.question).document.canonical
        }
    }
}

/// The socket of the page Campaigns: the report that its address asks for, whenever it changes.
struct CampaignSocket: Sendable {
    static let path = "/v1/live/campaigns"
    /// How often it is looked whether the key and the session still hold.
    static let signInEvery: Duration = .seconds(1)

    let live: LiveSocket
    let feed: CampaignFeed
    let loop: SocketLoop

    /// What the address asks for: the parameters of the report, `model`, and `compare=1` for all models.
    func watch(_ head: HTTPRequestHead, _ principal: Principal) throws(Problem) -> CampaignFeed.Watch {
        let values = Self.query(head.uri)
        let question = try AttributionRoutes.question("model", compares: values["compare"] == "1", now: feed.now) {
            values[$0]
        }
        return CampaignFeed.Watch(org: principal.org, question: question)
    }

    func serve(_ socket: UpgradeChannel.Socket, _ head: HTTPRequestHead) async {
        guard let principal = try? live.principal(head), let watch = try? watch(head, principal) else {
            return await loop.turnAway(socket)
        }
        let sessions = live.access.sessions
        let session = sessions.session(cookies: head.headers.first(name: "cookie"))?.id
        let (outgoing, send) = AsyncStream<SocketLoop.Output>.makeStream(bufferingPolicy: .bufferingNewest(4))
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while await sessions.keepsAlive(session, principal) {
                    guard (try? await Task.sleep(for: Self.signInEvery)) != nil else { return }
                }
                send.yield(.close(code: 1008, reason: "signed out"))
                // Nothing that comes later may push the goodbye out.
                send.finish()
            }
            group.addTask { await push(watch, send) }
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

    private func push(_ watch: CampaignFeed.Watch, _ send: AsyncStream<SocketLoop.Output>.Continuation) async {
        var pace = LivePace()
        while !Task.isCancelled {
            let began = ContinuousClock.now
            if pace.isDue(feed.revision, at: began) {
                if let document = try? await feed.document(watch) { send.yield(.text(document)) }
                pace.done(from: began, to: .now)
            }
            try? await Task.sleep(for: LivePace.lookEvery)
        }
    }

    private static func query(_ uri: String) -> [String: String] {
        guard let mark = uri.firstIndex(of: "?") else { return [:] }
        var values: [String: String] = [:]
        for pair in uri[uri.index(after: mark)...].split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let value = String(parts[1]).removingPercentEncoding else { continue }
            values[String(parts[0])] = value
        }
        return values
    }
}
