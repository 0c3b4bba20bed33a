import AurumCore
import Runtime
import TestSupport

/// Nodes that share limits over one server, under a virtual network and clocks that disagree: messages are late, lost
/// or answered twice, nodes pause, crash and are cut off, the server goes away and forgets.
///
/// The server counts by `MemoryRateLimiter`: a test against a real one proves that its script decides alike on every
/// arrival. Nodes that get no answer decide by the product's `RateFallback`, as `RedisRateLimiter` does.
struct LimiterSimulation {
    /// What is taken away, so that the judge must find something.
    enum Canary {
        case none
        /// The server counts by the clock of whoever asks.
        case nodeClocks
        /// A node alone takes the whole limit for its share.
        case wholeShares
    }

    struct Verdict: Equatable {
        var allowed = 0
        var refused = 0
        /// Of both, what nodes decided alone.
        var alone = 0
        var wrong: [String] = []
        var trace: [String] = []
    }

    static let nodesMost: Int64 = 4
    static let subjects = 2

    private struct Call {
        let id: Int
        let asks: [LimiterJudge.Ask]
        let isOwed: Bool
    }

    private enum Event {
        case step
        case request(node: Int, run: Int, Call, sentAt: Int64)
        case reply(node: Int, run: Int, Call, RateVerdict?)
        case deadline(node: Int, run: Int, Call)
    }

    private struct Timed {
        let at: Int64
        let order: Int
        let event: Event
    }

    private struct Node {
        /// Grows with every crash: what was sent before is nobody's.
        var run = 0
        var place: Int
        let clock = ManualWallClock()
        var fallback: RateFallback
        /// How far its clock is from the time of nobody's clock.
        var skew: Int64
        var pausedUntil: Int64 = 0
        var cutUntil: Int64 = 0
        /// When it knows that the server is away.
        var away: Range<Int64> = 0..<0
        var nodesSeen = 3
        /// Calls that wait for the server.
        var waiting: [Int] = []

        init(place: Int, skew: Int64) {
            (self.place, self.skew) = (place, skew)
            fallback = RateFallback(clock: clock)
        }
    }

    private struct Server {
        let limiter: MemoryRateLimiter
        let clock = ManualWallClock()
        var place: Int
        var skew: Int64

        init(place: Int, skew: Int64) {
            (self.place, self.skew) = (place, skew)
            limiter = MemoryRateLimiter(clock: clock)
        }
    }

    private static let start: Int64 = 1_800_000_000_000_000
    private static let timeout: Int64 = 250_000
    private static let calls = 120

    private var random: SeededRandom
    private let canary: Canary
    private let keepsTrace: Bool
    /// Whether clocks keep their distance and every node knows how many there are: then the whole fleet is judged.
    private let isSteady: Bool
    private let limits: [RateLimit]
    private var judge: LimiterJudge
    private var nodes: [Node] = []
    private var server: Server
    private var places = 0
    private var queue: [Timed] = []
    private var order = 0
    private var now = LimiterSimulation.start
    private var made = 0
    private var verdict = Verdict()

    init(seed: UInt64, canary: Canary = .none, keepsTrace: Bool = false) {
        var random = SeededRandom(seed: seed)
        let isCalm = Bool.random(using: &random)
        isSteady = isCalm || canary == .wholeShares
        self.canary = canary
        self.keepsTrace = keepsTrace
        limits = Self.limits(&random)
        judge = LimiterJudge(limits: limits, nodesSeen: isSteady ? 3 : nil, comparesEach: canary == .none)
        server = Server(place: 1, skew: Int64.random(in: -5_000_000...5_000_000, using: &random))
        places = 1
        self.random = random
        for _ in 0..<3 { nodes.append(newNode()) }
    }

    private static func limits(_ random: inout SeededRandom) -> [RateLimit] {
        func window(_ random: inout SeededRandom) -> Duration {
            .microseconds(Int64.random(in: 500_000...8_000_000, using: &random))
        }
        func mode(_ random: inout SeededRandom) -> RateLimit.DegradedMode {
            RateLimit.DegradedMode.allCases.randomElement(using: &random) ?? .localShare
        }
        return [
            .gcra(
                "rate", Int.random(in: 1...12, using: &random), in: window(&random),
                burst: Int.random(in: 1...12, using: &random), degradedMode: mode(&random)),
            .slidingLog(
                "log", Int.random(in: 1...12, using: &random), in: window(&random), degradedMode: mode(&random)),
            .slidingCounter(
                "counter", Int.random(in: 1...12, using: &random), in: window(&random), degradedMode: mode(&random)),
        ]
    }

