import Attribution
import AurumCore
import Database
import Events
import Foundation
import Runtime
import TestSupport
import Testing
import Validation

/// Callbacks over real HTTP to a receiver that checks who signed them.
@Suite struct CallbackTests {
    private typealias World = CallbackWorld

    @Test func `an install, a purchase after it and a sale are told once, signed and filled in`() async throws {
        try await World.run { world, receiver, url in
            for event in ["install", "purchase", "sale"] { _ = try await world.add(event, url) }
            _ = try await world.add("install", url, ["network": "another"])
            let hostile = "c&x=1#\"}/../%41 é"
            try await world.send(World.pair(click: hostile))
            try await world.follow()
            let purchase = World.event(
                "conversion", "p1", 7_200_000,
                [
                    "name": "purchase", "device_id": "DEV-1", "order_id": "o-1", "value": 12.5, "currency": "EUR",
                ])
            let again = World.event(
                "conversion", "p2", 7_300_000,
                ["name": "purchase", "device_id": "dev-1", "order_id": "o-1", "value": 12.5, "currency": "EUR"])
            let foreign = World.event("conversion", "p3", 7_200_000, ["name": "purchase", "device_id": "nobody"])
            try await world.send([purchase, again, foreign])
            try await world.follow()
            let leg = UID(now: world.clock.now)
            var person = UploadPerson()
            person.touches = [
                NetworkTouch(network: "other", clickID: "no", campaign: nil),
                NetworkTouch(network: "EVERFLOW", clickID: "lead-click", campaign: "solar"),
            ]
            world.people.put(person, for: leg)
            let sale = CallbackSale(leg: leg, traceID: nil, price: .usd(cents: 9050), at: world.clock.now)
            try await world.withDesk { desk in
                for _ in 0..<2 {
                    try await desk.follow(sale, org: World.org)
                    try await world.work(desk)
                }
            }
            let told = receiver.callbacks
            #expect(told.count == 3 && told.allSatisfy { $0.isSigned && $0.method == "GET" }, "\(told)")
            let byEvent = Dictionary(told.map { ($0.query["e"] ?? "", $0.query) }, uniquingKeysWith: { $1 })
            let seconds = World.start / 1000
            #expect(byEvent["install"]?["c"] == hostile && byEvent["install"]?["x"] == "i1", "\(byEvent)")
            #expect(byEvent["install"]?["v"] == "" && byEvent["install"]?["t"] == "\(seconds + 3600)")
            #expect(byEvent["purchase"]?["c"] == hostile && byEvent["purchase"]?["x"] == "p1")
            #expect(byEvent["purchase"]?["v"] == "12.50" && byEvent["purchase"]?["cur"] == "EUR")
            #expect(byEvent["sale"]?["c"] == "lead-click" && byEvent["sale"]?["v"] == "90.50")
            #expect(byEvent["sale"]?["x"] == leg.hex)
            #expect(told.allSatisfy { $0.query["d"] == $0.delivery && !$0.delivery.isEmpty })
            let all = try await world.deliveries()
            #expect(all.count == 3 && all.allSatisfy { $0["state"] == "delivered" && $0["status"] == 204 }, "\(all)")
            // The same log once more, as after its tables were put back, changes nothing.
            _ = try await world.open.database.write("test.forgetPosition") { tx in
                try tx.run("DELETE FROM install_positions")
            }
            try await world.follow()
            try await world.work()
            #expect(receiver.callbacks.count == 3)
        }
    }

    @Test func `a purchase after a re-engagement is told to the network that brought the device back`() async throws {
        try await World.run { world, receiver, url in
            _ = try await world.add("purchase", url)
            _ = try await world.add("purchase", url, ["network": "another"])
            let rule: JSONValue = ["inactive_days": 0, "starts_at": "2025-01-01"]
            _ = try await world.installs().saveReEngagementRule(rule, org: World.org)
            let hour: Int64 = 3_600_000
            func purchase(_ id: String, _ at: Int64) -> JSONValue {
                World.event(
                    "conversion", id, at,
                    ["name": "purchase", "device_id": "dev-1", "value": 12.5, "currency": "EUR"])
            }
            let back: [JSONValue] = [
                World.event(
                    "click", "t2", 10 * hour,
                    ["click_id": "c2", "campaign": ["name": "autumn", "network": "Another"]]),
                World.event("open", "o", 10 * hour + 60_000, ["device_id": "dev-1", "click_id": "c2"]),
            ]
            try await world.send(World.pair() + back + [purchase("p1", 5 * hour), purchase("p2", 11 * hour)])
            try await world.follow()
            try await world.work()
            let told = Dictionary(
                receiver.callbacks.map { ($0.query["x"] ?? "", $0.query["c"] ?? "") }, uniquingKeysWith: { $1 })
            #expect(told == ["p1": "c1", "p2": "c2"], "\(told)")
            #expect(receiver.callbacks.count == 2)
            // Both go with their person.
            let person = PersonIdentifier(.device, "dev-1")
            try await world.installs().forget(
                org: World.org, person, persons: world.log.store.personKeys(org: World.org, of: person))
            #expect(try await world.deliveries().isEmpty)
        }
    }

