package import AsyncHTTPClient
package import AurumCore
internal import Crypto
package import Events
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
package import Runtime

/// Posts the files of exports, signed, piece by piece. Only the status of an answer counts; what a receiver writes is
/// not kept. The receivers of an organisation share one guard: addresses come from outside, and guards are few.
package struct ExportCaller: Sendable {
    package static let timeout: Duration = .seconds(300)
    private static let answerBytesMax = 64 << 10
    /// How long a post waits where too many of the organisation are on their way.
    private static let crowded: Duration = .seconds(5)

    private let client: HTTPClient
    private let guards: GuardBook
    private let clock: any WallClock
    private let timeout: Duration

    /// - Parameter client: one that `HTTPLeadBuyer.makeClient` made, so that connections are checked and redirects are
    ///   refused.
    package init(client: HTTPClient, guards: GuardBook, clock: any WallClock, timeout: Duration = Self.timeout) {
        (self.client, self.guards, self.clock, self.timeout) = (client, guards, clock, timeout)
    }

    package func send(_ call: ExportCall) async -> ExportAnswer {
        var options = GuardOptions()
        // Every try has a record of its own.
        options.triesMax = 1
        options.judgesSlowness = false
        let lost = ExportAnswer.failed(reason: GuardRefusal.injectedReason, status: nil, retryAfter: nil)
        do throws(GuardRefusal) {
            return try await guards.guard("export:\(call.org)").call(
                within: timeout, options, lost: lost, judge: Self.judge
            ) { left in await execute(call, timeout: left) }
        } catch {
            switch error {
            case .breakerOpen(let retryAfter): return .postponed(retryAfter)
            case .bulkheadFull: return .postponed(Self.crowded)
            case .injected: return lost
            }
        }
    }

    private static func judge(_ answer: ExportAnswer) -> GuardJudgement {
        switch answer {
        case .delivered, .refused: .good
        case .postponed: .good
        // One that asks for patience is there.
        case .failed(_, let status, _): status.map { $0 < 500 } ?? false ? .good : .bad
        }
    }

    private func execute(_ call: ExportCall, timeout: Duration) async -> ExportAnswer {
        var request = HTTPClientRequest(url: call.url)
        request.method = .POST
        do {
            let header = try await BlockingWork.value { try signature(call) }
            request.headers.add(name: "Aurum-Signature", value: header)
        } catch { return .failed(reason: "file_unreadable", status: nil, retryAfter: nil) }
        for (name, value) in [
            ("User-Agent", "aurum"), ("Aurum-Delivery", call.delivery.hex), ("Aurum-SHA256", call.sha256),
            ("Content-Type", call.contentType),
            ("Content-Disposition", "attachment; filename=\"\(call.fileName)\""),
        ] { request.headers.add(name: name, value: value) }
        request.body = .stream(FileBody(path: call.path), length: .known(Int64(call.bytes)))
        do {
            // The body is read so that the connection can be used again; a longer answer is cut off with it.
            let (response, body) = try await client.exchange(
                request, answerBytesMax: Self.answerBytesMax, timeout: timeout)
            let wait = response.headers.first(name: "Retry-After").flatMap { RetryAfter.wait($0, now: clock.now) }
            let answer = ExportAnswer(status: Int(response.status.code), retryAfter: wait)
            // Taken is what was answered to the end, by a receiver that was there to the end.
            if case .delivered = answer, case .failure(let error) = body, !(error is NIOTooManyBytesError) {
                throw error
            }
            return answer
        } catch let refused as EgressGuard.Refused {
            // An address that may not be reached stays one.
            return .refused(reason: refused.reason, status: nil)
        } catch { return .failed(reason: JSONPoster.reason(error), status: nil, retryAfter: nil) }
    }

    /// As callbacks are signed: `t=SECONDS,v1=hex(HMAC-SHA256(secret, text))`; the text is seconds, delivery id,
    /// method, path with query as they stand in the request, and body, each on a line of its own.
    private func signature(_ call: ExportCall) throws -> String {
        let seconds = clock.now.microseconds / 1_000_000
        let head = [String(seconds), call.delivery.hex, "POST", CallbackCaller.target(call.url), ""]
        var code = HMAC<SHA256>(key: SymmetricKey(data: Data(call.secret.utf8)))
        code.update(data: Data(head.joined(separator: "\n").utf8))
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: call.path))
        while let piece = try file.read(upToCount: FileBody.pieceBytes), !piece.isEmpty { code.update(data: piece) }
        return "t=\(seconds),v1=\(Hex.encode(code.finalize()))"
    }
}

/// A file, piece by piece.
private struct FileBody: AsyncSequence, Sendable {
    static let pieceBytes = 1 << 18

    let path: String

    struct AsyncIterator: AsyncIteratorProtocol {
        let path: String
        var handle: FileHandle?

        mutating func next() async throws -> ByteBuffer? {
            let file = try handle ?? FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            handle = file
            guard let piece = try file.read(upToCount: FileBody.pieceBytes), !piece.isEmpty else { return nil }
            return ByteBuffer(bytes: piece)
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(path: path) }
}
