internal import AurumCore

/// A value as it was made: how long it may be used from now on, and what it cost.
package struct MadeValue: Sendable {
    package var value: [UInt8]?
    package var freshFor: Duration
    package var staleFor: Duration
    package var cost: Duration
    /// Whether a factory of this node ran; otherwise it is a copy of what the server has.
    package var isNew = true
    /// Whether it was past its time already.
    package var isStale = false

    package init(value: [UInt8]?, freshFor: Duration, staleFor: Duration, cost: Duration) {
        self.value = value
        self.freshFor = freshFor
        self.staleFor = staleFor
        self.cost = cost
    }

    /// As it is told to those who waited for it.
    package var cached: Cached { Cached(value: value, isStale: isStale, isNew: isNew) }
}

/// What one process remembers, and what it is making. It decides; `MemoryCache` keeps it under its lock, runs the
/// factories and wakes who waits. Times, changes of tags and chance come in.
package struct CacheShelf: Sendable {
    struct Entry: Sendable {
        fileprivate let value: [UInt8]?
        fileprivate let freshUntil: Nanoseconds
        fileprivate let staleUntil: Nanoseconds
        /// Seconds that making it took.
        private let cost: Double
        fileprivate let isStale: Bool
        /// Not held: the meters of a cache live as long as the process's cache does.
        private let meters: Unmanaged<CacheMeters.OfCache>?
        private let tags: SeenTags
        /// No refresh before this, after one failed.
        fileprivate var retryAt = Nanoseconds.min
        /// Changes of tags when the entry's own were looked at last, and found current.
        private var checkedAt: UInt64

        fileprivate init(
            _ made: MadeValue, freshUntil: Nanoseconds, tags: SeenTags, changes: UInt64, meters: CacheMeters.OfCache?
        ) {
            (value, cost, isStale) = (made.value, made.cost.seconds, made.isStale)
            self.freshUntil = freshUntil
            staleUntil = made.value == nil ? freshUntil : freshUntil.after(made.staleFor)
            (self.tags, checkedAt, self.meters) = (tags, changes, meters.map { .passUnretained($0) })
        }

        /// - Parameter changes: of the tags of the cache, read before this.
        fileprivate mutating func isCurrent(_ changes: UInt64) -> Bool {
            if checkedAt == changes { return true }
            guard tags.areCurrent else { return false }
            checkedAt = changes
            return true
        }

        /// What is fresh and certainly made anew by nobody now: without a draw. Counts it.
        fileprivate func certain(_ policy: CachePolicy, at now: Nanoseconds) -> Cached? {
            guard EarlyRefresh.isFar(remaining: freshUntil.seconds(after: now), cost: cost, beta: policy.beta) else {
                return nil
            }
            meters?._withUnsafeGuaranteedRef { $0.hit(isNegative: value == nil) }
            return Cached(value: value, isStale: isStale, isNew: false)
        }

        fileprivate func isEarly(
            _ policy: CachePolicy, _ now: Nanoseconds, _ random: inout some RandomNumberGenerator
        ) -> Bool {
            EarlyRefresh.isDue(
                remaining: freshUntil.seconds(after: now), cost: cost, beta: policy.beta, random: &random)
        }
    }

    package enum Found: Sendable {
        case fresh(Cached)
        /// To be served now; the flight, if any, is new and to be started.
        case behind(Cached, CacheFlight?)
        case join(CacheFlight)
        case start(CacheFlight)
    }

    private var entries: SieveTable<CacheKey, Entry>
    /// Makings under way and what they saw before they began: who comes after an invalidation does not join.
    private var flights: [CacheKey: (flight: CacheFlight, seen: SeenTags)] = [:]

    package init(entriesMax: Int = CacheLimits.entriesMax) {
        entries = SieveTable(entriesMax: entriesMax, bytesMax: CacheLimits.bytesMax)
    }

    var count: Int { entries.count }

    /// What is answered without looking further, and counted as a hit.
    package mutating func hit(
        _ key: CacheKey, _ policy: CachePolicy, changes: UInt64, at now: Nanoseconds
    ) -> Cached? {
        entries.hit(key) { $0.isCurrent(changes) ? $0.certain(policy, at: now) : nil }
    }

    /// - Parameters:
    ///   - seen: generations of the tags, read before this.
    ///   - changes: of the tags, read before this.
    package mutating func look(
        _ key: CacheKey, _ policy: CachePolicy, _ seen: SeenTags, changes: UInt64, at now: Nanoseconds,
        random: inout some RandomNumberGenerator
    ) -> Found {
        let flying = flights[key].flatMap { $0.seen.areCurrent ? $0.flight : nil }
        let known = entries.hit(key) { now < $0.staleUntil && $0.isCurrent(changes) ? $0 : nil }
        if let entry = known {
            let isFresh = now < entry.freshUntil
            let cached = Cached(value: entry.value, isStale: !isFresh || entry.isStale, isNew: false)
            let isDue = isFresh ? entry.isEarly(policy, now, &random) : true
            if isDue, flying == nil, now >= entry.retryAt {
                let flight = CacheFlight()
                flights[key] = (flight, seen)
                return .behind(cached, flight)
            }
            return isFresh ? .fresh(cached) : .behind(cached, nil)
        }
        if let flying { return .join(flying) }
        let flight = CacheFlight()
        flights[key] = (flight, seen)
        return .start(flight)
    }

    /// What landed stale is made anew behind those it was given to: whoever asks next may find it gone from here again.
    /// - Returns: the flight to be started, unless there is one.
    package mutating func again(_ key: CacheKey, _ seen: SeenTags) -> CacheFlight? {
        guard flights[key] == nil, seen.areCurrent else { return nil }
        let flight = CacheFlight()
        flights[key] = (flight, seen)
        return flight
    }

    /// Nothing was made. What is there is not made anew for a while.
    package mutating func failed(_ flight: CacheFlight, _ key: CacheKey, at now: Nanoseconds) {
        if flights[key]?.flight === flight { flights[key] = nil }
        entries.change(key) { $0.retryAt = now.after(CacheLimits.retryAfter) }
    }

    /// Keeps what was made, unless one of its tags was invalidated meanwhile.
    package mutating func land(
        _ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ made: MadeValue, changes: UInt64,
        at now: Nanoseconds, random: inout some RandomNumberGenerator
    ) {
        _ = land(flight, key, seen, made, changes: changes, at: now, meters: nil, random: &random)
    }

    /// - Returns: how many other values had to go.
    mutating func land(
        _ flight: CacheFlight, _ key: CacheKey, _ seen: SeenTags, _ made: MadeValue, changes: UInt64,
        at now: Nanoseconds, meters: CacheMeters.OfCache?, random: inout some RandomNumberGenerator
    ) -> Int {
        if flights[key]?.flight === flight { flights[key] = nil }
        guard seen.areCurrent, made.freshFor + made.staleFor > .zero else { return 0 }
        // A copy never outlives what it was copied from.
        let jitter = Double(Int.random(in: -100...(made.isNew ? 100 : 0), using: &random)) / 10_000
        var fresh = made.freshFor * (1 + jitter * Double(CacheLimits.jitterPercent))
        if made.value == nil {
            // Never beyond what a value may, which is a second where nobody can say that it was invalidated.
            fresh = min(fresh, CacheLimits.negativeFor * (1 + jitter * Double(CacheLimits.negativeJitterPercent)))
        }
        let entry = Entry(made, freshUntil: now.after(fresh), tags: seen, changes: changes, meters: meters)
        return entries.insert(key, entry, bytes: (made.value?.count ?? 0) + key.name.utf8.count + 200)
    }
}
