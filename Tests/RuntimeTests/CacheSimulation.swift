import AurumCore
import Runtime

/// Nodes with a cache each, one server and a backplane, under a virtual clock and network: messages are late, lost or
/// doubled, nodes pause, crash and are cut off, the server forgets, tags are raised at any moment.
///
/// What a node remembers is decided by the product's `CacheShelf` and `TagBook`, what it does about a value that it
/// does not have by its `FleetMaking` and `SharedLook`. The simulation does what `MemoryCache` and `RedisCache` do
/// around them, and what the server does for the commands and the four scripts of `CacheScripts`.
struct CacheSimulation {
    /// What is taken away, so that the judge must find something.
    enum Canary: CaseIterable {
        case none
        /// The server does not compare generations, neither to store nor to hand out.
        case noGenerations
        /// Nodes do not act on the invalidations of others.
        case deafNodes
        /// The server gives the lease of a flight to everybody.
        case noLeases
    }

    struct Verdict: Equatable {
        var gets = 0
        var made = 0
        /// What was made and not stored, because a tag was raised or the lease was gone.
        var refused = 0
        /// Makers that died with a flight.
        var orphans = 0
        var wrong: [String] = []
        var trace: [String] = []
    }

    enum Message { case raised(tag: Int), ended(key: Int) }
    enum Request {
        case look(key: Int)
        case board(key: Int, token: Int)
        case store(key: Int, token: Int, bytes: [UInt8], life: Int64, generations: [String], value: Int)
        case renew(key: Int, token: Int)
        case abandon(key: Int, token: Int)
        case raise(tag: Int)
        case publish(Message)
    }
    enum Reply { case look([UInt8]?, left: Int64, generations: [String]), done(Bool), raised(at: Int64) }
    enum Asked { case nothing, look, board, store, abandon }
    enum Link { case lost, back, subscribed }

    /// Who asked: what was asked before a crash is nobody's.
    struct Sender {
        let node: Int
        let run: Int
        /// 0 for none.
        let making: Int
        let operation: Int
    }

    enum Event {
        case step
        case atServer(Sender, Request)
        /// nil when there was no answer in time.
        case reply(Sender, Reply?)
        case factoryEnds(Sender, value: Int, fails: Bool)
        case renew(Sender)
        case waited(Sender)
        case heard(Sender, Message, stamp: Int64)
        case link(Sender, Link)
        case sendPending(Sender)
        case orphan(key: Int, token: Int, crash: Int64, waiting: [Waiting])

        /// The node that it happens on.
        var node: Int? {
            switch self {
            case .step, .atServer, .orphan: nil
            case .reply(let sender, _), .factoryEnds(let sender, _, _), .renew(let sender), .waited(let sender),
                .heard(let sender, _, _), .link(let sender, _), .sendPending(let sender):
                sender.node
            }
        }
    }

    struct Waiting {
        let node: Int
        let making: Int
        let faults: Int
    }

    struct Making {
        let number: Int
        let key: Int
        let flight: CacheFlight
        let seen: SeenTags
        let isBehind: Bool
        var machine: FleetMaking
        var gets: [CacheJudge.Get] = []
        var asked = Asked.nothing
        var askedAt: Nanoseconds
        var awaiting = 0
        var renewing = 0
        var token = 0
        var isWaiting = false
        var value: Int?
        /// Messages that were lost or late; two for what excuses everything.
        var faults = 0
    }

    struct Node {
        var run = 0
        var shelf = CacheShelf(entriesMax: 16)
        var tags = TagBook()
        var skew: Int64
        var pausedUntil: Int64 = 0
        var cutUntil: Int64 = 0
        var isHere = true
        var isSubscribed = true
        var awaySince: Int64?
        var heard: [Int64]
        var makings: [Making] = []
        var raising: [(operation: Int, tag: Int)] = []
        var pending: [Int] = []

        init(skew: Int64, now: Int64) {
            self.skew = skew
            heard = [now, now, now]
        }
    }

    struct Server {
        var entries: [(bytes: [UInt8], until: Int64, value: Int)?] = [nil, nil]
        var flights: [(token: Int, node: Int, until: Int64)?] = [nil, nil]
        var generations = [0, 0, 0]
        /// The same in words, as they are answered.
        var words = ["0", "0", "0"]
        /// When the flight of each key ended last.
        var freedAt: [Int64] = [0, 0]
        /// Its clock only jumps forward.
        var skew: Int64 = 0
    }

