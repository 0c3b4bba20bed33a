internal import AurumCore
internal import Runtime

/// How many conversations may begin, per address and hour and per site and minute, and how fast a visitor may write.
struct ConversationRates: Sendable {
    private let limiter: any RateLimiter
    private let perAddress: RateLimit
    private let perSite: RateLimit
    private let messages: RateLimit

    init(limiter: any RateLimiter, limits: ConversationLimits) {
        self.limiter = limiter
        perAddress = .window("chat_open_address", limits.conversationsPerAddressHour, in: .seconds(3600))
        perSite = .window("chat_open_site", limits.conversationsPerSiteMinute, in: .seconds(60))
        messages = .window("chat_messages", limits.messagesPer10Seconds, in: .seconds(10))
    }

    /// Counts a new conversation. Throws `rateLimited` when it may not begin; then nothing is counted.
    func open(org: String, site: String, address: String) async throws(ConversationError) {
        try Self.check(
            await limiter.decide(all: [
                RateRequest(perAddress, .org(org), address), RateRequest(perSite, .org(org), site),
            ]))
    }

    /// Counts a message of a conversation.
    func message(org: String, conversation: UID) async throws(ConversationError) {
        try Self.check(await limiter.decide(RateRequest(messages, .org(org), conversation.hex)))
    }

    private static func check(_ verdict: RateVerdict) throws(ConversationError) {
        if !verdict.isAllowed {
            throw .rateLimited(retryAfterMilliseconds: Int(verdict.retryAfter.microseconds / 1000) + 1)
        }
    }
}
