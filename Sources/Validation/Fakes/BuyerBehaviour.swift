/// How a fake buyer answers. Each is something that real buyers' systems do.
package enum BuyerBehaviour: String, CaseIterable, Sendable, Codable {
    /// Bids, then accepts.
    case accept
    /// Declines the ping; a post is rejected.
    case reject
    /// Bids and accepts, but only after the configured delay.
    case slow
    /// Bids, books the lead, and never answers the first post of a key; a repeat of that key is answered at once.
    case timeoutAfterAccept
    /// Bids; answers the post with status 201 and a body that says rejected.
    case createdWithRejectBody
    /// Bids; rejects the post because it already has the person.
    case duplicate
    /// Every second request is answered 503.
    case flapping
    /// 429 with Retry-After once a second's allowance is used up.
    case rateLimited
    /// 200 with a text that is not the contract, for ping and post.
    case malformed
    /// Bids, then rejects the post.
    case lying
}

/// One fake buyer: its name in paths, how it behaves, and from which range it bids.
package struct FakeBuyerConfiguration: Sendable {
    package var code: String
    package var behaviour: BuyerBehaviour
    /// Whole cents; the score of the lead moves the bid inside the range, the seed scatters it.
    package var bidCents: ClosedRange<Int64>
    package var seed: UInt64
    /// Used by `slow`.
    package var delay: Duration
    /// Requests a second that `rateLimited` answers.
    package var rateLimit: Int

    package init(
        code: String, behaviour: BuyerBehaviour = .accept, bidCents: ClosedRange<Int64> = 12_000...22_000,
        seed: UInt64 = 7, delay: Duration = .seconds(5), rateLimit: Int = 5
    ) {
        self.code = code
        self.behaviour = behaviour
        self.bidCents = bidCents
        self.seed = seed
        self.delay = delay
        self.rateLimit = rateLimit
    }
}

/// A lead that the buyer holds to be its own: what an oracle compares Aurum's ledger with.
package struct BookEntry: Sendable, Codable, Hashable {
    package var legID: String
    package var leadID: String
    package var priceCents: Int64
    package var currency: String
    package var token: String
    package var acceptedID: String
    package var receivedAt: String
}

/// One request as the buyer saw it.
package struct ExchangeRecord: Sendable, Codable, Hashable {
    package enum Kind: String, Sendable, Codable { case ping, post }
    package var kind: Kind
    /// Ping id, or the idempotency key of a post.
    package var key: String
    /// Status answered; 0 for a request that is left hanging.
    package var status: Int
    package var at: String
}

/// What the server sends back, and how long it waits first.
package struct FakeAnswer: Sendable, Equatable {
    package var status: Int
    package var headers: [String: String] = [:]
    package var body: String
    package var wait: Duration = .zero
    /// True when the answer must never come.
    package var hangs = false
}
