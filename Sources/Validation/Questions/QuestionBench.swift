internal import AurumCore
internal import Foundation
internal import NIOCore

/// Asks a server of its own the dashboard's questions over many stored events while more keep coming in.
package struct QuestionBench: Sendable {
    /// Events to have stored; rounded up to whole bodies.
    package var events = 2_000_000
    /// Events a second that come in while it is asked; 0 for none.
    package var rate = 100_000.0
    /// How often each question is asked after the first time.
    package var asks = 84
    package var seed: UInt64 = 7
    /// A folder that an earlier run filled, or one to fill and keep; nil makes a temporary one.
    package var dataDirectory: String?
    /// Told what begins.
    package var progress: @Sendable (String) -> Void = { _ in }

    package static let days = 30
    private static let fillConnections = 24
    private static let fillThreads = 2
    private static let liveConnections = 16
    /// No load of a fill is as slow as this.
    private static let fillPerSecondMin = 5000.0
    /// Longer than anybody asks.
    private static let liveSecondsMax = 86_400.0
    /// A dashboard asks everything again so often.
    private static let roundInterval = Duration.seconds(1)
    /// No round begins later than this.
    private static let askingMax = Duration.seconds(1800)
    private static let startWithin = Duration.seconds(120)
    private static let compactionWithin = Duration.seconds(7200)
    /// In a folder that is this bench's own: no other folder is written to.
    static let marker = "bench-questions"
    private static let org = "bench"
    /// A question that failed so often is not asked any more.
    private static let failuresMax = 3

    package init() {}

    package func run() async throws -> QuestionReport {
        let folder = try ownFolder()
        let server = SpawnedServer(dataDirectory: folder)
        let result: Result<QuestionReport, any Error>
        do { result = .success(try await measure(server)) } catch { result = .failure(Self.sentence(error)) }
        await server.stop(within: .seconds(60))
        if dataDirectory == nil { try? FileManager.default.removeItem(atPath: folder) }
        return try result.get()
    }

    private static func sentence(_ error: any Error) -> any Error {
        switch error {
        case SpawnError.exited(let text): QuestionFailure("the server ended: \(text.suffix(500))")
        case SpawnError.notReady(let text): QuestionFailure("the server did not become ready: \(text.suffix(500))")
        case LoadError.unreachable(let text): QuestionFailure("the server cannot be reached: \(text)")
        default: error
        }
    }

    /// The folder, marked as this bench's own. A folder with anything else in it is refused: it would be written to.
    private func ownFolder() throws -> String {
        let files = FileManager.default
        let folder =
            dataDirectory
            ?? files.temporaryDirectory.appendingPathComponent("aurum-questions-\(UUID().uuidString.lowercased())").path
        let content = (try? files.contentsOfDirectory(atPath: folder)) ?? []
        guard content.isEmpty || content.contains(Self.marker) else {
            throw QuestionFailure("\(folder) is neither empty nor a folder that this command filled")
        }
        do {
            try files.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try Data().write(to: URL(fileURLWithPath: folder).appendingPathComponent(Self.marker))
        } catch { throw QuestionFailure("the folder \(folder) cannot be written: \(error)") }
        return folder
    }

    private func measure(_ server: SpawnedServer) async throws -> QuestionReport {
        var report = QuestionReport()
        var target = try await server.start(within: Self.startWithin)
        let keys = try await Keys(target)
        report.found = try await count(APIClient(target.url, key: keys.reader))
        if report.found < events {
            try await fill(target, keys, &report)
            // Only a segment that is not open any more can become an archive.
            try await stop(server)
            report.compactionSeconds = try await compact(try await server.start(within: Self.startWithin))
        }
        progress("stop and start with \(report.stored) events")
        try await stop(server)
        let began = ContinuousClock.now
        target = try await server.start(within: Self.startWithin)
        let client = APIClient(target.url, key: keys.reader)
        while try await client.get("/health/ready").status != 200 {
            guard ContinuousClock.now - began < Self.startWithin else {
                throw QuestionFailure("the server is not ready after \(Self.startWithin)")
            }
        }
        report.readySeconds = (ContinuousClock.now - began).seconds
        report.residentBytesAtStart = target.pid.flatMap { ProcFile.residentBytes(pid: $0) } ?? 0
        try await ask(target, keys, &report)
        report.counted = try await count(client)
        return report
    }

    private func stop(_ server: SpawnedServer) async throws {
        let status = await server.stop(within: .seconds(60))
        guard status != 0 else { return }
        throw QuestionFailure("the server ended with \(status.map { "\($0)" } ?? "a kill") when told to stop")
    }

    // MARK: events

    /// Brings the folder to the events wanted, and checks the server's count.
    private func fill(_ target: ValidationTarget, _ keys: Keys, _ report: inout QuestionReport) async throws {
        while report.stored < events {
            progress("fill \(events - report.stored) events")
            let before = report.filled.events
            let bodies = (events - report.stored + HistoryBodies.batch - 1) / HistoryBodies.batch
            try await fill(target, keys, bodies: bodies, &report.filled)
            guard report.filled.events > before else { throw QuestionFailure("the server stored no event") }
        }
        let counted = try await count(APIClient(target.url, key: keys.reader))
        let most = report.stored + report.filled.unansweredRequests * HistoryBodies.batch
        guard counted >= report.stored, counted <= most else {
            throw QuestionFailure("\(report.stored) events were acknowledged, and the server counts \(counted)")
        }
    }

    /// Makes archives of all that is stored, as the days make them of a month's log. Answers the seconds it took.
    private func compact(_ target: ValidationTarget) async throws -> Double {
        progress("compact")
        let admin = APIClient(target.url, key: target.adminToken)
        let answer = try await admin.send(
            "POST", "/v1/log/compact", body: Array("{}".utf8), timeout: Self.compactionWithin)
        guard answer.status == 200 else { throw QuestionFailure("POST /v1/log/compact: \(Self.problem(answer))") }
        return answer.elapsed.seconds
    }

    private func fill(
        _ target: ValidationTarget, _ keys: Keys, bodies: Int, _ stored: inout QuestionReport.Stored
    ) async throws {
        let endpoint = try HTTPEndpoint(target.url)
        let now = SystemWallClock().now
        let heads = EventLoad.heads(LoadPlan(target: target.url, keys: keys.writers), endpoint)
        let threads = min(Self.fillThreads, bodies)
        let sources = (0..<threads).map { thread in
            HistoryBodies(
                heads: heads, bodies: bodies, from: now.milliseconds - Int64(Self.days) * 86_400_000,
                to: now.milliseconds, seed: seed, salt: UInt64(bitPattern: now.microseconds), thread: thread,
                threads: threads)
        }
        let seconds = 60 + Double(bodies * HistoryBodies.batch) / Self.fillPerSecondMin
        stored.add(
            try await LoadRunner.run(
                executor: .sharedIterations(
                    count: bodies, virtualUsers: Self.fillConnections, secondsMax: seconds),
                endpoint: endpoint, settings: LoadSettings(readsReceipts: true), sources: sources))
    }

    /// Rows of the organisation by the server's own scan.
    private func count(_ client: APIClient) async throws -> Int {
        let answer = try await client.post("/v1/query", ["measures": ["count"], "bots": "include"])
        guard answer.status == 200, let count = answer.json["rows"]?.array?.first?["count"]?.integer else {
            throw QuestionFailure("the events cannot be counted: \(Self.problem(answer))")
        }
        return Int(count)
    }

    // MARK: questions

    /// Asks every question once, then again in rounds, while events come in.
    private func ask(_ target: ValidationTarget, _ keys: Keys, _ report: inout QuestionReport) async throws {
        let stop = LoadStop()
        let bodies = try liveBodies(target, keys)
        let endpoint = try HTTPEndpoint(target.url)
        let meter = TargetMeter(metricsURL: nil, pid: target.pid)
        progress("ask")
        async let load = live(bodies, endpoint, stop)
        let reading = Task { await meter.watch(seconds: Self.liveSecondsMax) }
        let asked: Result<Void, any Error>
        do { asked = .success(try await ask(APIClient(target.url, key: keys.reader), &report)) } catch {
            asked = .failure(error)
        }
        reading.cancel()
        stop.set()
        report.target = await reading.value
        if let tally = try await load { report.meanwhile.add(tally) }
        try asked.get()
    }

    private func ask(_ client: APIClient, _ report: inout QuestionReport) async throws {
        var failed: [String: Int] = [:]
        let end = ContinuousClock.now + Self.askingMax
        var next = ContinuousClock.now
        for round in 0...asks where round == 0 || next < end {
            for (index, question) in DashboardQuestion.all.enumerated()
            where failed[question.name, default: 0] < Self.failuresMax {
                let answer = try await client.post(question.path, question.body)
                let milliseconds = answer.elapsed.seconds * 1000
                if round == 0 {
                    report.questions.append(QuestionReport.Times(name: question.name, first: milliseconds))
                } else {
                    report.questions[index].again.append(milliseconds)
                }
                guard answer.status != 200 || !question.finds(answer.json) else { continue }
                failed[question.name, default: 0] += 1
                let reason = answer.status == 200 ? "found nothing" : Self.problem(answer)
                report.failures.append("\(question.name), round \(round): \(reason)")
            }
            if round == 0 { progress("again, \(asks) rounds") }
            next = max(next + Self.roundInterval, .now)
            if round < asks { try await ContinuousClock().sleep(until: next) }
        }
    }

    private func liveBodies(_ target: ValidationTarget, _ keys: Keys) throws -> EventBodies? {
        guard rate > 0 else { return nil }
        let endpoint = try HTTPEndpoint(target.url)
        return EventBodies(
            profile: .standard, batch: HistoryBodies.batch, count: keys.writers.count,
            heads: EventLoad.heads(LoadPlan(target: target.url, keys: keys.writers), endpoint),
            seed: HistoryBodies.seed, salt: UInt64(bitPattern: SystemWallClock().now.microseconds), inTurn: true)
    }

    private func live(_ bodies: EventBodies?, _ endpoint: HTTPEndpoint, _ stop: LoadStop) async throws -> LoadTally? {
        guard let bodies else { return nil }
        return try await LoadRunner.run(
            executor: .constantArrivalRate(
                perSecond: rate / Double(HistoryBodies.batch), seconds: Self.liveSecondsMax,
                virtualUsers: Self.liveConnections),
            endpoint: endpoint, settings: LoadSettings(readsReceipts: true, stop: stop), sources: [bodies])
    }

    /// Status and the server's own words.
    private static func problem(_ answer: APIAnswer) -> String {
        let detail = answer.json["detail"]?.string ?? String(answer.text.prefix(300))
        return "\(answer.status) \(answer.code): \(detail)"
    }

    /// One key that writes for each app of the standard data, and one that asks.
    private struct Keys {
        var writers: [String] = []
        var reader: String

        init(_ target: ValidationTarget) async throws {
            let admin = APIClient(target.url, key: target.adminToken)
            func key(_ scope: String, app: String) async throws -> String {
                let answer = try await admin.post(
                    "/v1/keys",
                    [
                        "name": "bench", "org": .string(QuestionBench.org), "app": .string(app),
                        "scopes": [.string(scope)],
                    ])
                guard answer.status == 201, let key = answer.json["key"]?.string else {
                    throw QuestionFailure("a key cannot be made: \(QuestionBench.problem(answer))")
                }
                return key
            }
            reader = try await key("analytics:read", app: "default")
            for app in 0..<StandardEvents.apps { writers.append(try await key("events:write", app: "app-\(app)")) }
        }
    }
}

extension QuestionReport.Stored {
    mutating func add(_ tally: LoadTally) {
        events += tally.outcomes.stored + tally.outcomes.late + tally.outcomes.bot
        seconds += Double(tally.lastAnswerNanoseconds) / 1e9
        refusedRequests += tally.refused
        unansweredRequests += tally.unanswered
    }
}
