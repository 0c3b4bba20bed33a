import AurumCore
import Benchmarks
import Database
import Foundation
import TestSupport
import Testing
import Validation

/// Jobs of real processes: killed workers, the command and the page.
@Suite(.serialized) struct JobSystemTests {
    @Test(arguments: Dialect.allCases)
    func `ten thousand jobs whose workers are killed twenty times have each effect once`(
        _ engine: Dialect
    ) async throws {
        var crash = JobCrash()
        if engine == .postgres { crash.server = try await LocalPostgres.start(isDurable: false) }
        defer { crash.server?.end() }
        crash.executable = AurumBinary.path
        crash.seed = UInt64.random(in: 0...1_000_000)
        print("jobs: workers killed with seed \(crash.seed)")
        let result = try await crash.run()
        #expect(result.kills == 20 && result.repeated > 0, "\(result)")
        #expect(result.effects == 10_000 && result.distinct == 10_000, "\(result)")
    }

    @Test func `ten thousand jobs on Redis whose workers are killed twenty times have each effect once`()
        async throws
    {
        var crash = JobCrash()
        crash.isOnRedis = true
        crash.executable = AurumBinary.path
        crash.seed = UInt64.random(in: 0...1_000_000)
        print("jobs on Redis: workers killed with seed \(crash.seed)")
        let result = try await crash.run()
        #expect(result.kills == 20, "\(result)")
        #expect(result.effects == 10_000 && result.distinct == 10_000, "\(result)")
    }

    @Test func `a holder of a lock that is stopped past its lease has its write refused when it goes on`()
        async throws
    {
        let redis = try await RedisServer()
        let url = try PostgresServer.shared().newURL()
        try await LockHold.prepare(url)
        func holder(_ name: String) throws -> ChildProcess {
            try ChildProcess(
                AurumBinary.path, ["bench", "runtime", "--lock-holder", "\(name)#\(url)#\(redis.url)"])
        }
        func fence(_ process: ChildProcess, _ word: String) async throws -> Int64 {
            let line = try await process.line(containing: word + " ", within: .seconds(60))
            return try #require(line.split(separator: " ").last.flatMap { Int64($0) }, "\(line)")
        }
        let first = try holder("first")
        let early = try await fence(first, "held")
        kill(first.pid, SIGSTOP)
        // Stopped: its lease runs out on Redis, and nobody renews it.
        let second = try holder("second")
        let late = try await fence(second, "held")
        #expect(late > early)
        try await LockHold.order("second", url)
        #expect(try await fence(second, "wrote") == late)
        #expect(try await second.exit() == 0)
        try await LockHold.order("first", url)
        kill(first.pid, SIGCONT)
        #expect(try await fence(first, "refused") == early)
        #expect(try await first.exit() == 0)
        #expect(try await LockHold.writers(url) == ["second"])
    }

