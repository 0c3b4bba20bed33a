internal import AurumCore

/// One visitor of the demo: page views as the tracker sends them, then perhaps a talk with the advisor.
struct DemoVisitor: Sendable {
    var configuration: DemoTraffic.Configuration
    var campaign: DemoCampaign
    /// Whose advertisement this person had followed before, so that two networks may claim the sale.
    var earlier: DemoCampaign?
    var persona: Persona
    var chats: Bool
    /// Answers come at once and the first says much: so that the first sale is there within seconds.
    var hurries: Bool
    /// How long this person takes over things: 1 is thoughtful.
    private let tempo: Double
    /// Share of those who come by an advertisement who had followed one of another network before.
    private static let comparing = 0.25
    /// The browser that all of them have.
    static let desk = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    private var random: SeededRandom
    private let anonymousID: String
    private let traceID: String
    private let sessionID: String
    private let clickID: String?
    private let client: APIClient

    init(_ configuration: DemoTraffic.Configuration, number: UInt64, hurries: Bool, random source: SeededRandom) {
        self.configuration = configuration
        self.hurries = hurries
        random = source
        campaign = hurries ? DemoCampaign.opening(number) : DemoCampaign.draw(&random)
        persona = Persona.random(zips: configuration.zips, using: &random, number: number, mustQualify: hurries)
        tempo = hurries ? 0.1 : Double.random(in: 0.3...1, using: &random)
        let appetite = configuration.chatShare * campaign.appetite
        chats = hurries || Double.random(in: 0..<1, using: &random) < appetite
        anonymousID = ChatTalk.newID()
        sessionID = ChatTalk.newID()
        traceID = UID(now: SystemWallClock().now).hex
        clickID = Self.newClickID(campaign)
        client = APIClient(configuration.baseURL, key: configuration.publishableKey)
        let comparesOffers = hurries || Double.random(in: 0..<1, using: &random) < Self.comparing
        earlier = comparesOffers ? campaign.rival(&random) : nil
    }

    /// Throws only when the server cannot be reached or refuses.
    mutating func visit() async throws {
        let base = configuration.baseURL
        if let earlier {
            _ = try await land(earlier, clickID: Self.newClickID(earlier))
            try await pause(0.5...2)
        }
        let landing = try await land(campaign, clickID: clickID)
        var last = landing
        for page in pages() {
            try await pause(0.8...3.5)
            try await send(view(url: base + page.path, title: page.title, referrer: last))
            last = base + page.path
        }
        guard chats else { return }
        try await pause(0.2...1.5)
        try await track("chat_open", url: last)
        try await talk(page: landing)
    }

    private mutating func pages() -> [(path: String, title: String)] {
        let all = [
            ("/savings", "What solar saves"), ("/incentives", "Incentives this year"),
            ("/how-it-works", "How it works"),
            ("/questions", "Questions and answers"),
        ]
        return hurries ? [] : Array(all.shuffled(using: &random).prefix(Int.random(in: 0...3, using: &random)))
    }

    private mutating func talk(page: String) async throws {
        var talk = try await ChatTalk.open(
            base: configuration.baseURL, siteKey: configuration.publishableKey,
            hello: ChatHello(
                visitorID: anonymousID, traceID: traceID, page: page, referrer: campaign.referrer, clickID: clickID,
                utm: campaign.utm))
        var turns = 0
        if hurries {
            let words = ["ownership", "homeType", "zip", "bill"].compactMap { persona.answers[$0] }
            _ = try await say(words.joined(separator: ", "), &talk)
        }
        while !talk.turn.closed, let slots = talk.turn.slotAsked, turns < 30 {
            turns += 1
            if !hurries, turns > 3, Int.random(in: 0..<40, using: &random) == 0 { break }
            try await pause(1.2...4)
            _ = try await say(persona.answer(to: slots, quickReplies: talk.turn.quickReplies), &talk)
        }
        await talk.bye()
    }

    /// Says it, and says it again with the same id when told to wait.
    private func say(_ words: String, _ talk: inout ChatTalk) async throws -> ChatTurn {
        let id = ChatTalk.newID()
        let turn = try await talk.say(words, id: id)
        guard turn.error == "rate_limited", let wait = turn.retryAfter else { return turn }
        try await Task.sleep(for: min(wait, .seconds(15)))
        return try await talk.say(words, id: id)
    }

    /// A person's pause.
    private mutating func pause(_ seconds: ClosedRange<Double>) async throws {
        let drawn = Double.random(in: seconds, using: &random)
        try await Task.sleep(for: .seconds(drawn * tempo))
    }

    /// The first page of a visit, with what brought this person there.
    /// - Returns: its address.
    private func land(_ campaign: DemoCampaign, clickID: String?) async throws -> String {
        let url = campaign.landing(base: configuration.baseURL, clickID: clickID)
        var event = view(url: url, title: "Solar advice for New York City", referrer: campaign.referrer)
        if campaign.source != nil {
            var facts = campaign.utm.mapValues { JSONValue.string($0) }
            facts["name"] = facts.removeValue(forKey: "campaign")
            facts["network"] = campaign.network.map { .string($0) }
            event["campaign"] = .object(facts)
            event["click_id"] = clickID.map { .string($0) }
        }
        try await send(event)
        return url
    }

    private func view(url: String, title: String, referrer: String?) -> [String: JSONValue] {
        var event = common(type: "page", url: url)
        event["title"] = .string(title)
        event["referrer"] = referrer.map { .string($0) }
        return event
    }

    private static func newClickID(_ campaign: DemoCampaign) -> String? {
        campaign.clickParameter.map { "\($0)-\(UID(now: SystemWallClock().now).hex.suffix(20))" }
    }

    private func track(_ name: String, url: String) async throws {
        var event = common(type: "track", url: url)
        event["name"] = .string(name)
        try await send(event)
    }

    private func common(type: String, url: String) -> [String: JSONValue] {
        let now = SystemWallClock().now.rfc3339
        return [
            "id": .string(ChatTalk.newID()), "type": .string(type), "ts": .string(now), "sent_at": .string(now),
            "url": .string(url), "anonymous_id": .string(anonymousID), "trace_id": .string(traceID),
            "session_id": .string(sessionID),
            "consent": ["gpc": false, "analytics": "granted", "ads": "granted"],
            "context": [
                "user_agent": .string(Self.desk),
                "locale": "en-US",
                "timezone": "America/New_York", "library": "aurum.js", "screen_width": 1440, "screen_height": 900,
            ],
        ]
    }

    private func send(_ event: [String: JSONValue]) async throws {
        let answer = try await client.events([.object(event)], headers: [("Origin", configuration.baseURL)])
        guard answer.status == 202 else { throw DemoError.refused(status: answer.status, code: answer.code) }
    }
}

package enum DemoError: Error, Equatable {
    case refused(status: Int, code: String)
    /// What was waited for at this path did not come.
    case late(String)
}
