package import AurumCore
internal import Crypto
package import Database
package import Logging
package import Runtime
internal import Synchronization
package import Telemetry

/// Drives dialogues: loads, steps, stores, then publishes. Nothing a visitor sees is sent before it is durable.
///
/// Turns of one conversation run one after another; different conversations run side by side. It has no tasks of its
/// own.
package final class ConversationService: Sendable {
    /// Called in the transaction of the turn that ends a conversation; throwing undoes the turn.
    package typealias OnEnd = @Sendable (EndedConversation, Transaction) throws -> Void

    package let limits: ConversationLimits
    let clock: any WallClock
    let database: Database
    let flows: FlowCatalogue
    let logger: Logger
    let onEnd: OnEnd
    let metrics: ConversationMetrics
    private let lanes = Mutex<[LaneKey: ConversationLane]>([:])
    private let rates: ConversationRates

    private struct LaneKey: Hashable { let org: String; let id: UID }

    /// What `open` gives to a session.
    struct Opened: Sendable {
        var welcome: ServerFrame.Welcome
        var tokenExpired: Bool
    }

    /// - Parameter limiter: counts new conversations and messages; nil for one of this process alone.
    package init(
        database: Database, flows: FlowCatalogue, clock: any WallClock, registry: MetricRegistry, logger: Logger,
        limits: ConversationLimits = .standard, limiter: (any RateLimiter)? = nil, onEnd: @escaping OnEnd
    ) {
        self.database = database
        self.flows = flows
        self.clock = clock
        self.limits = limits
        self.logger = logger
        self.onEnd = onEnd
        metrics = ConversationMetrics(registry)
        rates = ConversationRates(limiter: limiter ?? MemoryRateLimiter(clock: clock), limits: limits)
    }

    /// The protocol for one accepted socket. Stores nothing until `hello` arrives.
    package func session(site: ChatSite, client: ChatClient) -> ChatSession {
        ChatSession(service: self, site: site, client: client)
    }

    // Lanes.

    /// The lane of a conversation, held until `release`.
    func lane(org: String, id: UID) -> ConversationLane {
        lanes.withLock { lanes in
            let key = LaneKey(org: org, id: id)
            let lane = lanes[key] ?? ConversationLane(org: org, id: id)
            lanes[key] = lane
            lane.retain()
            return lane
        }
    }

    func release(_ lane: ConversationLane) {
        lanes.withLock { lanes in
            if lane.release() { lanes[LaneKey(org: lane.org, id: lane.id)] = nil }
        }
    }

    /// Puts a message in its conversation's queue and returns when it is answered. `finish` is called once, before the
    /// frames of the reply are published.
    func submit(
        _ lane: ConversationLane, _ clientMessageID: UID, _ message: VisitorMessage,
        finish: @escaping @Sendable (Result<UID, ConversationError>) -> Void
    ) async {
        if lane.stored(clientMessageID) == nil {
            do throws(ConversationError) {
                try await rates.message(org: lane.org, conversation: lane.id)
            } catch {
                metrics.refused.increment()
                return finish(.failure(error))
            }
        }
        let promise = Promise()
        let item = QueuedMessage(clientMessageID: clientMessageID, message: message) { result in
            finish(result)
            promise.fulfil()
        }
        switch lane.admit(item, limits: limits, now: clock.now) {
        case .run: await run(lane)
        case .queued: break
        case .refused(let wait):
            metrics.refused.increment()
            item.finish(.failure(.rateLimited(retryAfterMilliseconds: wait)))
        }
        await promise.wait()
    }

    private func run(_ lane: ConversationLane) async {
        while true {
            let batch = lane.takeBatch()
            if batch.isEmpty { return }
            await turn(lane, batch)
        }
    }

    func storedFrames(org: String, id: UID, after seq: Int) async throws(ConversationError) -> [StoredFrame] {
        try await guarded { [database] in
            try await database.read("conversation.frames") { tx in
                try ConversationStore.frames(org: org, id: id, after: seq, tx)
            }
        }
    }

    /// Runs a store operation; its failure becomes an error that a client may see, its cause a log line.
    func guarded<Value: Sendable>(
        _ body: () async throws -> Value
    ) async throws(ConversationError) -> Value {
        do {
            return try await body()
        } catch let error as ConversationError {
            throw error
        } catch SQLError.staleFence {
            throw .staleFence
        } catch {
            logger.error("conversation store failed", metadata: ["code": "conversation_store", "error": "\(error)"])
            throw .unavailable("store")
        }
    }
}

// Opening and resuming.
extension ConversationService {
    func open(_ hello: Hello, site: ChatSite, client: ChatClient) async throws(ConversationError) -> Opened {
        var expired = false
        if let token = hello.resumeToken {
            if let opened = try await resume(token, hello, site) { return opened }
            expired = true
        }
        var opened = try await start(hello, site, client)
        opened.tokenExpired = expired
        return opened
    }

