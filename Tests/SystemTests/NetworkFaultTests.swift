import AurumCore
import Foundation
import Synchronization
import TestSupport
import Testing
import Validation

/// A running server behind networks that delay, cut, reset and go dark.
@Suite(.serialized) struct NetworkFaultTests {
    /// Leads that were offered, each under a key of its own and again under it until it was taken.
    private final class Offers: Sendable {
        private struct State {
            var next = 0
            var ids: [Int: String] = [:]
            var statuses: [Int: Int] = [:]
            var longest = Duration.zero
        }

        private let client: TestClient
        private let state = Mutex(State())

        init(_ client: TestClient) { self.client = client }

        var ids: [String] { state.withLock { Array($0.ids.values) } }
        var statuses: [Int: Int] { state.withLock { $0.statuses } }
        var longest: Duration { state.withLock { $0.longest } }

        func number() -> Int {
            state.withLock { state in
                state.next += 1
                return state.next
            }
        }

        /// Sends a lead once. False when it was not taken.
        func once(_ number: Int) async throws -> Bool {
            let began = ContinuousClock.now
            let answer = try await PostgresSystemTests.offer(client, number)
            let took = ContinuousClock.now - began
            state.withLock { state in
                state.statuses[answer.status, default: 0] += 1
                state.longest = max(state.longest, took)
                if answer.status == 201, let id = answer.body["id"]?.string {
                    let known = state.ids.updateValue(id, forKey: number)
                    if let known { #expect(known == id, "one key, two leads") }
                }
            }
            return answer.status == 201
        }

        /// Sends a lead until it is taken.
        func insist(_ number: Int, within limit: Duration) async throws {
            let deadline = ContinuousClock.now + limit
            while try await !once(number) {
                try #require(ContinuousClock.now < deadline, "lead \(number) not taken within \(limit): \(statuses)")
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private func until(_ what: String, within limit: Duration, _ isTrue: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + limit
        while try await !isTrue() {
            try #require(ContinuousClock.now < deadline, "\(what) not within \(limit)")
            try await Task.sleep(for: .milliseconds(25))
        }
    }

    private func component(_ admin: TestClient, _ name: String) async throws -> JSONValue {
        try await admin.get("/health").body["components"]?[name] ?? .null
    }

    /// Every lead is sold, each once in the buyer's own book, and the ledger is zero.
    private func settle(_ offers: Offers, _ client: TestClient, _ buyer: FakeBuyer) async throws {
        for id in offers.ids {
            try await until("lead \(id) is sold", within: .seconds(90)) {
                try await client.get("/v1/leads/\(id)").body["state"] == "sold"
            }
            #expect(buyer.book.count { UID($0.leadID) == UID(id) } == 1, "lead \(id)")
        }
        #expect(Set(offers.ids).count == offers.ids.count)
        #expect(buyer.book.count == offers.ids.count, "a lead that nobody was told of was sold")
        let accounts = try await client.get("/v1/ledger").body["accounts"]?.array ?? []
        #expect(!accounts.isEmpty && accounts.reduce(0) { $0 + ($1["balance_minor"]?.integer ?? 1) } == 0)
    }

    @Test func `leads are sold over a network to PostgreSQL that delays, cuts, resets, loses answers and goes dark`()
        async throws
    {
        let postgres = try PostgresServer.shared()
        let proxy = try await postgres.proxy()
        let folder = TemporaryFolder()
        try await FakesServer.withRunning(buyers: [FakeBuyerConfiguration(code: "helios")]) { fakes, base in
            let server = SpawnedServer(
                executable: AurumBinary.path,
                environment: [
                    "AURUM_DATABASE_URL": try postgres.newURL(through: proxy), "AURUM_LOG_LEVEL": "critical",
                ], dataDirectory: folder.file("data"))
            let target = try await server.start(within: .seconds(60))
            let admin = TestClient(url: target.url, key: target.adminToken)
            try await PostgresSystemTests.register(admin, "helios", at: base, dayLimit: 10_000)
            let client = try await admin.makeKey(["leads:write", "leads:read", "ledger:read"])
            let buyer = try #require(fakes.buyer("helios"))
            let offers = Offers(client)
            try await Self.sellUnderFaults(offers, proxy)
            #expect(Set(offers.statuses.keys).isSubset(of: [201, 503]), "\(offers.statuses)")
            try await settle(offers, client, buyer)

            proxy.turn(.dark)
            let dark = offers.number()
            async let first = offers.once(dark)
            try await until("the loss shows", within: .seconds(12)) {
                try await component(admin, "database")["state"] == "down"
            }
            #expect(try await admin.get("/health/ready").status == 503)
            let wasTaken = try await first
            #expect(!wasTaken, "taken in the dark")
            #expect(offers.longest < .seconds(10), "\(offers.longest)")
            proxy.turn(.clear)
            let cleared = ContinuousClock.now
            try await offers.insist(dark, within: .seconds(10))
            try await until("ready again", within: .seconds(10)) {
                try await admin.get("/health/ready").status == 200
            }
            #expect(ContinuousClock.now - cleared < .seconds(12))
            #expect(Set(offers.statuses.keys).isSubset(of: [201, 503]), "\(offers.statuses)")
            try await settle(offers, client, buyer)
            await server.stop()
        }
        await proxy.stop()
    }

    /// Two sellers, and one fault after the other, each on one connection in use, with leads taken in between.
    private static func sellUnderFaults(_ offers: Offers, _ proxy: FaultProxy) async throws {
        let isDone = Held(false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    while !isDone.withLock({ $0 }) {
                        try await offers.insist(offers.number(), within: .seconds(20))
                        try await Task.sleep(for: .milliseconds(50))
                    }
                }
            }
            group.addTask {
                defer { isDone.withLock { $0 = true } }
                typealias Fault = FaultProxy.Fault
                for fault in [
                    Fault(.delay(milliseconds: 20), .toServer, strikes: 50), Fault(.chop, .toClient, strikes: 50),
                    Fault(.reset(after: 200), .toClient, strikes: 1), Fault(.cut(after: 200), .toServer, strikes: 1),
                    Fault(.loseAnswer(to: PostgresServer.commitMessage), .toServer, strikes: 1),
                    Fault(.loseRequest(with: PostgresServer.commitMessage), .toServer, strikes: 1),
                    Fault(.loseAnswer(to: PostgresServer.commitMessage), .toServer, strikes: 1),
                ] {
                    proxy.set(fault)
                    let deadline = ContinuousClock.now + .seconds(15)
                    while proxy.struck < fault.strikes {
                        try #require(ContinuousClock.now < deadline, "\(fault) never struck")
                        try await Task.sleep(for: .milliseconds(5))
                    }
                    proxy.set(nil)
                    let taken = offers.ids.count
                    while offers.ids.count < taken + 2 {
                        try #require(ContinuousClock.now < deadline, "nothing was taken after \(fault)")
                        try await Task.sleep(for: .milliseconds(5))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private static let redisRoles = ["redis", "rate_limits", "cache", "pubsub", "locks"]

    @Test(arguments: [FaultProxy.Weather.severed, .darkAndLossy])
    func `without a network to Redis everything is served by its fallback, and with it all is as it was`(
        _ weather: FaultProxy.Weather
    ) async throws {
        let redis = try await RedisServer()
        let proxy = try await FaultProxy(to: redis.port)
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: [
                "AURUM_DATABASE_URL": try PostgresServer.shared().newURL(), "AURUM_REDIS_URL": proxy.url,
                "AURUM_LOG_LEVEL": "critical",
            ], dataDirectory: folder.file("data"))
        let target = try await server.start(within: .seconds(60))
        let admin = TestClient(url: target.url, key: target.adminToken)
        @Sendable func areAll(_ state: String, _ names: [String]) async throws -> Bool {
            let components = try await admin.get("/health").body["components"]
            return names.allSatisfy { components?[$0]?["state"]?.string == state }
        }
        try await until("all roles are on Redis", within: .seconds(30)) { try await areAll("ok", Self.redisRoles) }
        let sender = try await admin.makeKey(["events:write"])
        var browser = SharedRuntimeTests.Browser(url: target.url)
        #expect(try await browser.signIn(target.adminToken) == 303)
        let signedIn = browser
        #expect(try await admin.post("/v1/jobs/trial", ["count": 20]).status < 300)

        proxy.turn(weather)
        let isDone = Held(false)
        let answers = Held<[Int: Int]>([:])
        let slowest = Held(Duration.zero)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<4 {
                group.addTask {
                    while !isDone.withLock({ $0 }) {
                        let began = ContinuousClock.now
                        let line = #"{"type":"track","name":"x","anonymous_id":"a\#(task)"}"#
                        let answer = try await sender.call(
                            "POST", "/v1/events", Array(line.utf8), ["content-type": "application/x-ndjson"])
                        answers.withLock { $0[answer.status, default: 0] += 1 }
                        let took = ContinuousClock.now - began
                        slowest.withLock { $0 = max($0, took) }
                        try await Task.sleep(for: .milliseconds(20))
                    }
                }
            }
            group.addTask {
                defer { isDone.withLock { $0 = true } }
                // A connection that ends says so; one that is silent owes an answer (2 s) and a sign of life (2 s).
                let limit: Duration = weather == .severed ? .seconds(2) : .seconds(6)
                try await until("the loss shows", within: limit) {
                    try await areAll("degraded", ["rate_limits", "cache", "pubsub", "locks"])
                }
                #expect(try await admin.get("/health/ready").status == 200)
                #expect(try await admin.get("/v1/overview").status == 200)
                var person = signedIn
                #expect(try await person.call("GET", "/dashboard").0 == 200, "sessions are in the database")
                #expect(try await admin.makeKey(["events:write"]).key != sender.key)
                let refused = try await admin.post("/v1/jobs/trial", ["count": 1])
                #expect(refused.status == 503 && refused.body["code"] == "jobs_unavailable", "\(refused.text)")
                proxy.turn(.clear)
                let cleared = ContinuousClock.now
                try await until("all roles are on Redis again", within: .seconds(10)) {
                    try await areAll("ok", Self.redisRoles)
                }
                #expect(ContinuousClock.now - cleared < .seconds(10))
            }
            try await group.waitForAll()
        }
        #expect(answers.withLock { Set($0.keys) } == [202], "\(answers.withLock { $0 })")
        #expect(slowest.withLock { $0 } < .seconds(8), "\(slowest.withLock { $0 })")
        try await until("jobs on Redis are taken again", within: .seconds(10)) {
            try await admin.post("/v1/jobs/trial", ["count": 1]).status < 300
        }
        await server.stop()
        await proxy.stop()
    }
}

/// A value that tasks of one test share.
private final class Held<Value: Sendable>: Sendable {
    private let value: Mutex<Value>

    init(_ value: Value) { self.value = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result { value.withLock { body(&$0) } }
}