    private struct Timed {
        let at: Int64
        let order: Int
        let event: Event
    }

    static let nodesCount = 3
    static let keys = [0, 1].map { CacheKey(org: "o", cache: "sim", name: "\($0)") }
    static let tagNames = ["", "red", "blue"]
    static let timeout: Int64 = 1_000_000
    private static let steps = 50
    /// A message that takes longer excuses a little.
    static let late: Int64 = 100_000
    /// After a flight ended: a poll and three answers.
    private static let takeover: Int64 = 200_000

    let canary: Canary
    let keepsTrace: Bool
    let policy: CachePolicy
    var random: SeededRandom
    var judge: CacheJudge
    var nodes: [Node] = []
    var server = Server()
    var now: Int64 = 1_000_000_000
    var verdict = Verdict()
    var isFaulty = true
    /// Gives numbers to all that needs one.
    var numbers = 0
    private var queue: [Timed] = []
    private var order = 0
    private var taken = 0
    private var healed: [Int] = []

    init(seed: UInt64, canary: Canary = .none, keepsTrace: Bool = false) {
        var random = SeededRandom(seed: seed)
        let fresh = Duration.milliseconds([500, 5000, 40_000, 300_000][Int.random(in: 0..<4, using: &random)])
        let stale: Duration? = [nil, .zero, fresh, .seconds(20)][Int.random(in: 0..<4, using: &random)]
        policy = CachePolicy(freshFor: fresh, staleFor: stale)
        judge = CacheJudge(policy: policy, nodes: Self.nodesCount)
        self.canary = canary
        self.keepsTrace = keepsTrace
        for _ in 0..<Self.nodesCount {
            nodes.append(Node(skew: Int64.random(in: 0...900_000_000, using: &random), now: now))
        }
        self.random = random
    }

    mutating func run() -> Verdict {
        add(.step, after: 0)
        while taken < Self.steps, judge.wrong.isEmpty, let next = queue.popLast() { play(next) }
        if judge.wrong.isEmpty { heal() }
        verdict.made = judge.values.count
        verdict.wrong = judge.wrong
        return verdict
    }

    /// Faults end: everybody who asks must have a value.
    private mutating func heal() {
        isFaulty = false
        for node in nodes.indices {
            nodes[node].pausedUntil = now
            nodes[node].cutUntil = min(nodes[node].cutUntil, now)
        }
        note("everything is healed")
        play(until: now + 20_000_000)
        for node in nodes.indices {
            for key in Self.keys.indices {
                healed.append(numbers + 1)
                get(node, key)
            }
        }
        play(until: now + 20_000_000)
        if judge.wrong.isEmpty, let get = healed.first { judge.unanswered(get) }
    }

    private mutating func play(until end: Int64) {
        while judge.wrong.isEmpty, let next = queue.last, next.at <= end {
            queue.removeLast()
            play(next)
        }
        now = max(now, end)
    }

    // MARK: time

    mutating func add(_ event: Event, after delay: Int64) {
        order += 1
        let timed = Timed(at: now + max(0, delay), order: order, event: event)
        var (low, high) = (0, queue.count)
        while low < high {
            let middle = (low + high) / 2
            let other = queue[middle]
            // Latest first, so that the next is taken from the end.
            if (other.at, other.order) > (timed.at, timed.order) { low = middle + 1 } else { high = middle }
        }
        queue.insert(timed, at: low)
    }

    mutating func note(_ text: @autoclosure () -> String) {
        if keepsTrace { verdict.trace.append("\(now) \(text())") }
    }

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    /// - Returns: how long a message takes, nil when it is lost.
    mutating func delay() -> Int64? {
        guard isFaulty else { return Int64.random(in: 200...10_000, using: &random) }
        let kind = Int.random(in: 0..<100, using: &random)
        if kind < 2 { return nil }
        return Int64.random(in: 200...(kind < 5 ? 1_500_000 : 20_000), using: &random)
    }

    mutating func number() -> Int {
        numbers += 1
        return numbers
    }

