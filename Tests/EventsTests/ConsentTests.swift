internal import AurumCore
internal import Events
internal import TestSupport
import Testing

/// Consent before the log.
struct ConsentTests {
    private static let full = """
        {"id":"d1","type":"conversion","name":"purchase","user_id":"needle-user","anonymous_id":"needle-anonymous",\
        "device_id":"needle-device","session_id":"needle-session","click_id":"needle-click","order_id":"needle-order",\
        "trace_id":"00000000000000000000000000c0ffee","advertising_id":"needle-advertising","vendor_id":"needle-vendor",\
        "value":"12.50","currency":"USD","url":"https://shop.example/p?gclid=needle-gclid&utm_source=google&u=needle-user",\
        "props":{"size":"L","copy":"needle-user","distinct_id":"needle-distinct","list":["needle-device"]},\
        "traits":{"city":"needle-city"},"unknown":"needle-unknown",\
        "context":{"ip":"203.0.113.99","user_agent":"needle-agent/1.0","locale":"en","device":{"id":"needle-phone",\
        "model":"Pixel"},"secret":"needle-secret"},"consent":{"analytics":"denied","tcf":"CP"}}
        """

    @Test func `an event of somebody who denied analytics counts, and says nothing of who it was`() async throws {
        let desk = try await PolicyDesk.open()
        let receipt = try await desk.log.send(Self.full)
        #expect(receipt.stored == 1, "\(receipt.json)")
        let event = try #require(try await desk.events().first)
        #expect(!event.raw.contains("needle"), "\(event.raw)")
        #expect(try await desk.found(["needle", "203.0.113", "c0ffee"]) == [])
        #expect(event.value?.decimal == "12.5" && event.props?["size"] == "L" && event.name == "purchase")
        #expect(event.userID == nil && event.campaign.source == "google" && event.context?["locale"] == "en")
        #expect(event.consent?["analytics"] == "denied" && event.consent?["tcf"] == "CP")
        #expect(event.context?["device"]?["model"] == "Pixel")
        #expect(try await desk.log.send(Self.full).duplicate == 1)
        await desk.log.close()
    }

    @Test(arguments: [
        "identify", "alias", "group", "open", "install", "click", "impression", "track", "consent", "conversion",
    ])
    func `every type can be told without a person`(type: String) async throws {
        let desk = try await PolicyDesk.open()
        let line = trackLine([
            "type": "\"\(type)\"", "previous_id": "\"needle-p\"", "group_id": "\"needle-g\"",
            "device_id": "\"needle-d\"", "consent": "{\"analytics\":\"denied\"}", "user_id": "\"needle-u\"",
        ])
        #expect(try await desk.log.send(line).stored == 1)
        let event = try #require(try await desk.events().first)
        #expect(event.type.name == type && !event.raw.contains("needle"))
        await desk.log.close()
    }

    @Test func `the person's last decision counts, also after a restart, and a later one lifts it`() async throws {
        var desk = try await PolicyDesk.open()
        func consent(_ id: String, _ word: String, _ time: String) -> String {
            trackLine([
                "id": "\"\(id)\"", "type": "\"consent\"", "user_id": "\"needle-1\"", "anonymous_id": "\"needle-2\"",
                "ts": "\"2026-11-21T\(time)Z\"", "consent": "{\"analytics\":\"\(word)\"}",
            ])
        }
        func track(_ id: String, _ who: String) -> String {
            "{\"id\":\"\(id)\",\"type\":\"track\",\"name\":\"x\",\(who)}"
        }
        _ = try await desk.log.send(consent("c1", "denied", "10:00:00"))
        _ = try await desk.log.send(track("t1", "\"anonymous_id\":\"needle-2\""))
        #expect(try await desk.found(["needle"]) == [])
        desk = try await desk.reopened()
        _ = try await desk.log.send(track("t2", "\"user_id\":\"needle-1\""))
        #expect(try await desk.found(["needle"]) == [])
        // An older decision that arrives late changes nothing.
        _ = try await desk.log.send(consent("c0", "granted", "09:00:00"))
        _ = try await desk.log.send(track("t3", "\"user_id\":\"needle-1\""))
        #expect(try await desk.events().last?.userID == nil)
        _ = try await desk.log.send(consent("c2", "granted", "11:00:00"))
        _ = try await desk.log.send(track("t4", "\"user_id\":\"needle-1\""))
        #expect(try await desk.events().last?.userID == "needle-1")
        #expect(try await desk.events().last?.consent?["analytics"] == "granted")
        await desk.log.close()
    }

