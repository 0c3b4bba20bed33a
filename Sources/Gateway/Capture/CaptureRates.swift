package import Runtime

/// How fast strangers may send: requests of an address, events of a publishable key.
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

    /// `events` of a publishable key of `org`.
    func events(_ events: Int, org: String, key: String) -> RateRequest {
        RateRequest(self.key, .org(org), key, cost: events)
    }
}
