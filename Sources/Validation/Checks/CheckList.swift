/// Every check there is. A check that sends no request fails by construction.
enum CheckList {
    static let all: [Check] =
        leadFlow + marketplace + records + jobs + database + policy + identity + behaviour + formats + attribution
        + interface + security + chat
        + performance + load + spike + endurance + repeatedStatements + resilience + outages + faults + eventResilience
        + oracles

    /// Fake buyers that the checks of one run share; each organisation knows only those it registers.
    static let buyers: [FakeBuyerConfiguration] = [
        FakeBuyerConfiguration(code: "alpha", bidCents: 18_000...18_000),
        FakeBuyerConfiguration(code: "bravo", bidCents: 21_000...21_000),
        FakeBuyerConfiguration(code: "outbid", bidCents: 9_000...12_000, seed: 5),
        FakeBuyerConfiguration(code: "excluded", bidCents: 40_000...40_000),
        FakeBuyerConfiguration(code: "lying", behaviour: .lying, bidCents: 26_000...26_000),
        FakeBuyerConfiguration(code: "declining", behaviour: .reject),
        FakeBuyerConfiguration(code: "slow", behaviour: .slow, delay: .seconds(4)),
        FakeBuyerConfiguration(code: "vanishing", behaviour: .timeoutAfterAccept),
        FakeBuyerConfiguration(code: "created", behaviour: .createdWithRejectBody),
        FakeBuyerConfiguration(code: "duplicates", behaviour: .duplicate),
        FakeBuyerConfiguration(code: "malformed", behaviour: .malformed),
        FakeBuyerConfiguration(code: "limited", behaviour: .rateLimited, rateLimit: 50),
        FakeBuyerConfiguration(code: "scattered", bidCents: 12_000...24_000, seed: 41),
    ]
}
