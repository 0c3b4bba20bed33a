internal import AurumCore
internal import NIOCore

/// How fast the chat answers.
extension CheckList {
    static let chat: [Check] = [
        Check(
            id: "P15", title: "chat turn, 10 visitors at once", phase: "performance",
            suites: ["conversation", "solar"],
            threshold: "without language model p95 < 500 ms", source: "platform validation", seconds: 90
        ) { context, findings in
            // A server of our own has raised limits; elsewhere a visitor may send ten messages in ten seconds.
            let own = context.server != nil
            try await turns(
                context, findings, visitors: 10, seconds: own ? 16 : 30, interval: own ? 0.25 : 1.2, bar: 500)
        },
        Check(
            id: "P15C", title: "chat turn, 100 visitors at once", phase: "performance",
            suites: ["conversation", "solar"],
            threshold: "p95 < 10 ms at 100 concurrent conversations", source: "foundation", seconds: 90
        ) { context, findings in
            try await turns(context, findings, visitors: 100, seconds: 26, interval: 2.2, bar: 10)
        },
        Check(
            id: "P17", title: "WebSocket echo, 50 connections", phase: "performance", suites: ["conversation"],
            threshold: "mean < 5 ms, p99 < 8 ms", source: "platform validation", body: echo),
    ]

    private static func turns(
        _ context: CheckContext, _ findings: Findings, visitors: Int, seconds: Double, interval: Double, bar: Double
    ) async throws {
        // Several sites: one site may start only so many conversations a minute.
        var keys: [String] = []
        for index in 0..<4 {
            keys.append(try await context.organisation("\(findings.name.lowercased())-\(index)").site)
        }
        let load = ChatLoad(
            target: context.target.url, siteKeys: keys, visitors: visitors, seconds: seconds, interval: interval,
            warmUp: 2, seed: context.seed, logger: context.logger)
        let (report, recorder) = try await load.measure()
        findings.sent(report.turns + report.conversations)
        findings.keep(recorder, as: "turn")
        findings.expect(report.errors == 0, "\(report.errors) errors: \(report.errorCodes)")
        findings.expect(report.turns > visitors, "only \(report.turns) turns of \(visitors) visitors")
        findings.measure(Measure("turn p50", report.latency.p50.milliseconds, "ms", n: Int(report.latency.n)))
        findings.measure(Measure("turn p95", report.latency.p95, below: bar, n: report.latency.n))
        findings.measure(
            Measure("turn max", Double(report.latency.maxMicroseconds) / 1000, "ms", n: Int(report.latency.n)))
        findings.measure(Measure("conversations", Double(report.conversations), "", n: 1))
    }

    /// Control pings on chat sockets: what the line and the server's socket loop cost.
    @Sendable private static func echo(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("p17")
        let url = "ws" + context.target.url.dropFirst(4) + "/v1/chat?site=\(org.site)"
        let connections = 50
        let pings = 40
        let recorder = try await withThrowingTaskGroup(of: LatencyRecorder.self) { group in
            for connection in 0..<connections {
                group.addTask {
                    let socket = try await WebSocketConnection.connect(
                        to: url, headers: [("Origin", context.target.url)])
                    var recorder = LatencyRecorder()
                    let clock = ContinuousClock()
                    var due = clock.now + .milliseconds(connection * 2)
                    for number in 0..<pings {
                        try await clock.sleep(until: due)
                        let data = Array("\(connection)-\(number)".utf8)
                        let sent = NIODeadline.now().uptimeNanoseconds
                        try await socket.ping(data)
                        recorder.add(try await pong(data, on: socket, since: sent))
                        due = due + .milliseconds(100)
                    }
                    await socket.close()
                    return recorder
                }
            }
            var all = LatencyRecorder()
            for try await one in group { all.add(one) }
            return all
        }
        findings.sent(connections * pings)
        findings.keep(recorder, as: "echo")
        let summary = recorder.summary
        findings.expect(
            summary.n == UInt64(connections * pings), "\(summary.n) of \(connections * pings) pings came back")
        findings.measure(Measure("echo mean", summary.meanMicroseconds / 1000, "ms", .below, bar: 5, n: Int(summary.n)))
        findings.measure(Measure("echo p99", summary.p99, below: 8, n: summary.n))
    }

    private static func pong(
        _ data: [UInt8], on socket: WebSocketConnection, since sent: UInt64
    ) async throws -> LatencyRecorder {
        var recorder = LatencyRecorder()
        while true {
            switch try await socket.next(within: .seconds(5)) {
            case .pong(let echoed, let at) where echoed == data:
                recorder.finished(intended: sent, sent: sent, answered: at)
                return recorder
            case .closed(let code): throw CheckError.unexpected("the socket closed with \(code)")
            case .pong, .text, .binary: continue
            }
        }
    }
}