    private mutating func newNode() -> Node {
        places += 1
        return Node(place: places, skew: Int64.random(in: -5_000_000...5_000_000, using: &random))
    }

    mutating func run() -> Verdict {
        add(.step, after: 0)
        while judge.wrong.isEmpty, let next = queue.popLast() {
            now = next.at
            play(next.event)
        }
        if isSteady { judge.checkFleet() }
        verdict.wrong = judge.wrong
        return verdict
    }

    // MARK: time

    private mutating func add(_ event: Event, after delay: Int64) {
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

    private mutating func note(_ text: @autoclosure () -> String) {
        if keepsTrace { verdict.trace.append("\(now - Self.start) \(text())") }
    }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    private mutating func delay() -> Int64 {
        chance(6) ? Int64.random(in: 0...600_000, using: &random) : Int64.random(in: 200...15_000, using: &random)
    }

    private func wind(_ clock: ManualWallClock, to time: Int64) {
        clock.advance(by: .microseconds(time - clock.now.microseconds))
    }

    // MARK: steps

    private mutating func play(_ event: Event) {
        switch event {
        case .step: step()
        case .request(let node, let run, let call, let sentAt): serve(node, run, call, sentAt)
        case .reply(let node, _, _, _), .deadline(let node, _, _):
            if nodes[node].pausedUntil > now { return add(event, after: nodes[node].pausedUntil - now) }
            arrive(event)
        }
    }

    /// A call, or a fault; then the next step.
    private mutating func step() {
        if chance(7) { fault() } else { ask() }
        let isRest = chance(2)
        if made < Self.calls {
            add(.step, after: Int64.random(in: isRest ? 1_000_000...9_000_000 : 0...250_000, using: &random))
        }
    }

    private mutating func fault() {
        let node = Int.random(in: nodes.indices, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0:
            nodes[node].pausedUntil = now + Int64.random(in: 0...3_000_000, using: &random)
            note("node \(node) pauses")
        case 1:
            nodes[node] = crashed(node)
            let place = nodes[node].place
            note("node \(node) crashes and is place \(place)")
        case 2: cut(node, for: Int64.random(in: 0...8_000_000, using: &random))
        case 3:
            let span = Int64.random(in: 0...12_000_000, using: &random)
            for node in nodes.indices { cut(node, for: span) }
            if chance(50) { forget() }
        case 4: forget()
        default:
            guard !isSteady else { return }
            // Only forward; a clock that goes back is stricter.
            server.skew += Int64.random(in: 0...2_000_000, using: &random)
            nodes[node].skew += Int64.random(in: 0...2_000_000, using: &random)
            nodes[node].nodesSeen = Int.random(in: 1...Int(Self.nodesMost), using: &random)
            note("clocks jump, and node \(node) sees another number of nodes")
        }
    }

    private mutating func crashed(_ node: Int) -> Node {
        var fresh = newNode()
        fresh.run = nodes[node].run + 1
        fresh.cutUntil = nodes[node].cutUntil
        fresh.away = nodes[node].away
        fresh.nodesSeen = nodes[node].nodesSeen
        return fresh
    }

    private mutating func forget() {
        places += 1
        server = Server(place: places, skew: Int64.random(in: -5_000_000...5_000_000, using: &random))
        let place = places
        note("the server forgets everything and is place \(place)")
    }

    /// A connection that is cut is noticed a little later, and made again a little after it could be.
    private mutating func cut(_ node: Int, for span: Int64) {
        nodes[node].cutUntil = max(nodes[node].cutUntil, now + span)
        let from = now + Int64.random(in: 0...2_000_000, using: &random)
        let until = nodes[node].cutUntil + Int64.random(in: 0...1_000_000, using: &random)
        if until > from { nodes[node].away = from..<until }
        note("node \(node) is cut off for \(span)")
    }

    private mutating func ask() {
        made += 1
        let node = Int.random(in: nodes.indices, using: &random)
        guard nodes[node].pausedUntil <= now else { return }
        let subject = Int.random(in: 0..<Self.subjects, using: &random)
        let isOwed = chance(4)
        var chosen = [Int.random(in: 0..<(isOwed ? 2 : 3), using: &random)]
        if !isOwed, chance(30) { chosen = chance(50) ? [0, 1, 2] : [0, 1, 2].filter { $0 != chosen[0] } }
        var asks: [LimiterJudge.Ask] = []
        for limit in chosen {
            let most = chance(15) ? Int64(min(limits[limit].limit, limits[limit].burst)) : 1
            let cost = Int64.random(in: 1...most, using: &random)
            asks.append(LimiterJudge.Ask(limit: limit, subject: subject, cost: cost))
        }
        send(node, Call(id: made, asks: asks, isOwed: isOwed))
        // Somebody who got no answer asks once more, perhaps another node: a new call, counted like every other.
        if chance(8) {
            made += 1
            let other = Int.random(in: nodes.indices, using: &random)
            if nodes[other].pausedUntil <= now { send(other, Call(id: made, asks: asks, isOwed: isOwed)) }
        }
    }

    private mutating func send(_ node: Int, _ call: Call) {
        nodes[node].waiting.append(call.id)
        if nodes[node].away.contains(now) { return decideAlone(node, call) }
        let run = nodes[node].run
        add(.deadline(node: node, run: run, call), after: Self.timeout)
        if nodes[node].cutUntil > now || chance(3) { return note("call \(call.id) is lost") }
        let sentAt = now + nodes[node].skew
        add(.request(node: node, run: run, call, sentAt: sentAt), after: delay())
        if chance(3) { add(.request(node: node, run: run, call, sentAt: sentAt), after: delay()) }
    }

    // MARK: the server

    private func request(_ ask: LimiterJudge.Ask) -> RateRequest {
        RateRequest(limits[ask.limit], .org("acme"), ask.subject == 0 ? "x" : "y", cost: Int(ask.cost))
    }

    private mutating func serve(_ node: Int, _ run: Int, _ call: Call, _ sentAt: Int64) {
        let time = now + server.skew
        wind(server.clock, to: canary == .nodeClocks ? sentAt : time)
        var answer: RateVerdict?
        if call.isOwed {
            for ask in call.asks { server.limiter.owe(request(ask)) }
        } else {
            answer = server.limiter.decide(all: call.asks.map(request))
            answer?.mode = .shared
        }
        let isAllowed = answer?.isAllowed ?? false
        note("the server \(call.isOwed ? "books" : isAllowed ? "allows" : "refuses") call \(call.id) of node \(node)")
        judge.decided(
            call: call.id, call.asks, place: server.place, isShared: true, at: time, time: now,
            isAllowed: isAllowed, isOwed: call.isOwed)
        guard nodes[node].cutUntil <= now, !chance(3) else { return }
        add(.reply(node: node, run: run, call, answer), after: delay())
        if chance(3) { add(.reply(node: node, run: run, call, answer), after: delay()) }
    }

    // MARK: nodes

    private mutating func arrive(_ event: Event) {
        switch event {
        case .reply(let node, let run, let call, let answer):
            guard run == nodes[node].run, let index = nodes[node].waiting.firstIndex(of: call.id) else { return }
            nodes[node].waiting.remove(at: index)
            tell(call, answer)
        case .deadline(let node, let run, let call):
            guard run == nodes[node].run, nodes[node].waiting.contains(call.id) else { return }
            decideAlone(node, call)
        default: return
        }
    }

    private mutating func decideAlone(_ node: Int, _ call: Call) {
        nodes[node].waiting.removeAll { $0 == call.id }
        let time = now + nodes[node].skew
        let place = nodes[node].place
        wind(nodes[node].clock, to: time)
        let seen = canary == .wholeShares ? 1 : nodes[node].nodesSeen
        var answer: RateVerdict?
        if call.isOwed {
            for ask in call.asks { nodes[node].fallback.owe(request(ask), nodes: seen) }
        } else {
            answer = nodes[node].fallback.decide(all: call.asks.map(request), nodes: seen)
        }
        let isClosed = call.asks.contains { limits[$0.limit].degradedMode == .closed }
        let isAllowed = answer?.isAllowed ?? false
        let isOwed = call.isOwed
        note("node \(node) alone \(isOwed ? "books" : isAllowed ? "allows" : "refuses") call \(call.id)")
        // What is closed decides nothing and counts nothing.
        if !isClosed {
            judge.decided(
                call: call.id, call.asks, place: place, isShared: false, at: time, time: now,
                isAllowed: isAllowed, isOwed: isOwed)
        }
        verdict.alone += 1
        tell(call, answer)
    }

    private mutating func tell(_ call: Call, _ answer: RateVerdict?) {
        guard let answer else { return judge.owed(call: call.id, call.asks, at: now) }
        if answer.isAllowed { verdict.allowed += 1 } else { verdict.refused += 1 }
        judge.answered(call: call.id, call.asks, answer, at: now)
    }
}
