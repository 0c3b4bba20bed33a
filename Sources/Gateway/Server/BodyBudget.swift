internal import AurumCore
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Synchronization

/// Bytes of request bodies that the process holds at once, from their arrival until their request is answered.
///
/// A body that would pass the bound is refused before it is read; one that grows past it while it is read (no length
/// given, or many at once) is refused then. What slow senders have announced and not sent counts nothing, so that they
/// cannot keep others out.
package final class BodyBudget: Sendable {
    /// Why a body is not taken.
    package enum Refusal: Error, Equatable {
        /// The process holds as much as it may.
        case full
        /// This sender holds half of it while others wait.
        case share
    }

    private struct State {
        var bytes = 0
        var holders: [String: Int] = [:]
    }

    private let state = Mutex(State())
    private let bytesMax: Int

    package init(bytesMax: Int) { self.bytesMax = bytesMax }

    package var bytes: Int { state.withLock { $0.bytes } }

    /// Whether a body of `announced` bytes may be read now. One body always fits an idle process.
    package func check(announced: Int, holder: String) -> Refusal? {
        state.withLock { refusal($0, more: announced, holder: holder) }
    }

    /// Holds `count` more bytes for a sender.
    package func take(_ count: Int, holder: String) -> Refusal? {
        state.withLock { state in
            if let refusal = refusal(state, more: count, holder: holder) { return refusal }
            state.bytes += count
            state.holders[holder, default: 0] += count
            return nil
        }
    }

    package func give(_ count: Int, holder: String) {
        guard count > 0 else { return }
        state.withLock { state in
            state.bytes -= count
            let left = (state.holders[holder] ?? 0) - count
            state.holders[holder] = left > 0 ? left : nil
        }
    }

    private func refusal(_ state: State, more: Int, holder: String) -> Refusal? {
        guard state.bytes > 0 else { return nil }
        // A sender may announce any number: nothing is added to it.
        if more > bytesMax - state.bytes { return .full }
        let own = state.holders[holder] ?? 0
        let othersWait = state.bytes > own
        return othersWait && own > 0 && more > bytesMax / 2 - own ? .share : nil
    }
}

extension Problem {
    init(_ refusal: BodyBudget.Refusal) {
        switch refusal {
        case .full:
            self = .unavailable(code: "overloaded", detail: "More bodies are waiting than the server may hold.")
        case .share: self = .rateLimited(retryAfterSeconds: 1)
        }
    }
}

/// Puts every request body under the budget, whatever route it is for.
struct BodyBudgetMiddleware: RouterMiddleware {
    typealias Context = GatewayContext

    let budget: BodyBudget

    func handle(
        _ request: Request, context: GatewayContext,
        next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let announced = request.headers[.contentLength].flatMap { Int($0) } ?? 0
        guard announced > 0 || request.headers[.transferEncoding] != nil else {
            return try await next(request, context)
        }
        let holder = request.headers[.authorization] ?? request.headers[.writeKey] ?? context.clientAddress
        if let refusal = budget.check(announced: announced, holder: holder) { throw Problem(refusal) }
        let account = BodyAccount(budget: budget, holder: holder)
        defer { account.close() }
        var request = request
        request.body = RequestBody(asyncSequence: CountedBody(base: request.body, account: account))
        return try await next(request, context)
    }
}

/// What one request holds of the budget.
final class BodyAccount: Sendable {
    private let budget: BodyBudget
    private let holder: String
    private let bytes = Atomic<Int>(0)

    init(budget: BodyBudget, holder: String) {
        self.budget = budget
        self.holder = holder
    }

    func take(_ count: Int) throws(Problem) {
        if let refusal = budget.take(count, holder: holder) { throw Problem(refusal) }
        bytes.add(count, ordering: .relaxed)
    }

    /// Gives everything back.
    func close() { budget.give(bytes.exchange(0, ordering: .relaxed), holder: holder) }
}

/// A body whose chunks are counted as they come.
private struct CountedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer
    let base: RequestBody
    let account: BodyAccount

    struct AsyncIterator: AsyncIteratorProtocol {
        var base: RequestBody.AsyncIterator
        let account: BodyAccount

        @concurrent mutating func next() async throws -> ByteBuffer? {
            guard let chunk = try await base.next() else { return nil }
            try account.take(chunk.readableBytes)
            return chunk
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(base: base.makeAsyncIterator(), account: account) }
}