    @Test func `failures are tried after 1, 5, 25 and 125 s, then hourly for a day, under one id`() async throws {
        try await World.run { world, receiver, url in
            _ = try await world.add("install", url)
            receiver.plan(Array(repeating: FakeReceiver.Answer(503), count: 100))
            try await world.send(World.pair())
            try await world.follow()
            var pauses: [Int64] = []
            try await world.withDesk { desk in
                try await world.work(desk)
                while let due = try await world.deliveries().first?["due_at"]?.string.flatMap({ Timestamp(rfc3339: $0) }
                ),
                    pauses.count < 40
                {
                    let pause = due - world.clock.now
                    pauses.append(pause.microseconds / 1_000_000)
                    // Not a moment before.
                    world.clock.advance(by: pause - .milliseconds(1))
                    let before = receiver.callbacks.count
                    try await world.work(desk)
                    #expect(receiver.callbacks.count == before)
                    world.clock.advance(by: .milliseconds(1))
                    try await world.work(desk)
                    #expect(receiver.callbacks.count == before + 1)
                }
            }
            #expect(pauses == [1, 5, 25, 125] + Array(repeating: 3600, count: 24))
            #expect(Set(receiver.callbacks.map(\.delivery)).count == 1 && receiver.callbacks.count == 29)
            let isSigned = receiver.callbacks.allSatisfy { $0.isSigned }
            #expect(isSigned)
            #expect(try await world.only() == "dead http_503")
            let id = try #require(try await world.deliveries().first?["id"]?.string.flatMap { UID($0) })
            receiver.plan([])
            _ = try await world.store.redrive(id, org: World.org)
            await #expect(throws: CallbackError.unknownDelivery) {
                try await world.store.redrive(id, org: "rival")
            }
            try await world.withDesk { desk in
                try await world.work(desk)
                let whole = try await desk.read(id, org: World.org)
                #expect(whole["state"] == "delivered" && whole["history"]?.array?.count == 30, "\(whole.canonical)")
            }
            await #expect(throws: CallbackError.settled(.delivered)) {
                try await world.store.redrive(id, org: World.org)
            }
        }
    }

    @Test(arguments: [(410, "refused"), (404, "refused"), (302, "refused"), (408, "waiting"), (429, "waiting")])
    func `refusals are not repeated, and patience is`(status: Int, state: String) async throws {
        try await World.run { world, receiver, url in
            _ = try await world.add("install", url)
            receiver.plan([FakeReceiver.Answer(status, retryAfter: "77")])
            try await world.send(World.pair())
            try await world.follow()
            try await world.work()
            #expect(try await world.only() == "\(state) http_\(status)")
            world.clock.advance(by: .seconds(76))
            try await world.work()
            #expect(receiver.callbacks.count == 1)
            world.clock.advance(by: .seconds(1))
            try await world.work()
            #expect(receiver.callbacks.count == (state == "waiting" ? 2 : 1))
        }
    }

    private struct Killed: Error {}

    @Test func `a process that ends before or after the sending loses nothing`() async throws {
        try await World.run { world, receiver, url in
            _ = try await world.add("install", url)
            try await world.send(World.pair())
            // Decided, with its delivery and job; then the process ends.
            try await world.follow()
            #expect(receiver.callbacks.isEmpty)
            #expect(try await world.only() == "waiting ")
            // The next one sends, and ends before it writes that it did.
            try await world.withDesk(afterSending: { throw Killed() }) { try await world.work($0) }
            #expect(receiver.callbacks.count == 1)
            #expect(try await world.only() == "sending ")
            for _ in 0..<3 {
                world.clock.advance(by: .seconds(3600))
                try await world.work()
            }
            #expect(receiver.callbacks.count == 2 && Set(receiver.callbacks.map(\.delivery)).count == 1)
            #expect(try await world.only() == "delivered ")
        }
    }

    @Test func `rejected installs, refused advertising and erased persons are not told of`() async throws {
        try await World.run { world, receiver, url in
            for event in ["install", "purchase"] { _ = try await world.add(event, url) }
            let buys = { (id: String, device: String) in
                World.event("conversion", id, 7_200_000, ["name": "purchase", "device_id": .string(device)])
            }
            try await world.send(
                World.pair(click: "c1", device: "d1", install: "fraud") + [buys("p1", "d1")]
                    + World.pair(click: "c2", device: "d2", install: "denied", ["consent": ["ads": "denied"]])
                    + World.pair(click: "c3", device: "d3", install: "later")
                    + World.pair(click: "c4", device: "d4", install: "touch"))
            var judge = InstallFollowTests.StrictJudge()
            judge.installs = [.ofEvent("fraud")]
            judge.touches = [.ofEvent("t-touch")]
            try await world.follow(judge)
            world.refused.refuse(PersonIdentifier(.device, "d3"))
            try await world.work()
            var found: [String: String] = [:]
            for one in try await world.deliveries() {
                let name = one["conversion_id"]?.string ?? ""
                found[name] = "\(one["state"]?.string ?? "") \(one["reason"]?.string ?? "")"
            }
            #expect(
                found == [
                    "fraud": "suppressed fraud:ctit_impossible", "p1": "suppressed fraud:ctit_impossible",
                    "denied": "suppressed no_consent", "later": "suppressed no_consent",
                    "touch": "suppressed fraud:ctit_impossible",
                ])
            #expect(receiver.callbacks.isEmpty)
            // Believed after all: what waited for it is told.
            _ = try await world.installs().recompute(InstallWish(), org: World.org, run: UID(now: world.clock.now))
            try await world.work()
            #expect(Set(receiver.callbacks.compactMap { $0.query["x"] }) == ["fraud", "touch"])
            let device = PersonIdentifier(.device, "d1")
            let persons = world.log.store.personKeys(org: World.org, of: device)
            try await world.installs().forget(org: World.org, device, persons: persons)
            let left = Set(try await world.deliveries().compactMap { $0["conversion_id"]?.string })
            #expect(left == ["denied", "later", "touch"], "\(left)")
        }
    }

    @Test func `nothing from before, of a disabled template or of another organisation is told`() async throws {
        try await World.run { world, receiver, url in
            try await world.send(World.pair(click: "c0", device: "d0", install: "before"))
            world.clock.advance(by: .seconds(1))
            let id = try await world.add("install", url)
            try await world.send(World.pair(click: "c1", device: "d1", install: "foreign"), org: "rival")
            try await world.send(World.pair(click: "c2", device: "d2", install: "mine"))
            try await world.follow()
            _ = try await world.store.change(id, ["enabled": false], org: World.org)
            try await world.work()
            #expect(try await world.only() == "suppressed callback_off")
            await #expect(throws: CallbackError.unknownCallback) {
                try await world.store.change(id, ["enabled": true], org: "rival")
            }
            _ = try await world.store.change(id, ["enabled": true], org: World.org)
            let delivery = try #require(try await world.deliveries().first?["id"]?.string.flatMap { UID($0) })
            _ = try await world.store.redrive(delivery, org: World.org)
            try await world.work()
            #expect(receiver.callbacks.map { $0.query["x"] } == ["mine"])
        }
    }

    @Test func `a body is JSON whatever the values hold, a test shows and sends, and old deliveries go`() async throws {
        try await World.run { world, receiver, url in
            let id = try await world.add(
                "install", url,
                ["method": "POST", "url": .string(url), "body": ["click": "id {click_id}", "n": 1, "{x": true]])
            try await world.withDesk { desk in
                let shown = try await desk.test(id, org: World.org, sends: false)
                #expect(shown["sent"] == false && shown["request"]?["method"] == "POST" && receiver.callbacks.isEmpty)
                let sent = try await desk.test(id, org: World.org, sends: true)
                #expect(sent["outcome"] == "delivered" && receiver.callbacks.count == 1, "\(sent.canonical)")
            }
            let hostile = "\",\"admin\":true,\"\\{value}"
            try await world.send(World.pair(click: hostile))
            try await world.follow()
            try await world.work()
            let last = try #require(receiver.callbacks.last)
            let body = try JSONDecoder().decode(JSONValue.self, from: Data(last.body.utf8))
            #expect(body == ["click": .string("id " + hostile), "n": 1, "{x": true] && last.isSigned, "\(last.body)")
            world.clock.advance(by: .seconds(89 * 86_400))
            #expect(try await world.store.purge() == 0)
            world.clock.advance(by: .seconds(2 * 86_400))
            #expect(try await world.store.purge() == 1)
            #expect(try await world.deliveries().isEmpty)
        }
    }

    @Test func `one that is asked for again with its key is made once, and its answer holds no secret`() async throws {
        let open = try CallbackWorld(clock: ManualWallClock())
        let body: JSONValue = [
            "network": "n", "event": "install", "url": "https://n.example/?c={click_id}",
            "secret": .string(FakeReceiver.secret),
        ]
        func ask(_ body: JSONValue) async throws -> JSONValue {
            let key = IdempotencyKey(org: "o", key: "k", route: "POST /v1/callbacks", body: body.canonical)
            return try await open.store.create(body, org: "o", once: key)
        }
        let first = try await ask(body)
        #expect(try await ask(body) == first)
        #expect(try await open.store.list(org: "o").count == 1)
        #expect(!first.canonical.contains(FakeReceiver.secret))
        let other: JSONValue = ["network": "n", "event": "install", "url": "https://m.example/?c={click_id}"]
        await #expect(throws: IdempotencyKeyReused.self) { _ = try await ask(other) }
        #expect(try await open.store.create(body, org: "o")["id"] != first["id"])
        await open.log.close()
    }

    @Test func `what cannot be a callback is refused with its reason`() async throws {
        let open = try CallbackWorld(clock: ManualWallClock())
        let good = "https://n.example/?c={click_id}"
        let bad: [(String, [String: JSONValue], String)] = [
            ("url", ["url": "https://n.example/?c={clickid}"], "unknown macro {clickid}"),
            ("url", ["url": "https://n.example/?c={click_id"], "brace"),
            ("url", ["url": "https://{click_id}.example/"], "query only"),
            ("url", ["url": "https://n.example/{click_id}?a"], "query only"),
            ("url", ["url": "http://n.example/?c={click_id}"], "https"),
            ("url", ["url": "https://u:p@n.example/?c={click_id}"], "user"),
            ("url", ["url": "ftp://127.0.0.1/?c={click_id}"], "https"),
            ("url", ["url": "https://n.example/?a=%4&c={click_id}"], "percent-encoded"),
            ("url", ["url": "https://n.example/?a=|&c={click_id}"], "percent-encoded"),
            ("url", ["url": "https://n.example/ ?c=1"], "ASCII"),
            ("event", ["event": "unheard-of"], "no conversion"),
            ("secret", ["secret": "short"], "16 to 200"), ("body", ["body": ["a": "b"]], "POST only"),
            ("body", ["method": "POST", "body": ["a": ["{nope}"]]], "unknown macro {nope}"),
            ("method", ["method": "PUT"], "GET or POST"), ("network", ["network": ""], "1 to 64"),
            ("colour", ["colour": "red"], "unknown field"),
        ]
        for (field, change, detail) in bad {
            var body: [String: JSONValue] = ["network": "n", "event": "install", "url": .string(good)]
            body.merge(change) { $1 }
            do {
                _ = try await open.store.create(.object(body), org: "o")
                Issue.record("\(change) was taken")
            } catch CallbackError.invalid(let problems) {
                #expect(problems.contains { $0.field == field && $0.detail.contains(detail) }, "\(problems)")
            }
        }
        await open.log.close()
    }
}

/// The schedule of one delivery, without a network.
@Suite struct CallbackMachineTests {
    private static let start = Timestamp(milliseconds: 1_760_000_000_000)

    @Test(
        arguments: [
            (Duration.zero, Duration.seconds(1)), (.seconds(77), .seconds(77)), (.seconds(90_000), .seconds(90_000)),
            (.seconds(90_001), nil), (.seconds(Int64.max / 2_000_000), nil),
        ] as [(Duration, Duration?)])
    func `a receiver's wish is obeyed within the day`(wish: Duration, pause: Duration?) {
        var machine = CallbackMachine(now: Self.start)
        machine.begin(now: Self.start)
        machine.answer(.failed(reason: "http_503", status: 503, retryAfter: wish), now: Self.start)
        let due = pause.map { Self.start + $0 }
        #expect(machine.dueAt == due && machine.state == (pause == nil ? .dead : .waiting))
        let isRedriven = machine.redrive(now: Self.start)
        #expect(isRedriven == (pause == nil))
    }
}
