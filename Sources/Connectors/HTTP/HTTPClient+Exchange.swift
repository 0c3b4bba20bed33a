internal import AsyncHTTPClient
internal import AurumCore
internal import NIOCore
internal import NIOHTTP1

extension HTTPClient {
    /// Sends a request and reads the whole answer within `timeout`. The deadline of `execute` ends with the head of the
    /// answer: a server that sends one and nothing after it would hold its caller for ever. Nor is there an answer of
    /// 2xx before the request was sent whole; others end what is still to be sent.
    /// - Returns: the head, and the body or why there is no whole one: `HTTPClientError.deadlineExceeded` when it did
    ///   not end in time, and then its connection is closed.
    /// - Throws: when no head came.
    func exchange(
        _ request: HTTPClientRequest, answerBytesMax: Int, timeout: Duration
    ) async throws -> (response: HTTPClientResponse, body: Result<ByteBuffer, any Error>) {
        let start = ContinuousClock.now
        let response: HTTPClientResponse
        do {
            response = try await execute(request, timeout: .nanoseconds(timeout.microseconds * 1000))
        } catch let early as EarlyAnswer { return Self.exchange(early, answerBytesMax) }
        let left = max(.zero, timeout - (ContinuousClock.now - start))
        let body = response.body
        let read = await withTaskGroup(of: Result<ByteBuffer, any Error>.self) { group in
            group.addTask {
                do { return .success(try await body.collect(upTo: answerBytesMax)) } catch { return .failure(error) }
            }
            group.addTask {
                do { try await ContinuousClock().sleep(for: left) } catch { return .failure(error) }
                return .failure(HTTPClientError.deadlineExceeded)
            }
            defer { group.cancelAll() }
            return await group.next() ?? .failure(HTTPClientError.cancelled)
        }
        return (response, read)
    }

    private static func exchange(
        _ early: EarlyAnswer, _ answerBytesMax: Int
    ) -> (response: HTTPClientResponse, body: Result<ByteBuffer, any Error>) {
        let response = HTTPClientResponse(
            version: early.head.version, status: early.head.status, headers: early.head.headers)
        guard early.isWhole else { return (response, .failure(HTTPClientError.remoteConnectionClosed)) }
        guard early.body.readableBytes <= answerBytesMax else {
            return (response, .failure(NIOTooManyBytesError(maxBytes: answerBytesMax)))
        }
        return (response, .success(early.body))
    }
}