    @Test func `the newest word on advertising counts, of decisions and of events`() async throws {
        let desk = try await PolicyDesk.open()
        let who = [PersonIdentifier(.user, "u1")]
        func send(_ second: Int, _ type: String, _ consent: String?, hasGPC: Bool = false) async throws {
            var source = testSource
            source.hasGPC = hasGPC
            let line = trackLine([
                "id": "\"n\(second)\"", "type": "\"\(type)\"", "consent": consent,
                "ts": "\"2026-11-21T10:00:\(10 + second)Z\"",
            ])
            #expect(try await desk.log.send(line, source: source).stored == 1)
        }
        func newest() async throws -> AdvertisingConsent? {
            try await desk.log.newestConsent(
                org: "acme", of: who, from: Timestamp(microseconds: 0), desk.policies)
        }
        func settled() async throws -> AdvertisingConsent {
            let decision = desk.log.consent(org: "acme", of: who, desk.policies)
            return decision.settled(with: try await newest() ?? AdvertisingConsent())
        }
        try await send(1, "track", nil)
        #expect(try await newest() == nil)
        try await send(2, "track", "{\"ads\":\"denied\"}")
        #expect(try await settled().isDenied)
        try await send(3, "track", "{\"ads\":\"granted\"}")
        var consent = try await settled()
        #expect(!consent.isRefused && consent.isGranted)
        try await send(4, "track", nil, hasGPC: true)
        #expect(try await settled().hasGPC)
        try await send(5, "consent", "{\"ads\":\"granted\"}")
        consent = try await settled()
        #expect(!consent.isRefused && consent.isGranted, "a decision lifts it")
        try await send(6, "track", nil, hasGPC: true)
        #expect(try await settled().hasGPC, "and a browser that refuses again counts again")
        try await send(7, "track", nil)
        consent = try await settled()
        #expect(!consent.isRefused, "the decision stands on what comes after")
        try await send(8, "consent", "{\"ads\":\"denied\"}")
        #expect(try await settled().isDenied)
        await desk.log.close()
    }

    @Test func `a decision lifts only what was said before it`() {
        var (decision, event) = (AdvertisingConsent(), AdvertisingConsent())
        decision.add(ads: "granted", gpc: nil)
        decision.at = testNow
        event.add(ads: "denied", gpc: "true")
        #expect(decision.settled(with: event).isRefused, "nobody knows when")
        event.at = testNow - .seconds(1)
        #expect(!decision.settled(with: event).isRefused)
        event.at = testNow + .seconds(1)
        #expect(decision.settled(with: event).hasGPC)
        decision.add(ads: "denied", gpc: nil)
        event = AdvertisingConsent()
        event.add(ads: "granted", gpc: nil)
        #expect(decision.settled(with: event).isDenied)
    }

    @Test func `Global Privacy Control and the app's default deny what the event would allow`() async throws {
        let desk = try await PolicyDesk.open()
        var source = testSource
        source.hasGPC = true
        _ = try await desk.log.send(
            trackLine(["consent": "{\"ads\":\"granted\",\"note\":1}"]), source: source)
        let event = try #require(try await desk.events().first)
        #expect(event.consent == ["ads": "denied", "gpc": true, "note": 1] && event.userID == "u1")
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["default_consent": ["analytics": "denied"]])
        _ = try await desk.log.send(trackLine(["id": "\"e2\"", "consent": "{\"analytics\":\"granted\"}"]))
        #expect(try await desk.events().last?.userID == nil)
        _ = try await desk.log.send(trackLine(["id": "\"e3\"", "consent": "null"]))
        #expect(try await desk.events().last?.consent == ["analytics": "denied"])
        await desk.log.close()
    }

    @Test func `the most restrictive word wins, and unknown says nothing`() {
        let words = ConsentChoice.allCases
        for left in words {
            for right in words {
                let both = ConsentState(analytics: left).mostRestrictive(with: ConsentState(analytics: right)).analytics
                #expect(both == (left.rawValue > right.rawValue ? left : right))
            }
        }
    }
}
