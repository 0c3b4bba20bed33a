import Attribution
import AurumCore
import Connectors
import Database
import Events
import Foundation
import Synchronization
import Telemetry
import TestSupport
import Testing
import Validation

/// Conversions over real HTTP to networks that keep their contract.
@Suite struct UploadTests {
    @Test func `every conversion ends, networks count what we count, and nobody who refused was sent`() async throws {
        let clock = ManualWallClock()
        let networks = FakeNetwork.Kind.allCases.map { FakeNetwork($0, lostPerThousand: 50, clock: clock) }
        try await FakesServer.withRunning(buyers: [], networks: networks) { server, url in
            let desk = try UploadDesk(clock: clock)
            let count = soakCount(Dialect.ofTestRun == .postgres ? 25_000 : 100_000)
            let batch: JSONValue = .integer(Int64(max(40, count / 100)))
            let meta = try await desk.add(.meta, at: url, ["batch_max": batch])
            let google = try await desk.add(.google, at: url, ["batch_max": batch])
            let sales = (0..<count).map { number in
                TestSale(
                    number, now: clock.now,
                    refusal: number % 50 == 1 ? .noConsent : number % 50 == 2 ? .globalPrivacyControl : nil,
                    isStale: number % 100 == 3)
            }
            for sale in sales { desk.people.put(sale.person, for: sale.leg) }
            let early = sales.filter { $0.number % 100 == 7 }
            let late = sales.filter { $0.number % 50 == 11 }
            try await desk.follow(sales.map(\.fact))
            try await desk.follow(early.map { .returned(leg: $0.leg) })
            try await desk.withUploader { uploader in
                try await desk.work(uploader, hours: 24)
                try await desk.follow(late.map { .returned(leg: $0.leg) })
                // What the books say twice changes nothing.
                try await desk.follow(sales.prefix(100).map(\.fact))
                try await desk.work(uploader, hours: 24)
            }
            let told = sales.filter { $0.refusal == nil && !$0.isStale && $0.number % 100 != 7 }
            let kept = told.filter { $0.number % 50 != 11 }
            let (stale, refused) = (sales.count(where: \.isStale), sales.count { $0.refusal != nil })

            #expect(
                try await desk.states(meta) == [
                    "accepted": told.count, "too_old": stale, "suppressed": refused, "retracted": early.count,
                ])
            #expect(
                try await desk.states(google) == [
                    "accepted": kept.count, "too_old": stale, "suppressed": refused,
                    "retracted": early.count + late.count,
                ])
            let seen = try #require(server.network(.meta)), other = try #require(server.network(.google))
            #expect(seen.lost > 0 && other.lost > 0, "\(seen.lost) and \(other.lost) requests were lost")
            #expect(seen.repeats > 0 && other.repeats > 0)
            #expect(seen.conversions.count == told.count)
            #expect(seen.totalMinor == told.reduce(0) { $0 + $1.price })
            #expect(other.totalMinor == kept.reduce(0) { $0 + $1.price })
            #expect(try await desk.told(meta) == seen.totalMinor)
            #expect(try await desk.told(google) == other.totalMinor)
            #expect(seen.refused == 0, "no stale conversion took others with it")
            let never = sales.filter { $0.refusal != nil }.reduce(into: Set<String>()) { $0.formUnion($1.identifiers) }
            #expect(seen.identifiers.isDisjoint(with: never) && other.identifiers.isDisjoint(with: never))
            #expect(
                try await desk.count("SELECT COUNT(*) FROM upload_attempts WHERE outcome IS NULL") == 0,
                "every attempt has its end")
        }
    }

    /// Each takes the same two jobs: in one order nobody waits for somebody who waits for him.
    @Test func `sales given back at once do not lock each other out`() async throws {
        let clock = ManualWallClock()
        let networks = FakeNetwork.Kind.allCases.map { FakeNetwork($0, clock: clock) }
        try await FakesServer.withRunning(buyers: [], networks: networks) { _, url in
            let desk = try UploadDesk(clock: clock)
            for kind in FakeNetwork.Kind.allCases { _ = try await desk.add(kind, at: url) }
            let before = try await desk.deadlocks()
            let sales = (0..<160).map { TestSale($0, now: clock.now) }
            for sale in sales { desk.people.put(sale.person, for: sale.leg) }
            try await desk.follow(sales.map(\.fact))
            try await desk.withUploader { uploader in
                for start in stride(from: 0, to: sales.count, by: 20) {
                    try await desk.work(uploader)
                    try await desk.follow(sales[start..<start + 20].map { .returned(leg: $0.leg) })
                }
            }
            #expect(try await desk.deadlocks() == before)
        }
    }

    private struct Killed: Error {}

    @Test(arguments: FakeNetwork.Kind.allCases) func `a process that ends between sending and recording counts once`(
        _ kind: FakeNetwork.Kind
    ) async throws {
        let clock = ManualWallClock()
        try await FakesServer.withRunning(buyers: [], networks: [FakeNetwork(kind, clock: clock)]) { server, url in
            let desk = try UploadDesk(clock: clock)
            let destination = try await desk.add(kind, at: url)
            let sales = (0..<30).map { TestSale($0, now: clock.now) }
            for sale in sales { desk.people.put(sale.person, for: sale.leg) }
            try await desk.follow(sales.map(\.fact))
            let network = try #require(server.network(kind))
            try await desk.withUploader(afterSending: { throw Killed() }) { try await desk.work($0) }
            #expect(network.conversions.count == 30, "the network has them")
            #expect(try await desk.states(destination) == ["sent": 30], "and nobody here knows")
            // Given back in the meantime: settled first, then taken back.
            try await desk.follow([.returned(leg: sales[0].leg)])
            try await desk.withUploader { try await desk.work($0, hours: 3) }
            #expect(network.repeats >= 30 && network.conversions.count == 30)
            let kept = kind == .meta ? sales : Array(sales.dropFirst())
            #expect(network.totalMinor == kept.reduce(0) { $0 + $1.price })
            #expect(try await desk.told(destination) == network.totalMinor)
            let item = try #require(
                try await desk.items(destination).first { $0["subject"]?.string == sales[5].leg.hex })
            let id = try #require(item["id"]?.string.flatMap { UID($0) })
            let history = try await desk.store.read(id, org: UploadDesk.org)["history"]?.array ?? []
            #expect(history.compactMap { $0["outcome"]?.string } == ["unknown", "accepted"])
            #expect(history.first?["reason"] == "interrupted")
        }
    }

    @Test func `a dry run keeps what it would send, hashed, and sends nothing`() async throws {
        let clock = ManualWallClock()
        try await FakesServer.withRunning(
            buyers: [], networks: FakeNetwork.Kind.allCases.map { FakeNetwork($0, clock: clock) }
        ) { server, url in
            let desk = try UploadDesk(clock: clock)
            let meta = try await desk.add(.meta, at: url, ["dry_run": true])
            let google = try await desk.add(.google, at: url, ["dry_run": true])
            let sale = TestSale(4, now: clock.now)
            desk.people.put(sale.person, for: sale.leg)
            try await desk.follow([sale.fact])
            try await desk.withUploader { try await desk.work($0) }
            #expect(server.networks.allSatisfy { $0.requests == 0 })
            for destination in [meta, google] {
                let item = try #require(try await desk.items(destination, .dryRun).first)
                let id = try #require(item["id"]?.string.flatMap { UID($0) })
                let all = try await desk.store.read(id, org: UploadDesk.org)
                let payload = try #require(all["history"]?.array?.first?["payload"])
                #expect(payload.canonical.contains(sha256(sale.email.lowercased())))
                #expect(!all.canonical.contains("xample.com") && !all.canonical.contains(FakeNetwork.token))
            }
            #expect(try await desk.told(meta) == 0)
        }
    }

    @Test func `a network that refuses one conversion gets all the others`() async throws {
        let clock = ManualWallClock()
        try await FakesServer.withRunning(
            buyers: [], networks: FakeNetwork.Kind.allCases.map { FakeNetwork($0, clock: clock) }
        ) { server, url in
            let desk = try UploadDesk(clock: clock)
            let meta = try await desk.add(.meta, at: url)
            let google = try await desk.add(.google, at: url)
            var sales = (0..<40).map { TestSale($0, now: clock.now) }
            for sale in sales { desk.people.put(sale.person, for: sale.leg) }
            // From the future: both networks refuse the whole request for it.
            let wrong = TestSale(99, now: clock.now + .seconds(3 * 86_400 + 400 + 86_400))
            desk.people.put(wrong.person, for: wrong.leg)
            let nobody = TestSale(98, now: clock.now)
            desk.people.put(UploadPerson(), for: nobody.leg)
            sales += [wrong, nobody]
            try await desk.follow(sales.map(\.fact))
            try await desk.withUploader { try await desk.work($0) }
            for destination in [meta, google] {
                #expect(try await desk.states(destination) == ["accepted": 40, "rejected": 2])
                let reasons = try await desk.items(destination, .rejected).compactMap { $0["reason"]?.string }
                #expect(reasons.contains("no_identifiers") && Set(reasons).count == 2, "\(reasons)")
            }
            #expect(server.networks.allSatisfy { $0.conversions.count == 40 })
        }
    }

    @Test func `credentials that are refused keep everything, show in health, and work once they are changed`()
        async throws
    {
        let clock = ManualWallClock()
        try await FakesServer.withRunning(buyers: [], networks: [FakeNetwork(.google, clock: clock)]) { server, url in
            let desk = try UploadDesk(clock: clock)
            let google = try await desk.add(.google, at: url, ["credentials": ["access_token": "of-yesterday"]])
            let sale = TestSale(1, now: clock.now)
            desk.people.put(sale.person, for: sale.leg)
            try await desk.follow([sale.fact])
            try await desk.withUploader { uploader in
                try await desk.work(uploader)
                #expect(try await desk.states(google) == ["waiting": 1])
                #expect(desk.health.snapshot["uploads"]?.state == .degraded)
                #expect(try await uploader.test(google, org: UploadDesk.org) == .notSent("credentials_refused"))
                let refreshing: JSONValue = [
                    "client_id": "id", "client_secret": "secret", "refresh_token": .string(FakeNetwork.refreshToken),
                ]
                let changed = try await desk.store.change(google, ["credentials": refreshing], org: UploadDesk.org)
                #expect(changed["credentials_set"] == true && !changed.canonical.contains("secret\":\""))
                let other = changed["id"]?.string ?? ""
                #expect(desk.health.snapshot["network:google:\(other)"] != nil, "a breaker by its id")
                // A network may say anything of how long its tokens last.
                server.network(.google)?.setTokenSeconds(.min)
                #expect(try await uploader.test(google, org: UploadDesk.org) == .accepted)
                server.network(.google)?.setTokenSeconds(.max)
                #expect(try await uploader.test(google, org: UploadDesk.org) == .accepted)
                #expect(server.network(.google)?.conversions.isEmpty == true, "a test counts nothing")
                clock.advance(by: .seconds(120))
                try await desk.work(uploader)
                #expect(try await desk.states(google) == ["accepted": 1])
                #expect(desk.health.snapshot["uploads"]?.state == .ok)
            }
            let stored = try await desk.database.read("test.sealed") { tx in
                try tx.values(String.self, "SELECT credentials FROM upload_destinations")
            }
            #expect(stored.allSatisfy { $0.hasPrefix("sealed:") && !$0.contains(FakeNetwork.refreshToken) })
        }
    }

    @Test func `each network gets addresses as it hashes them itself`() async throws {
        let clock = ManualWallClock()
        let networks = FakeNetwork.Kind.allCases.map { FakeNetwork($0, clock: clock) }
        try await FakesServer.withRunning(buyers: [], networks: networks) { server, url in
            let desk = try UploadDesk(clock: clock)
            for kind in FakeNetwork.Kind.allCases { _ = try await desk.add(kind, at: url) }
            let sale = TestSale(1, now: clock.now)
            var person = UploadPerson()
            person.email = EmailAddress("Cloudy.SanFrancisco+Shopping@Gmail.com")
            desk.people.put(person, for: sale.leg)
            try await desk.follow([sale.fact])
            try await desk.withUploader { try await desk.work($0) }
            #expect(server.network(.google)?.identifiers == [sha256("cloudysanfrancisco@gmail.com")])
            #expect(server.network(.meta)?.identifiers == [sha256("cloudy.sanfrancisco+shopping@gmail.com")])
        }
    }

    @Test func `what is old is removed, and what is under way stays`() async throws {
        let clock = ManualWallClock()
        let desk = try UploadDesk(clock: clock)
        let kept = try await desk.add(.meta, at: "http://127.0.0.1:9", ["dry_run": true])
        let paused = try await desk.add(.google, at: "http://127.0.0.1:9", ["state": "paused"])
        // More than one transaction removes.
        let sales = (0..<501).map { TestSale($0, now: clock.now) }
        for sale in sales { desk.people.put(sale.person, for: sale.leg) }
        try await desk.follow(sales.map(\.fact))
        try await desk.withUploader { uploader in
            try await desk.work(uploader)
            let payloads: SQLStatement = "SELECT COUNT(*) FROM upload_attempts WHERE payload IS NOT NULL"
            clock.advance(by: .seconds(29 * 86_400))
            try await uploader.tend()
            #expect(try await desk.count(payloads) == 501)
            clock.advance(by: .seconds(2 * 86_400))
            try await uploader.tend()
            #expect(try await desk.count(payloads) == 0)
            #expect(try await desk.states(kept) == ["dry_run": 501], "only what they would have said is gone")
            clock.advance(by: .seconds(370 * 86_400))
            try await uploader.tend()
            #expect(try await desk.states(kept) == [:])
            #expect(try await desk.states(paused) == ["waiting": 501])
            #expect(try await desk.count("SELECT COUNT(*) FROM upload_attempts") == 0)
        }
    }

    @Test func `conversions that were counted are not counted again at once`() async throws {
        let desk = try UploadDesk()
        let meta = try await desk.add(.meta, at: "http://127.0.0.1:9")
        let store = UploadStore(
            database: desk.database, jobs: desk.jobs,
            sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)), allowLoopback: true,
            countsKeptFor: .seconds(3600))
        #expect(try await store.list(org: UploadDesk.org).first?["items"]?.object?.isEmpty == true)
        try await desk.follow([TestSale(1, now: desk.clock.now).fact])
        #expect(try await store.list(org: UploadDesk.org).first?["items"]?.object?.isEmpty == true)
        #expect(try await desk.states(meta) == ["waiting": 1])
        _ = try await store.change(meta, ["state": "paused"], org: UploadDesk.org)
        #expect(try await store.list(org: UploadDesk.org).first?["state"] == "paused", "the rest is as it is now")
    }

    @Test func `a sale is restated, and what is removed or paused sends nothing`() async throws {
        let clock = ManualWallClock()
        try await FakesServer.withRunning(buyers: [], networks: [FakeNetwork(.google, clock: clock)]) { server, url in
            let desk = try UploadDesk(clock: clock)
            let google = try await desk.add(.google, at: url)
            let sales = (0..<3).map { TestSale($0, now: clock.now) }
            for sale in sales { desk.people.put(sale.person, for: sale.leg) }
            let network = try #require(server.network(.google))
            try await desk.withUploader { uploader in
                try await desk.follow([sales[0].fact])
                try await desk.work(uploader)
                let item = try #require(try await desk.items(google).first?["id"]?.string.flatMap { UID($0) })
                _ = try await desk.store.restate(item, to: 5000, org: UploadDesk.org)
                await #expect(throws: UploadError.unknownItem) {
                    _ = try await desk.store.restate(item, to: 5000, org: "another")
                }
                try await desk.work(uploader)
                #expect(try await desk.states(google) == ["restated": 1] && network.totalMinor == 5000)

                _ = try await desk.store.change(google, ["state": "paused"], org: UploadDesk.org)
                try await desk.follow([sales[1].fact])
                try await desk.work(uploader)
                #expect(network.conversions.count == 1)
                _ = try await desk.store.change(google, ["state": "active"], org: UploadDesk.org)
                try await desk.work(uploader)
                #expect(network.conversions.count == 2)

                network.setDown(true)
                try await desk.follow([sales[2].fact])
                try await desk.work(uploader)
                try await desk.store.remove(google, org: UploadDesk.org)
                network.setDown(false)
                clock.advance(by: .seconds(7200))
                try await desk.work(uploader)
                #expect(network.conversions.count == 2)
                #expect(try await desk.count("SELECT COUNT(*) FROM upload_items WHERE due_at IS NOT NULL") == 0)
                #expect(
                    try await desk.count("SELECT COUNT(*) FROM upload_destinations WHERE credentials IS NOT NULL") == 0)
            }
        }
    }

    @Test func `stored credentials do not follow a destination to another address`() async throws {
        let desk = try UploadDesk()
        let google = try await desk.add(.google, at: "http://127.0.0.1:9")
        let endpoint: JSONValue = ["endpoint": "https://example.com"]
        await #expect(throws: UploadError.self) { try await desk.store.change(google, endpoint, org: UploadDesk.org) }
        await #expect(throws: UploadError.unknownDestination) {
            try await desk.store.change(google, ["dry_run": true], org: "another")
        }
        let given: JSONValue = ["endpoint": "https://example.com", "credentials": ["access_token": "abc"]]
        let changed = try await desk.store.change(google, given, org: UploadDesk.org)
        #expect(changed["endpoint"] == "https://example.com")
    }

    @Test func `a destination that is asked for again with its key is made once; one refused leaves the key free`()
        async throws
    {
        let desk = try UploadDesk()
        let body: JSONValue = [
            "name": "x", "network": "meta", "account": "123", "conversions": ["sale": "Purchase"],
            "credentials": ["access_token": "abc"],
        ]
        let key = IdempotencyKey(
            org: UploadDesk.org, key: "k", route: "POST /v1/uploads/destinations", body: body.canonical)
        let made = try await desk.store.create(body, org: UploadDesk.org)
        await #expect(throws: UploadError.self) {
            try await desk.store.create(body, org: UploadDesk.org, once: key)
        }
        let id = try #require(made["id"]?.string.flatMap { UID($0) })
        try await desk.store.remove(id, org: UploadDesk.org)
        let first = try await desk.store.create(body, org: UploadDesk.org, once: key)
        // The name is taken by now, by itself.
        #expect(try await desk.store.create(body, org: UploadDesk.org, once: key) == first)
        #expect(try await desk.store.list(org: UploadDesk.org).count == 1)
    }

    @Test(arguments: [
        (#"{"network":"meta"}"#, "account"), (#"{"account":"12/../34"}"#, "account"),
        (#"{"conversions":{"sale":"Purchase","visit":"View"}}"#, "conversions.visit"),
        (#"{"credentials":{"password":"x"}}"#, "credentials.password"),
        (#"{"endpoint":"http://example.com"}"#, "endpoint"), (#"{"endpoint":"https://a:b@example.com"}"#, "endpoint"),
        (#"{"batch_max":0}"#, "batch_max"), (#"{"token":"x"}"#, "token"),
    ])
    func `a destination that is wrong is refused with the field`(body: String, field: String) async throws {
        let desk = try UploadDesk()
        var members = try JSONDecoder().decode(JSONValue.self, from: Data(body.utf8)).object ?? [:]
        let isMissing = members["network"] != nil
        members.merge(
            [
                "name": "x", "network": "meta", "conversions": ["sale": "Purchase"],
                "credentials": ["access_token": "abc"],
            ]
        ) { given, _ in given }
        if !isMissing { members["account"] = members["account"] ?? "123" }
        do {
            _ = try await desk.store.create(.object(members), org: UploadDesk.org)
            Issue.record("it was taken")
        } catch let UploadError.invalid(problems) {
            #expect(problems.contains { $0.field == field }, "\(problems)")
        }
    }
}
