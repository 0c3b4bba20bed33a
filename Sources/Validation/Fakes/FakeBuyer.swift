package import AurumCore
internal import Foundation
internal import Synchronization

/// A lead buyer as Aurum meets them: bids on pings, accepts or refuses posts, keeps its own book.
///
/// All decisions are here and synchronous; `FakesServer` only carries them over HTTP. The price depends on the seed,
/// the ping id and the score alone, so a repeated run bids the same.
package final class FakeBuyer: Sendable {
    private struct State {
        var behaviour: BuyerBehaviour
        var bids: [String: Int64] = [:]
        var answers: [String: FakeAnswer] = [:]
        var book: [BookEntry] = []
        var log: [ExchangeRecord] = []
        var requests = 0
        var second: Int64 = 0
        var inSecond = 0
    }

    package let configuration: FakeBuyerConfiguration
    private let clock: any WallClock
    private let state: Mutex<State>
    /// Pings and posts remembered at most; older ones are forgotten together.
    private static let remembered = 200_000

    package init(_ configuration: FakeBuyerConfiguration, clock: any WallClock = SystemWallClock()) {
        self.configuration = configuration
        self.clock = clock
        state = Mutex(State(behaviour: configuration.behaviour))
    }

    package var code: String { configuration.code }
    package var behaviour: BuyerBehaviour { state.withLock { $0.behaviour } }
    package var book: [BookEntry] { state.withLock { $0.book } }
    package var log: [ExchangeRecord] { state.withLock { $0.log } }

    package func setBehaviour(_ behaviour: BuyerBehaviour) { state.withLock { $0.behaviour = behaviour } }

    /// Answers `{"leadType","zip","score","attributes","pingId"}` with a bid or a refusal.
    package func ping(_ body: JSONValue?) -> FakeAnswer {
        let pingID = body?["pingId"]?.string ?? ""
        let answer = state.withLock { state in
            if let fault = fault(&state) { return fault }
            guard let body, !pingID.isEmpty, body["leadType"]?.string != nil else {
                return FakeAnswer(status: 400, body: #"{"outcome":"decline","reason":"bad_request"}"#)
            }
            if state.behaviour == .reject { return declined("no_demand") }
            return bid(on: pingID, score: body["score"]?.double ?? 0, &state)
        }
        record(.ping, key: pingID, answer)
        return answer
    }

    /// Answers `{"token","leadId","legId",…}`; the same `key` gets the same answer and is booked once.
    package func post(_ body: JSONValue?, key: String) -> FakeAnswer {
        let answer = state.withLock { state in
            if let earlier = state.answers[key] { return earlier }
            if let fault = fault(&state) { return fault }
            guard let body, !key.isEmpty, let token = body["token"]?.string, let lead = body["leadId"]?.string,
                let leg = body["legId"]?.string
            else { return FakeAnswer(status: 400, body: #"{"outcome":"rejected","reason":"bad_request"}"#) }
            guard let price = state.bids[token] else { return remember(rejected("unknown_token"), key, &state) }
            return settle(lead: lead, leg: leg, token: token, price: price, key: key, &state)
        }
        record(.post, key: key, answer)
        return answer
    }

    private func settle(
        lead: String, leg: String, token: String, price: Int64, key: String, _ state: inout State
    ) -> FakeAnswer {
        switch state.behaviour {
        case .reject, .lying: return remember(rejected("not_interested"), key, &state)
        case .duplicate: return remember(rejected("duplicate"), key, &state)
        case .createdWithRejectBody:
            var answer = rejected("quota_full")
            answer.status = 201
            return remember(answer, key, &state)
        case .accept, .slow, .timeoutAfterAccept, .flapping, .rateLimited, .malformed:
            let id = "\(code)-\(state.book.count + 1)"
            state.book.append(
                BookEntry(
                    legID: leg, leadID: lead, priceCents: price, currency: "USD", token: token, acceptedID: id,
                    receivedAt: clock.now.rfc3339))
            let accepted = FakeAnswer(status: 200, body: #"{"outcome":"accepted","id":"\#(id)"}"#)
            _ = remember(accepted, key, &state)
            var first = accepted
            if state.behaviour == .slow { first.wait = configuration.delay }
            first.hangs = state.behaviour == .timeoutAfterAccept
            return first
        }
    }

    private func bid(on pingID: String, score: Double, _ state: inout State) -> FakeAnswer {
        var random = SeededRandom(seed: configuration.seed ^ stableHash(pingID))
        let span = Double(configuration.bidCents.upperBound - configuration.bidCents.lowerBound)
        let position = 0.6 * min(max(score / 100, 0), 1) + 0.4 * Double.random(in: 0...1, using: &random)
        let cents = configuration.bidCents.lowerBound + Int64((span * position).rounded())
        let token = "\(code).\(pingID)"
        if state.bids.count >= FakeBuyer.remembered { state.bids.removeAll() }
        state.bids[token] = cents
        let body: JSONValue = [
            "outcome": "bid", "price": .string(Money.usd(cents: cents).decimal), "currency": "USD",
            "token": .string(token),
        ]
        let wait = state.behaviour == .slow ? configuration.delay : .zero
        return FakeAnswer(status: 200, body: body.canonical, wait: wait)
    }

    /// An answer given before the body is even looked at, or nil.
    private func fault(_ state: inout State) -> FakeAnswer? {
        state.requests += 1
        switch state.behaviour {
        case .malformed: return FakeAnswer(status: 200, body: "<html>It works!</html>")
        case .flapping where state.requests.isMultiple(of: 2):
            return FakeAnswer(status: 503, body: "upstream unavailable")
        case .rateLimited:
            let second = clock.now.microseconds / 1_000_000
            if second != state.second {
                state.second = second
                state.inSecond = 0
            }
            state.inSecond += 1
            guard state.inSecond > configuration.rateLimit else { return nil }
            return FakeAnswer(status: 429, headers: ["retry-after": "1"], body: #"{"error":"rate limited"}"#)
        default: return nil
        }
    }

    private func remember(_ answer: FakeAnswer, _ key: String, _ state: inout State) -> FakeAnswer {
        if state.answers.count >= FakeBuyer.remembered { state.answers.removeAll() }
        state.answers[key] = answer
        return answer
    }

    private func record(_ kind: ExchangeRecord.Kind, key: String, _ answer: FakeAnswer) {
        let at = clock.now.rfc3339
        state.withLock { state in
            if state.log.count >= FakeBuyer.remembered { state.log.removeAll() }
            state.log.append(ExchangeRecord(kind: kind, key: key, status: answer.hangs ? 0 : answer.status, at: at))
        }
    }

    private func declined(_ reason: String) -> FakeAnswer {
        FakeAnswer(status: 200, body: #"{"outcome":"decline","reason":"\#(reason)"}"#)
    }

    private func rejected(_ reason: String) -> FakeAnswer {
        FakeAnswer(status: 200, body: #"{"outcome":"rejected","reason":"\#(reason)"}"#)
    }
}

/// FNV-1a: the same text gives the same number in every run. Source: Fowler, Noll and Vo.
func stableHash(_ text: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash
}