    func clock(_ node: Int) -> Nanoseconds { Nanoseconds(count: (now + nodes[node].skew) * 1000) }

    private mutating func play(_ timed: Timed) {
        now = max(now, timed.at)
        if let node = timed.event.node, nodes[node].pausedUntil > now {
            return add(timed.event, after: nodes[node].pausedUntil - now)
        }
        switch timed.event {
        case .step: step()
        case .atServer(let sender, let request): serve(sender, request)
        case .reply(let sender, let reply): if isLive(sender) { replied(sender, reply) }
        case .factoryEnds(let sender, let value, let fails):
            if isLive(sender) { factoryEnds(sender, value, fails) }
        case .renew(let sender): if isLive(sender) { renew(sender) }
        case .waited(let sender): if isLive(sender) { waited(sender) }
        case .heard(let sender, let message, let stamp):
            if isLive(sender) { heard(sender.node, message, stamp: stamp, isOwn: false) }
        case .link(let sender, let link): if isLive(sender) { changed(sender, link) }
        case .sendPending(let sender): if isLive(sender) { sendPending(sender.node) }
        case .orphan(let key, let token, let crash, let waiting): checkOrphan(key, token, crash, waiting)
        }
    }

    private func isLive(_ sender: Sender) -> Bool { nodes[sender.node].run == sender.run }

    func sender(_ node: Int, making: Int = 0, operation: Int = 0) -> Sender {
        Sender(node: node, run: nodes[node].run, making: making, operation: operation)
    }

    // MARK: steps and faults

    private mutating func step() {
        guard isFaulty else { return }
        taken += 1
        let node = Int.random(in: nodes.indices, using: &random)
        switch Int.random(in: 0..<100, using: &random) {
        case ..<70:
            let key = Int.random(in: Self.keys.indices, using: &random)
            get(node, key)
            if chance(50) { get(Int.random(in: nodes.indices, using: &random), key) }
        case ..<83: invalidate(node, chance(10) ? 0 : chance(50) ? 1 : 2)
        case ..<88: pause(node)
        case ..<92: crash(node)
        case ..<96: cut(node)
        case ..<98: forget()
        default:
            server.skew += Int64.random(in: 0...2_000_000, using: &random)
            for node in nodes.indices { harm(node, 2) }
            note("the server's clock jumps")
        }
        let kind = Int.random(in: 0..<100, using: &random)
        let gap: ClosedRange<Int64> =
            kind < 6 ? 5_000_000...80_000_000 : kind < 40 ? 0...30_000 : 0...1_000_000
        add(.step, after: Int64.random(in: gap, using: &random))
    }

    /// Faults that the makings of a node may be excused by.
    mutating func harm(_ node: Int, _ faults: Int) {
        for index in nodes[node].makings.indices { harm(node, index, faults) }
    }

    mutating func harm(_ node: Int, _ index: Int, _ faults: Int) {
        nodes[node].makings[index].faults += faults
        if nodes[node].makings[index].faults > 1, let value = nodes[node].makings[index].value { judge.excuse(value) }
    }

    private mutating func pause(_ node: Int) {
        let span = Int64.random(in: 0...(chance(30) ? 15_000_000 : 2_000_000), using: &random)
        nodes[node].pausedUntil = max(nodes[node].pausedUntil, now + span)
        harm(node, 2)
        note("node \(node) pauses for \(span)")
    }

    /// Everything that it remembered and was making is gone; who waits for its makings must not wait for ever.
    private mutating func crash(_ node: Int) {
        note("node \(node) crashes")
        for (key, flight) in server.flights.enumerated() {
            guard let flight, flight.node == node, flight.until > now + server.skew else { continue }
            var waiting: [Waiting] = []
            for other in nodes.indices where other != node && nodes[other].cutUntil <= now && nodes[other].isHere {
                guard nodes[other].pausedUntil <= now else { continue }
                for making in nodes[other].makings where making.key == key && making.isWaiting {
                    waiting.append(Waiting(node: other, making: making.number, faults: making.faults))
                }
            }
            verdict.orphans += 1
            add(
                .orphan(key: key, token: flight.token, crash: now, waiting: waiting),
                after: FleetMaking.flightLease.microseconds + Self.takeover)
        }
        judge.crashed(node: node)
        var fresh = Node(skew: Int64.random(in: 0...900_000_000, using: &random), now: now)
        fresh.run = nodes[node].run + 1
        fresh.cutUntil = nodes[node].cutUntil
        nodes[node] = fresh
        if fresh.cutUntil > now { loseLink(node) }
    }