    private func resume(_ token: String, _ hello: Hello, _ site: ChatSite) async throws(ConversationError) -> Opened? {
        let now = clock.now
        let fresh = ResumeToken()
        let old = ResumeToken.hash(token)
        let limits = limits
        let found: (ConversationRecord, [VisitorLine])? = try await guarded { [database] in
            try await database.write("conversation.resume") { tx in
                guard let row = try ConversationStore.token(org: site.org, hash: old, tx), row.expiresAt > now,
                    row.replacedAt.map({ now < $0 + limits.replacedTokenGrace }) ?? true,
                    let record = try ConversationStore.record(org: site.org, id: row.conversationID, tx)
                else { return nil }
                try ConversationStore.replaceToken(org: site.org, hash: old, at: now, tx)
                try ConversationStore.insertToken(
                    org: site.org, hash: fresh.hash, id: record.id, at: now, expires: now + limits.resumeTokenLifetime,
                    tx)
                return (record, try ConversationStore.visitorLines(org: site.org, id: record.id, tx))
            }
        }
        guard let (record, lines) = found else { return nil }
        let welcome = welcome(
            record, token: fresh.text, resumed: true, replayFrom: min(hello.lastSeq, record.lastFrame) + 1, lines: lines
        )
        return Opened(welcome: welcome, tokenExpired: false)
    }

    private func start(_ hello: Hello, _ site: ChatSite, _ client: ChatClient) async throws(ConversationError) -> Opened
    {
        let now = clock.now
        try await rates.open(org: site.org, site: site.flowID, address: client.address)
        guard let flow = flows.flow(site.flowID) else { throw .unavailable("no_flow") }
        let record = newRecord(hello, site, client, flow, now)
        var work = TurnWork(record: record, flow: flow, service: self, now: now)
        await work.step(.opened)
        let write = work.finished()
        let fresh = ResumeToken()
        let limits = limits
        try await guarded { [database] in
            try await database.write("conversation.start") { tx in
                try ConversationStore.insert(write, tx)
                try ConversationStore.insertToken(
                    org: site.org, hash: fresh.hash, id: record.id, at: now, expires: now + limits.resumeTokenLifetime,
                    tx)
            }
        }
        metrics.started.increment()
        let welcome = welcome(write.record, token: fresh.text, resumed: false, replayFrom: 1, lines: [])
        return Opened(welcome: welcome, tokenExpired: false)
    }

    private func newRecord(
        _ hello: Hello, _ site: ChatSite, _ client: ChatClient, _ flow: FlowDefinition, _ now: Timestamp
    ) -> ConversationRecord {
        let id = UID(now: now)
        let wanted = hello.language.flatMap { flow.languages.contains($0) ? $0 : nil }
        let source = ConversationSource(
            page: hello.page, referrer: hello.referrer, clickID: hello.clickID, utm: hello.utm,
            consentState: hello.consentState, ipPrefix: client.prefix, userAgentFamily: client.userAgentFamily)
        return ConversationRecord(
            org: site.org, id: id, visitorID: hello.visitorID ?? "conversation-\(id.hex)",
            traceID: hello.traceID ?? UID(now: now), flowID: flow.id, flowHash: flow.hash,
            operatorName: site.operatorName, owner: .bot, ownerPerson: nil, fence: 1, version: 1, lastSequence: 0,
            lastFrame: 0, outcome: nil, product: nil, source: source,
            state: DialogueState(flowHash: flow.hash, language: wanted ?? flow.languages.first ?? .english),
            createdAt: now, endedAt: nil)
    }

    private func welcome(
        _ record: ConversationRecord, token: String, resumed: Bool, replayFrom: Int, lines: [VisitorLine]
    ) -> ServerFrame.Welcome {
        let disclosure = Template.render(flows.core[.disclosure, record.state.language]) { _ in record.operatorName }
        return ServerFrame.Welcome(
            conversationID: record.id, traceID: record.traceID, resumeToken: token, resumed: resumed,
            owner: record.owner, language: record.state.language, disclosure: disclosure, replayFrom: replayFrom,
            visitorMessages: lines)
    }
}

/// 256 random bits that let one visitor come back; stored only as a hash.
struct ResumeToken {
    let text: String

    init() {
        var random = SystemRandomNumberGenerator()
        text = Hex.encode((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }

    var hash: [UInt8] { Self.hash(text) }

    static func hash(_ text: String) -> [UInt8] { Array(SHA256.hash(data: Array(text.utf8))) }
}

/// The service's own series.
struct ConversationMetrics: Sendable {
    let started: Counter
    let accepted: Counter
    let duplicate: Counter
    let refused: Counter
    let fenced: Counter
    let functionFailures: Counter
    let turnDuration: Histogram
    private let registry: MetricRegistry

    init(_ registry: MetricRegistry) {
        self.registry = registry
        started = registry.counter(.conversationsStarted)
        accepted = registry.counter(.conversationMessages, "accepted")
        duplicate = registry.counter(.conversationMessages, "duplicate")
        refused = registry.counter(.conversationMessages, "refused")
        fenced = registry.counter(.conversationRepliesFenced)
        functionFailures = registry.counter(.conversationFunctionFailures)
        turnDuration = registry.histogram(.conversationTurnDuration)
    }

    func ended(_ outcome: ConversationOutcome) { registry.counter(.conversationsEnded, outcome.rawValue).increment() }

    /// `reason` is one of the engine's own words.
    func handedOver(_ reason: String) { registry.counter(.conversationHandOvers, reason).increment() }
}
