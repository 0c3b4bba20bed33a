internal import Accounts
package import Runtime

/// How fast senders may send: requests of an address, events of a publishable key, and of any key with a rate of its
/// own.
package struct CaptureRates: Sendable {
    let limiter: any RateLimiter
    private let address: RateLimit
    private let key: RateLimit
    /// Of one event a second; a key's own is made of it.
    private let own: RateLimit

    /// - Parameter perSecond: of each address and of each key; twice that in a burst.
    package init(limiter: any RateLimiter, perSecond: Int) {
        self.limiter = limiter
        address = .gcra("capture_address", perSecond, in: .seconds(1), burst: perSecond * 2)
        key = .gcra("capture_key", perSecond, in: .seconds(1), burst: perSecond * 2)
        own = .gcra("capture_key_own", 1, in: .seconds(1), burst: 2)
    }

    /// One request of `address`.
    func request(from address: String) -> RateRequest { RateRequest(self.address, .net, address) }

    /// `events` of a key; nil for one that has no rate.
    func events(_ events: Int, _ principal: Principal) -> RateRequest? {
        if let rate = principal.eventsPerSecond {
            // Whoever is given another rate begins anew: what was owed under the old one is a time, and would be held
            // against the new one at another price.
            return RateRequest(
                own.with(limit: rate, burst: rate * 2), .org(principal.org), "\(principal.keyID):\(rate)", cost: events)
        }
        guard principal.kind == .publishable else { return nil }
        return RateRequest(key, .org(principal.org), principal.keyID, cost: events)
    }
}
