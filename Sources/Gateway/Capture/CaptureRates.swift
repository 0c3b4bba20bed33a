internal import Accounts
package import Runtime

/// How fast senders may send: requests of an address, events of a publishable key, and of any key with a rate of its
/// own.
package struct CaptureRates: Sendable {
    let limiter: any RateLimiter
    private let address: RateLimit
    private let key: RateLimit

    /// - Parameter perSecond: of each address and of each key; twice that in a burst.
    package init(limiter: any RateLimiter, perSecond: Int) {
        self.limiter = limiter
        address = .gcra("capture_address", perSecond, in: .seconds(1), burst: perSecond * 2)
        key = .gcra("capture_key", perSecond, in: .seconds(1), burst: perSecond * 2)
    }

    /// One request of `address`.
    func request(from address: String) -> RateRequest { RateRequest(self.address, .net, address) }

    /// `events` of a key; nil for one that has no rate.
    func events(_ events: Int, _ principal: Principal) -> RateRequest? {
        if let own = principal.eventsPerSecond {
            let limit = RateLimit.gcra("capture_key_own", own, in: .seconds(1), burst: own * 2)
            return RateRequest(limit, .org(principal.org), principal.keyID, cost: events)
        }
        guard principal.kind == .publishable else { return nil }
        return RateRequest(key, .org(principal.org), principal.keyID, cost: events)
    }
}
