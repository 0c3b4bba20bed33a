import AurumCore
import Conversation
import Database
import Foundation
import Logging
import Synchronization
import Telemetry
import TestSupport

/// A wall clock that a test moves.
final class HandClock: WallClock {
    private let time = Mutex(Timestamp(microseconds: 1_795_000_000_000_000))

    var now: Timestamp { time.withLock { $0 } }

    func advance(by duration: Duration) { time.withLock { $0 = $0 + duration } }
}

/// Conversations that ended, as the vertical saw them.
final class EndedLog: Sendable {
    private let list = Mutex<[EndedConversation]>([])

    var all: [EndedConversation] { list.withLock { $0 } }

    func add(_ ended: EndedConversation) { list.withLock { $0.append(ended) } }
}

/// The service over a real database file, with what it handed to the vertical.
final class Stage: Sendable {
    let folder: URL
    let clock = HandClock()
    let database: Database
    let service: ConversationService
    let registry = MetricRegistry()
    private let endedLog: EndedLog

    var ended: [EndedConversation] { endedLog.all }

    init(limits: ConversationLimits = Stage.relaxed, functions: FlowFunctions = TestFlow.functions, folder: URL? = nil)
        throws
    {
        self.folder =
            folder ?? FileManager.default.temporaryDirectory.appending(path: "aurum-talk-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        database = try Database.forTest(
            at: self.folder.appending(path: "records.sqlite").path, registry: registry, clock: clock)
        let endedLog = EndedLog()
        self.endedLog = endedLog
        service = ConversationService(
            database: database,
            flows: try FlowCatalogue(
                sources: [FlowSource(name: "test.yaml", text: TestFlow.yaml)], functions: functions),
            clock: clock, registry: registry, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            limits: limits, onEnd: { ended, _ in endedLog.add(ended) })
    }

    static var relaxed: ConversationLimits {
        var limits = ConversationLimits()
        limits.messagesPer10Seconds = 10_000
        limits.messagesPerDay = 10_000
        limits.queuedInputsMax = 1000
        limits.conversationsPerAddressHour = 100_000
        limits.conversationsPerSiteMinute = 100_000
        return limits
    }

    static let site = ChatSite(org: "acme", operatorName: "Acme", flowID: "test.flow")

    func talk(_ hello: [String: JSONValue] = [:]) async -> Talk {
        let talk = Talk(
            service.session(site: Self.site, client: ChatClient(address: "203.0.113.9", userAgentFamily: "test")))
        await talk.hello(hello)
        return talk
    }

    func remove() throws {
        try database.close()
        try FileManager.default.removeItem(at: folder)
    }
}

/// One visitor's side of a socket.
final class Talk {
    let session: ChatSession
    private(set) var frames: [JSONValue] = []
    private(set) var closed: ChatOutput?
    private var reader: AsyncStream<ChatOutput>.Iterator
    private var pings = 0

    init(_ session: ChatSession) {
        self.session = session
        reader = session.outgoing.makeAsyncIterator()
    }

    @discardableResult
    func hello(_ members: [String: JSONValue] = [:]) async -> [JSONValue] {
        await exchange(.object(members.merging(["type": "hello"]) { $1 }))
    }

    /// Sends one frame and reads everything that is waiting afterwards.
    @discardableResult
    func exchange(_ frame: JSONValue) async -> [JSONValue] {
        await session.receive(frame.canonical)
        return await drain()
    }

    /// Reads what the server has sent so far.
    @discardableResult
    func drain() async -> [JSONValue] {
        pings += 1
        await session.receive("{\"type\":\"ping\",\"nonce\":\"\(pings)\"}")
        var answers: [JSONValue] = []
        while let output = await reader.next(isolation: #isolation) {
            guard case .text(let text) = output, let frame = Self.decode(text) else {
                closed = output
                break
            }
            if frame["type"]?.string == "pong", frame["nonce"]?.string == String(pings) { break }
            answers.append(frame)
        }
        frames += answers
        return answers
    }

    static func decode(_ text: String) -> JSONValue? {
        try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    @discardableResult
    func say(_ text: String, id: String = UUID().uuidString) async -> [JSONValue] {
        await exchange(["type": "message", "clientMessageID": .string(id), "text": .string(text)])
    }

    @discardableResult
    func press(_ reply: String) async -> [JSONValue] {
        await exchange([
            "type": "message", "clientMessageID": .string(UUID().uuidString), "quickReplyID": .string(reply),
        ])
    }

    func frames(_ type: String) -> [JSONValue] { frames.filter { $0["type"]?.string == type } }

    var welcome: JSONValue? { frames("welcome").last }
    var id: UID { welcome?["conversationID"]?.string.flatMap { UID($0) } ?? UID(high: 0, low: 0) }
    var token: String { welcome?["resumeToken"]?.string ?? "" }
    var texts: [String] { frames("message").compactMap { $0["text"]?.string } }
    var lastText: String { texts.last ?? "" }
    var asked: String? { frames("message").last?["slotAsked"]?.string }
    var owner: String? { frames("owner").last?["owner"]?.string }
    var seqs: [Int] { frames.compactMap { $0["seq"]?.integer.map(Int.init) } }
}