    /// Three seconds after the last that the server heard of a maker that died, and a moment.
    private mutating func checkOrphan(_ key: Int, _ token: Int, _ crash: Int64, _ waiting: [Waiting]) {
        guard !judge.values.contains(where: { $0.key == key && $0.begun >= crash }) else { return }
        endFlights()
        var due = server.freedAt[key] + Self.takeover
        if let flight = server.flights[key] {
            // Somebody has taken over; or the last the dead one sent came after its death.
            guard flight.token == token else { return }
            due = flight.until - server.skew + Self.takeover
        }
        if due > now {
            return add(.orphan(key: key, token: token, crash: crash, waiting: waiting), after: due - now)
        }
        for one in waiting {
            let isStill = nodes[one.node].makings.contains {
                $0.number == one.making && $0.faults == one.faults && $0.value == nil
            }
            if isStill { return judge.notReplaced(key: key, since: crash, at: now) }
        }
    }

    private mutating func cut(_ node: Int) {
        let span = Int64.random(in: 0...(chance(30) ? 20_000_000 : 4_000_000), using: &random)
        nodes[node].cutUntil = max(nodes[node].cutUntil, now + span)
        harm(node, 2)
        note("node \(node) is cut off for \(span)")
        add(.link(sender(node), .lost), after: Int64.random(in: 0...3_000_000, using: &random))
    }

    private mutating func forget() {
        let skew = server.skew
        server = Server()
        server.skew = skew
        for node in nodes.indices { harm(node, 2) }
        note("the server forgets everything")
    }

    // MARK: the link of a node, as `RedisCache.watch` and the subscription see it

    private mutating func changed(_ sender: Sender, _ link: Link) {
        let node = sender.node
        switch link {
        case .lost: if nodes[node].cutUntil > now, nodes[node].isHere { loseLink(node) }
        case .back:
            if nodes[node].cutUntil > now { return add(.link(sender, .back), after: nodes[node].cutUntil - now + 1) }
            nodes[node].isHere = true
            nodes[node].awaySince = nil
            forgetLocally(node)
            note("node \(node) is back")
            sendPending(node)
            add(.link(sender, .subscribed), after: Int64.random(in: 0...300_000, using: &random))
        case .subscribed:
            guard nodes[node].isHere else { return }
            nodes[node].isSubscribed = true
            forgetLocally(node)
            note("node \(node) hears again")
            for making in nodes[node].makings where making.isWaiting { look(node, making.number) }
        }
    }

    private mutating func loseLink(_ node: Int) {
        nodes[node].isHere = false
        nodes[node].isSubscribed = false
        nodes[node].awaySince = now
        forgetLocally(node)
        harm(node, 2)
        note("node \(node) knows that the server is away")
        let reconnect = Int64.random(in: 0...1_000_000, using: &random)
        add(.link(sender(node), .back), after: nodes[node].cutUntil - now + reconnect)
    }

    private mutating func forgetLocally(_ node: Int) {
        nodes[node].tags.raiseAll()
        nodes[node].heard = [now, now, now]
    }

    /// An answer to a caller; nil for an error.
    mutating func answer(_ get: CacheJudge.Get, _ cached: Cached?) {
        let text = cached.map { cached in Self.name(cached.value) + (cached.isStale ? ", stale" : "") } ?? "an error"
        note("get \(get.number) of key \(get.key) on node \(get.node) is answered \(text)")
        guard let cached else { return }
        healed.removeAll { $0 == get.number }
        judge.answered(get, cached.value.map(Self.value), isStale: cached.isStale, at: now)
    }

    // MARK: values

    static func bytes(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 255), UInt8(value & 255)] }
    static func value(_ bytes: [UInt8]) -> Int { Int(bytes[0]) << 8 | Int(bytes[1]) }
    static func name(_ bytes: [UInt8]?) -> String { bytes.map { "value \(value($0))" } ?? "an absence" }
}
