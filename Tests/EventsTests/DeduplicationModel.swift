internal import AurumCore
internal import Events
internal import Testing

/// The index beside a plain set with the same window rule, and beside the log from which it is rebuilt.
struct DeduplicationModel {
    struct Key: Hashable {
        var high: UInt64
        var low: UInt64
    }

    /// Accepted ids of one block.
    private struct Block {
        var point: LogPoint
        var receivedAt: Int64
        var keys: [Key]
    }

    static let identity: UInt64 = 42
    let limits: DeduplicationLimits
    let seed: UInt64
    private(set) var storage: VolatileLogStorage
    private(set) var index: DeduplicationIndex
    private var random: SeededRandom
    /// Durable blocks, and behind them those of the commit that is under way.
    private var log: [Block] = []
    private var durableBlocks = 0
    /// All accepted ids in order, and where each was accepted last.
    private var accepted: [Key] = []
    private var place: [Key: Int] = [:]
    private var point = LogPoint(segment: 1, offset: 64)
    private var receivedAt: Int64 = 1_000_000
    private(set) var operations = 0
    private(set) var crashes = 0
    private(set) var runsMost = 0
    private(set) var evictions = 0

    init(seed: UInt64, limits: DeduplicationLimits) throws {
        self.seed = seed
        self.limits = limits
        storage = VolatileLogStorage()
        random = SeededRandom(seed: seed)
        index = try DeduplicationIndex.open(
            storage: storage, identity: Self.identity, limits: limits, logEnd: nil
        ).index
    }

    // MARK: steps

    /// One block of fresh and repeated ids, held against the model.
    mutating func settle(count: Int) throws {
        let keys = (0..<count).map { _ in draw() }
        var verdicts = [Bool](repeating: false, count: count)
        try Self.settle(index, keys, receivedAt: receivedAt, at: point, &verdicts)
        let new = verdicts.count { $0 }
        let held = index.count - new
        let oldest = accepted.count - held
        var expected: [Bool] = []
        var fresh: [Key] = []
        for key in keys {
            let isNew = place[key].map { $0 < oldest } ?? true
            expected.append(isNew)
            if isNew {
                place[key] = accepted.count
                accepted.append(key)
                fresh.append(key)
            }
        }
        let wrong = zip(verdicts, expected).enumerated().first { $1.0 != $1.1 }
        try #require(wrong == nil, "seed \(seed), operation \(operations): \(String(describing: wrong))")
        if index.windowStart == .min || limits.windowMicroseconds == .max {
            try #require(held >= min(limits.identifiersMax, held + oldest), "seed \(seed): the window is too short")
        }
        operations += count
        runsMost = max(runsMost, index.runCount)
        log.append(Block(point: point, receivedAt: receivedAt, keys: fresh))
        point.offset += UInt64(count)
        if random.next() % 400 == 0 { point = LogPoint(segment: point.segment + 1, offset: 64) }
        receivedAt += Int64(random.next() % 1000)
    }

    private static func settle(
        _ index: DeduplicationIndex, _ keys: [Key], receivedAt: Int64, at point: LogPoint, _ verdicts: inout [Bool]
    ) throws {
        let pairs = keys.map { ($0.high, $0.low) }
        try pairs.withUnsafeBufferPointer { pairs in
            try verdicts.withUnsafeMutableBufferPointer { verdicts in
                guard let keys = pairs.baseAddress, let isNew = verdicts.baseAddress else { return }
                try index.settle(
                    keys: keys, count: pairs.count, receivedAt: receivedAt, at: point, isNew: isNew)
            }
        }
    }

    /// Mostly fresh; otherwise a copy of a new, an old or a very old one.
    private mutating func draw() -> Key {
        let kind = random.next() % 10
        guard kind < 4, !accepted.isEmpty else { return Key(high: random.next(), low: random.next() | 1) }
        let reach =
            switch kind {
            case 0: 20
            case 1: limits.memoryIdentifiers * 2
            case 2: limits.identifiersMax
            default: limits.identifiersMax * 3 / 2
            }
        return accepted[accepted.count - 1 - Int(random.next() % UInt64(min(reach, accepted.count)))]
    }

    /// The commit is durable.
    mutating func commit() {
        durableBlocks = log.count
        index.durable(through: point)
    }

    mutating func sleep(microseconds: Int64) { receivedAt += microseconds }

    /// Stops cleanly and starts again in the same folder.
    mutating func reopen() throws {
        commit()
        index.close()
        try open(storage)
    }

    /// Cuts the power and starts again with what was synced and a part of the rest.
    mutating func crash() throws {
        crashes += 1
        storage.cutPower()
        let survivor = storage.afterCut(seed: random.next())
        let lost = log[durableBlocks...].reduce(0) { $0 + $1.keys.count }
        point = log.count > durableBlocks ? log[durableBlocks].point : point
        log.removeSubrange(durableBlocks...)
        accepted.removeLast(lost)
        place = [:]
        for index in max(0, accepted.count - 3 * limits.identifiersMax)..<accepted.count {
            place[accepted[index]] = index
        }
        index.close()
        try open(survivor)
    }

    /// Starts again in another folder.
    mutating func open(_ folder: VolatileLogStorage) throws {
        storage = folder
        index = try Self.opened(folder, limits, end: point, log: log.map { ($0.point, $0.receivedAt, $0.keys) })
    }

    /// Opens an index and gives it the ids behind its checkpoint.
    static func opened(
        _ storage: VolatileLogStorage, _ limits: DeduplicationLimits, end: LogPoint,
        log: [(point: LogPoint, receivedAt: Int64, keys: [Key])]
    ) throws -> DeduplicationIndex {
        let (index, checkpoint) = try DeduplicationIndex.open(
            storage: storage, identity: identity, limits: limits, logEnd: end)
        index.durable(through: end)
        let first = log.partitioningIndex { $0.point >= checkpoint ?? .start }
        for block in log[first...] where !block.keys.isEmpty {
            let pairs = block.keys.map { ($0.high, $0.low) }
            try pairs.withUnsafeBufferPointer { pairs in
                guard let keys = pairs.baseAddress else { return }
                try index.remember(keys: keys, count: pairs.count, receivedAt: block.receivedAt, at: block.point)
            }
        }
        return index
    }

    /// What the log holds, for tests that open copies of the folder.
    var blocks: [(point: LogPoint, receivedAt: Int64, keys: [Key])] { log.map { ($0.point, $0.receivedAt, $0.keys) } }
    var end: LogPoint { point }

    /// A seeded walk through all of it.
    mutating func run(operations total: Int) throws {
        while operations < total {
            try settle(count: 1 + Int(random.next() % (random.next() % 16 == 0 ? 300 : 40)))
            if random.next() % 3 != 0 { commit() }
            switch random.next() % 400 {
            case 0, 1: try crash()
            case 2: try reopen()
            case 3: sleep(microseconds: limits.windowMicroseconds / 3)
            case 4...60: try index.drain()
            default: break
            }
        }
    }
}

extension Array {
    /// The first index whose element fulfils the predicate, in an array where all later ones do too.
    fileprivate func partitioningIndex(_ isBehind: (Element) -> Bool) -> Int {
        var (from, to) = (0, count)
        while from < to {
            let middle = (from + to) / 2
            if isBehind(self[middle]) { to = middle } else { from = middle + 1 }
        }
        return from
    }
}
