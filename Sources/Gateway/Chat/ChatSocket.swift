internal import Accounts
internal import AurumCore
internal import Conversation
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import Telemetry

/// The visitor's socket: who may open it, and text moved to and from `Conversation`.
struct ChatSocket: Sendable {
    let access: Access
    let conversations: ConversationService
    let site: ChatSiteSettings
    let loop: SocketLoop

    /// The principal of a chat request: a publishable key in `site`, from an origin it is bound to.
    func principal(_ head: HTTPRequestHead) throws(Problem) -> Principal {
        let query = head.uri.split(separator: "?", maxSplits: 1).dropFirst().first ?? ""
        let key = query.split(separator: "&").first { $0.hasPrefix("site=") }?.dropFirst("site=".count) ?? ""
        guard let principal = access.keys.principal(forKey: String(key)), principal.has(.eventsWrite) else {
            throw .unknownKey
        }
        try access.checkOrigin(head.headers.first(name: "origin"), principal, host: head.headers.first(name: "host"))
        return principal
    }

    func serve(_ socket: UpgradeChannel.Socket, _ head: HTTPRequestHead, _ principal: Principal) async {
        let client = ChatClient(
            address: socket.channel.remoteAddress?.ipAddress ?? "unknown",
            userAgentFamily: head.headers.first(name: "user-agent").flatMap(UserAgent.family))
        let session = conversations.session(
            site: ChatSite(org: principal.org, operatorName: site.operatorName, flowID: site.flowID), client: client)
        await loop.run(
            socket,
            SocketLoop.Peer(
                receive: { await session.receive($0) }, shutDown: { session.shutDown() },
                disconnect: { session.disconnect() }),
            outgoing: session.outgoing.map { output in
                switch output {
                case .text(let text): SocketLoop.Output.text(text)
                case .close(let code, let reason): SocketLoop.Output.close(code: code, reason: reason)
                }
            })
    }
}

/// Families of browsers, for consent records: never the whole string, which could single a person out.
enum UserAgent {
    static func family(_ text: String) -> String? {
        let families = [
            ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
        ]
        return families.first { text.contains($0.0) }?.1
    }
}
