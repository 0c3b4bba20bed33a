import AurumCore
import Foundation
import Runtime

/// Several nodes, one lock server and one table under a virtual clock and network: replies are lost, nodes pause, the
/// server forgets everything, clocks are apart. Holders add one to a number by reading and writing it in two
/// transactions; whatever happens to the lock, no addition may be lost.
struct LockSimulation {
    struct Verdict: Equatable {
        var holds = 0
        var refused = 0
        var lostUpdates = 0
        /// The lock could still be had when the faults had ended.
        var isLive = true
        var trace: [String] = []
    }

    private enum Event {
        case input(node: Int, run: Int, LockMachine.Input)
        case wake(node: Int, run: Int, at: Int64)
        case begin(node: Int)
        case read(node: Int, run: Int)
        case write(node: Int, run: Int, seen: Int)
        case server(node: Int, run: Int, LockMachine.Action, replyIsLost: Bool)
    }

    private struct Node {
        var machine: LockMachine?
        var run = 0
        var fence = Fence(rawValue: 0)
        var pausedUntil: Int64 = 0
        /// How far its clock is from the others'.
        var skew: Int64
    }

    private struct Timed {
        var at: Int64
        var order: Int
        var event: Event
    }

    private var random: SeededRandom
    private var queue: [Timed] = []
    private var order = 0
    private var now: Int64 = 0
    private var nodes: [Node]
    private var token: (owner: Int, run: Int, until: Int64)?
    private var lastFence: Int64 = 0
    /// The row: a number, and the largest fence that touched it.
    private var row = (value: 0, fence: Fence(rawValue: 0))
    private let isGuarded: Bool
    private var isFaulty = true
    private var verdict = Verdict()
    private let keepsTrace: Bool

    private static let lease: Int64 = 3_000_000
    private static let maxHold: Int64 = 9_000_000
    private static let faultsEnd: Int64 = 60_000_000

    init(seed: UInt64, isGuarded: Bool = true, keepsTrace: Bool = false) {
        random = SeededRandom(seed: seed)
        self.isGuarded = isGuarded
        self.keepsTrace = keepsTrace
        nodes = []
        for _ in 0..<3 { nodes.append(Node(skew: Int64.random(in: -5_000_000...5_000_000, using: &random))) }
    }

    mutating func run() -> Verdict {
        for node in nodes.indices { add(.begin(node: node), after: Int64.random(in: 0...1_000_000, using: &random)) }
        while let next = pop(), next.at <= Self.faultsEnd {
            now = next.at
            step(next.event)
        }
        finish()
        return verdict
    }

    /// Faults end; within `maxHold` and a lease somebody must hold the lock again.
    private mutating func finish() {
        isFaulty = false
        let held = verdict.holds
        let end = now + Self.maxHold + Self.lease * 2
        for node in nodes.indices { nodes[node].pausedUntil = now }
        add(.begin(node: 0), after: 1)
        while verdict.holds == held, let next = pop(), next.at <= end {
            now = next.at
            step(next.event)
        }
        verdict.isLive = verdict.holds > held
    }

    // MARK: events

    private mutating func add(_ event: Event, after delay: Int64) {
        order += 1
        let timed = Timed(at: now + max(0, delay), order: order, event: event)
        var low = 0
        var high = queue.count
        while low < high {
            let middle = (low + high) / 2
            let other = queue[middle]
            // Latest first, so that the next is taken from the end.
            if (other.at, other.order) > (timed.at, timed.order) { low = middle + 1 } else { high = middle }
        }
        queue.insert(timed, at: low)
    }

    private mutating func pop() -> Timed? { queue.popLast() }

    private mutating func note(_ text: @autoclosure () -> String) {
        if keepsTrace { verdict.trace.append("\(now) \(text())") }
    }

    private mutating func delay() -> Int64 {
        isFaulty && Int.random(in: 0..<20, using: &random) == 0
            ? Int64.random(in: 0...4_000_000, using: &random) : Int64.random(in: 200...20_000, using: &random)
    }

    private mutating func step(_ event: Event) {
        if isFaulty, Int.random(in: 0..<40, using: &random) == 0 { fault() }
        switch event {
        case .server(let node, let run, let action, let replyIsLost): serve(node, run, action, replyIsLost)
        case .begin(let node), .input(let node, _, _), .wake(let node, _, _), .read(let node, _),
            .write(let node, _, _):
            if nodes[node].pausedUntil > now { return add(event, after: nodes[node].pausedUntil - now) }
            act(node, event)
        }
    }

