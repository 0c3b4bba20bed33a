/// Which value: whose, of which cache, and its name there.
package struct CacheKey: Hashable, Hashed {
    package let org: String
    /// From a closed set: a label of metrics.
    package let cache: String
    package let name: String
    let hashed: Int

    package init(org: String, cache: String, name: String) {
        self.org = org
        self.cache = cache
        self.name = name
        var hasher = Hasher()
        hasher.combine(org)
        hasher.combine(cache)
        hasher.combine(name)
        hashed = hasher.finalize()
    }

    package static func == (left: CacheKey, right: CacheKey) -> Bool {
        left.hashed == right.hashed && left.name == right.name && left.cache == right.cache && left.org == right.org
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(hashed) }
}

/// How long a value may be used.
package struct CachePolicy: Sendable {
    /// Longest a value may be served stale.
    package static let staleMax: Duration = .seconds(86_400)

    package var freshFor: Duration
    /// After that, how long the value is still served while a new one is made.
    package var staleFor: Duration
    /// Weight of early refresh: the law is P(early) = e^(-ttl / (beta · duration of the factory)).
    package var beta: Double

    package init(freshFor: Duration, staleFor: Duration? = nil, beta: Double = 1) {
        self.freshFor = freshFor
        self.staleFor = min(staleFor ?? freshFor * 5, Self.staleMax)
        self.beta = beta
    }
}

/// What a cache answers.
package struct Cached: Sendable, Equatable {
    /// nil when the factory said that there is nothing; that is remembered too, for a moment.
    package var value: [UInt8]?
    /// The value is past its time and a new one is being made.
    package var isStale: Bool
    /// Whether this call, or one it waited for on this node, made the value.
    package var isNew: Bool
}

package enum CacheError: Error, Sendable, Equatable {
    /// More than `CacheLimits.valueBytesMax`.
    case valueTooLarge(bytes: Int)
    /// The caller was cancelled while the value was being made; the making goes on for others.
    case cancelled
    /// The factory took longer than `CacheLimits.factoryMax`, or another node was making the value and neither it nor
    /// its lease ended in time.
    case timedOut
}

package enum CacheLimits {
    package static let valueBytesMax = 8 << 20
    /// Entries and bytes of one process, whichever comes first.
    package static let entriesMax = 10_000
    package static let bytesMax = 64 << 20
    /// How long "there is nothing" is remembered, varied by `negativeJitterPercent`.
    package static let negativeFor: Duration = .seconds(5)
    package static let negativeJitterPercent = 20
    /// A factory that takes longer is cancelled.
    package static let factoryMax: Duration = .seconds(10)
    /// After a factory failed while a stale value was there, it is not asked again for so long.
    package static let retryAfter: Duration = .seconds(30)
    /// Other lifetimes are varied by so many percent either way, so that they do not end together.
    package static let jitterPercent = 10
    /// Tags of one entry, the organisation's own aside.
    package static let tagsMax = 16
}

/// Values that cost something to make, made once. `get` is the only way to fill it.
///
/// Nothing personal may be put into it unless the caller encrypted it, and no decision about access that is older than
/// a second.
package protocol Cache: Sendable {
    /// The value, from here or made by `factory`; callers at the same time share one making.
    /// - Parameter factory: its errors are never remembered; it must end soon after its task is cancelled.
    /// - Throws: what `factory` throws when there is no stale value to serve, or `CacheError`.
    func get(
        _ key: CacheKey, _ policy: CachePolicy, tags: [String],
        _ factory: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> Cached

    /// Forgets every entry with this tag, whatever their number, and refuses what is being made with it now.
    func invalidate(org: String, tag: String) async

    /// Forgets everything of an organisation.
    func invalidate(org: String) async
}