    @Test func `jobs on Redis are done and shown beside the others, and missed by nobody while it is away`()
        async throws
    {
        let (folder, redis) = (TemporaryFolder(), try await RedisServer())
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error", "AURUM_REDIS_URL": redis.url],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let deadline = ContinuousClock.now + .seconds(60)
        var made = try await admin.post("/v1/jobs/trial", ["count": 50])
        while made.status == 503, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(20))
            made = try await admin.post("/v1/jobs/trial", ["count": 50])
        }
        #expect(made.status == 200 && made.body["home"] == "redis", "\(made.text)")
        let command = try await AurumBinary.run(
            ["jobs", "trial", "--count", "5"], environment: ["AURUM_DATA_DIR": folder.file("data")])
        #expect(command.status == 0 && command.output.contains("enqueued 5 jobs.trial in redis"), "\(command.output)")
        var done: [JSONValue] = []
        while done.count < 55, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(20))
            done = try await admin.get("/v1/jobs?type=jobs.trial&state=done&limit=200").body["jobs"]?.array ?? []
        }
        #expect(done.count == 55 && done.allSatisfy { $0["home"] == "redis" && $0["attempt"] == 1 })
        let id = try #require(done.first?["id"]?.string)
        #expect(try await admin.get("/v1/jobs/\(id)").body["home"] == "redis")
        #expect(try await admin.post("/v1/jobs/\(id)/cancel", [:]).status == 409)
        try await redis.kill()
        var list = try await admin.get("/v1/jobs?limit=10")
        while list.body["unavailable"] != ["redis"], ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(20))
            list = try await admin.get("/v1/jobs?limit=10")
        }
        #expect(list.status == 200 && list.body["unavailable"] == ["redis"], "\(list.text)")
        let refused = try await admin.post("/v1/jobs/trial", [:])
        #expect(refused.status == 503 && refused.text.contains("jobs_unavailable"), "\(refused.text)")
        #expect(try await admin.get("/v1/jobs/overview").body["schedules"]?.array?.isEmpty == false)
        await server.stop()
    }

    @Test func `a recomputation of everything is a run and, beside it, a look at live leads and sales`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let deadline = ContinuousClock.now + .seconds(60)
        func done(_ type: String, _ count: Int) async throws -> [JSONValue] {
            var found: [JSONValue] = []
            while found.count < count, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(20))
                found = try await admin.get("/v1/jobs?type=\(type)&state=done").body["jobs"]?.array ?? []
            }
            return found
        }
        let narrow = try await admin.post("/v1/attribution/recompute", ["conversion": "purchase"])
        #expect(narrow.status == 202, "\(narrow.text)")
        #expect(try await done("attribution.run", 1).count == 1)
        let whole = try await admin.post("/v1/attribution/recompute", [:])
        #expect(whole.status == 202, "\(whole.text)")
        let runs = try await done("attribution.run", 2)
        #expect(Set(runs.map { $0["id"] }) == [narrow.body["job"], whole.body["job"]], "\(runs)")
        let looks = try await done("attribution.live", 1)
        #expect(looks.count == 1 && looks.first?["attempt"] == 1, "\(looks)")
        await server.stop()
    }

    @Test func `the command shows jobs with and without a server, and the page is there`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let made = try await admin.post("/v1/exports", ["format": "ndjson"])
        #expect(made.status == 201, "\(made.text)")
        let deadline = ContinuousClock.now + .seconds(60)
        var done: [JSONValue] = []
        while done.isEmpty, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(20))
            done = try await admin.get("/v1/jobs?type=events.export&state=done").body["jobs"]?.array ?? []
        }
        let id = try #require(done.first?["id"]?.string)
        // Without a session it asks for one, and leads back.
        let page = try await admin.get("/jobs")
        #expect(page.status == 200 && page.text.contains("/jobs\""), "\(page.text)")
        let script = try await admin.get("/assets/jobs.js")
        #expect(script.status == 200 && script.text.contains("/v1/jobs/overview"))
        let environment = ["AURUM_DATA_DIR": folder.file("data")]
        for _ in 0..<2 {
            let list = try await AurumBinary.run(["jobs", "list", "--type", "events.export"], environment: environment)
            #expect(list.status == 0 && list.output.contains(id) && list.output.contains("  done  "), "\(list.output)")
            let shown = try await AurumBinary.run(["jobs", "show", id], environment: environment)
            #expect(shown.status == 0 && shown.output.contains("\"type\" : \"events.export\""), "\(shown.output)")
            let refused = try await AurumBinary.run(["jobs", "cancel", id], environment: environment)
            #expect(refused.status != 0 && refused.output.contains("the job is done"), "\(refused.output)")
            let none = try await AurumBinary.run(
                ["jobs", "redrive", "--all", "--rate", "5/s"], environment: environment)
            #expect(none.status == 0 && none.output.contains("redriven 0"), "\(none.output)")
            await server.stop()
        }
        let overview = try await AurumBinary.run(["jobs", "overview"], environment: environment)
        #expect(overview.output.contains("schedule quarantine.tend  every 3600s"), "\(overview.output)")
        for arguments in [
            ["redrive"], ["redrive", id, "--all"], ["show", "x"], ["list", "--state", "lost"],
            ["redrive", "--all", "--rate", "0"], ["redrive", "--all", "--rate", "1e-13"],
            ["redrive", "--all", "--since", "yesterday"],
        ] {
            let answer = try await AurumBinary.run(["jobs"] + arguments, environment: environment)
            #expect(answer.status != 0, "\(arguments)")
        }
    }
}