    private mutating func fault() {
        let node = Int.random(in: nodes.indices, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            nodes[node].pausedUntil = now + Int64.random(in: 0...12_000_000, using: &random)
            let until = nodes[node].pausedUntil
            note("node \(node) pauses until \(until)")
        case 1:
            token = nil
            note("the server loses its data")
        default:
            // Only forward: the clocks that holders count by never go back.
            nodes[node].skew += Int64.random(in: 0...1_000_000, using: &random)
        }
    }

    private mutating func act(_ node: Int, _ event: Event) {
        switch event {
        case .begin:
            if let machine = nodes[node].machine, machine.wakeAt != nil { return }
            nodes[node].run += 1
            nodes[node].machine = LockMachine(
                lease: .microseconds(Self.lease), maxHold: .microseconds(Self.maxHold))
            feed(node, .begin)
        case .input(_, let run, let input) where run == nodes[node].run: feed(node, input)
        case .wake(_, let run, let at) where run == nodes[node].run && nodes[node].machine?.wakeAt == at:
            feed(node, .woke)
        case .read(_, let run): read(node, run)
        case .write(_, let run, let seen): write(node, run, seen)
        default: break
        }
    }

    private mutating func feed(_ node: Int, _ input: LockMachine.Input) {
        let local = now + nodes[node].skew
        let actions = nodes[node].machine?.handle(input, at: local) ?? []
        for action in actions { carryOut(node, action) }
        if let wake = nodes[node].machine?.wakeAt {
            add(.wake(node: node, run: nodes[node].run, at: wake), after: wake - local)
        }
    }

    private mutating func carryOut(_ node: Int, _ action: LockMachine.Action) {
        let run = nodes[node].run
        switch action {
        case .sendSet, .sendConfirm, .sendExtend, .sendRelease:
            let isLost = isFaulty && Int.random(in: 0..<15, using: &random) == 0
            add(.server(node: node, run: run, action, replyIsLost: isLost), after: delay())
        case .drawFence:
            lastFence += 1
            add(.input(node: node, run: run, .fenceDrawn(Fence(rawValue: lastFence))), after: delay())
        case .runBody(let fence):
            nodes[node].fence = fence
            verdict.holds += 1
            note("node \(node) holds with \(fence)")
            add(.read(node: node, run: run), after: delay())
        case .cancelBody: note("node \(node) lost its lease")
        case .finish:
            add(.begin(node: node), after: Int64.random(in: 1000...500_000, using: &random))
        }
    }

    // MARK: the lock server

    private mutating func serve(_ node: Int, _ run: Int, _ action: LockMachine.Action, _ replyIsLost: Bool) {
        if let held = token, held.until <= now { token = nil }
        let isOurs = token.map { $0.owner == node && $0.run == run } ?? false
        let answer: LockMachine.Answer
        switch action {
        case .sendSet:
            answer = token == nil ? .yes : .no
            if token == nil { token = (node, run, now + Self.lease) }
        case .sendExtend:
            answer = isOurs ? .yes : .no
            if isOurs { token?.until = now + Self.lease }
        case .sendRelease:
            if isOurs { token = nil }
            return
        default: answer = isOurs ? .yes : .no
        }
        let told = replyIsLost ? LockMachine.Answer.unknown : answer
        let input: LockMachine.Input =
            switch action {
            case .sendSet: .setAnswered(told)
            case .sendExtend: .extendAnswered(told)
            default: .confirmAnswered(told)
            }
        // A lost reply is noticed by its deadline.
        add(.input(node: node, run: run, input), after: replyIsLost ? 1_000_000 : delay())
    }

    // MARK: the table

    /// A transaction of the body: takes the row for this fence, then reads.
    private mutating func read(_ node: Int, _ run: Int) {
        let fence = nodes[node].fence
        guard run == nodes[node].run else { return }
        if isGuarded {
            guard fence >= row.fence else { return refuse(node, run) }
            row.fence = fence
        }
        add(.write(node: node, run: run, seen: row.value), after: delay())
    }

    /// The body does not look at its lease again: the guard alone has to hold.
    private mutating func write(_ node: Int, _ run: Int, _ seen: Int) {
        let fence = nodes[node].fence
        if run == nodes[node].run {
            if isGuarded {
                guard fence >= row.fence else { return refuse(node, run) }
                row.fence = fence
            }
            if row.value != seen {
                verdict.lostUpdates += 1
                let found = row.value
                note("node \(node) with \(fence) overwrites \(found) by \(seen + 1)")
            }
            row.value = seen + 1
            add(.input(node: node, run: run, .bodyEnded), after: 0)
        }
    }

    private mutating func refuse(_ node: Int, _ run: Int) {
        verdict.refused += 1
        note("node \(node) is refused")
        add(.input(node: node, run: run, .bodyEnded), after: 0)
    }
}
