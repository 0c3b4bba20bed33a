import AurumCore
import Conversation
import Database
import Foundation
import Leads
import Logging
import Runtime
import Solar
import Telemetry
import TestSupport

/// A solar conversation over the real service, a real database file and the real lead intake.
struct SolarStage {
    let database: Database
    let service: ConversationService
    let folder: URL

    init(limits: ConversationLimits = SolarStage.relaxed) async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "aurum-flow-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let registry = MetricRegistry()
        let clock = SystemWallClock()
        database = try Database.forTest(
            at: folder.appending(path: "records.sqlite").path, registry: registry, clock: clock)
        let territory = try Territory()
        let issuer = try CertificateIssuer.open(
            keyFile: folder.appending(path: "issuer.key").path, issuer: "test", clock: clock)
        let jobs = SQLJobStore(database: database, fences: SQLFences(database: database), registry: registry)
        let intake = SolarIntake(
            intake: LeadIntake(
                policies: try ScorePolicies.embedded(), issuer: issuer, jobs: LeadJobs(jobs), clock: clock,
                registry: registry),
            territory: territory)
        service = ConversationService(
            database: database, flows: try SolarFlow.catalogue(territory: territory, estimator: try SolarEstimator()),
            clock: clock, registry: registry, logger: Logger(label: "test"), limits: limits,
            onEnd: { ended, tx in try intake.accept(ended, in: tx) })
    }

    /// Limits of a scripted visitor, who types faster than people do.
    static var relaxed: ConversationLimits {
        var limits = ConversationLimits()
        limits.messagesPer10Seconds = 1000
        limits.conversationsPerAddressHour = 100_000
        limits.conversationsPerSiteMinute = 100_000
        return limits
    }

    func talk(language: String = "en", hello: [String: JSONValue] = [:]) async throws -> SolarTalk {
        let session = service.session(
            site: ChatSite(org: "acme", operatorName: "Acme Solar Desk", flowID: SolarFlow.id),
            client: ChatClient(address: "203.0.113.9", userAgentFamily: "test"))
        let talk = SolarTalk(session: session, stage: self)
        var frame = hello
        frame["type"] = "hello"
        frame["language"] = .string(language)
        await talk.exchange(.object(frame))
        return talk
    }

    func close() throws {
        try database.close()
        try FileManager.default.removeItem(at: folder)
    }
}

/// One visitor's side of a socket.
final class SolarTalk {
    let session: ChatSession
    let stage: SolarStage
    private(set) var frames: [JSONValue] = []
    private var reader: AsyncStream<ChatOutput>.Iterator
    private var sent = 0

    init(session: ChatSession, stage: SolarStage) {
        self.session = session
        self.stage = stage
        reader = session.outgoing.makeAsyncIterator()
    }

    /// Sends a frame and reads everything that it caused.
    @discardableResult
    func exchange(_ frame: JSONValue) async -> [JSONValue] {
        await session.receive(frame.canonical)
        sent += 1
        await session.receive("{\"type\":\"ping\",\"nonce\":\"\(sent)\"}")
        var answers: [JSONValue] = []
        while let output = await reader.next(isolation: #isolation) {
            guard case .text(let text) = output,
                let frame = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
            else { break }
            if frame["type"]?.string == "pong", frame["nonce"]?.string == String(sent) { break }
            answers.append(frame)
        }
        frames += answers
        return answers
    }

    @discardableResult
    func say(_ text: String) async -> [JSONValue] {
        await exchange(["type": "message", "clientMessageID": .string(UUID().uuidString), "text": .string(text)])
    }

    @discardableResult
    func press(_ id: String) async -> [JSONValue] {
        await exchange(["type": "message", "clientMessageID": .string(UUID().uuidString), "quickReplyID": .string(id)])
    }

    var conversationID: UID? {
        frames.first { $0["type"]?.string == "welcome" }?["conversationID"]?.string.flatMap { UID($0) }
    }
    var lastText: String { texts.last ?? "" }
    var texts: [String] { frames.filter { $0["type"]?.string == "message" }.compactMap { $0["text"]?.string } }
    var asked: [String] { frames.compactMap { $0["slotAsked"]?.string } }

    func row() async throws -> ConversationRow? {
        guard let id = conversationID else { return nil }
        return try await stage.service.read(org: "acme", id: id)
    }
}
