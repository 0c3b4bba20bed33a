internal import Synchronization

/// The kept sums of one shape by stretches of time. Reports that run at the same time may share one.
final class SumTree: Sendable {
    /// What a sum is of.
    struct Line: Hashable, Sendable {
        let kind: CreditFact
        /// nil where an earlier release did not keep it.
        let label: String?
        let currency: String
        let quarter: Int64
    }

    struct Part: Sendable {
        /// Its number in the tree.
        let line: Int32
        let sum: FactSum
    }

    struct Node: Sendable {
        /// Of the stretch when it was read, by `ChangeMarks`.
        var version: Int64
        /// Rows of the tables that are in it.
        var facts = 0
        /// Whether it may be kept.
        var isLasting = true
        var parts: [Part] = []

        var bytes: Int { 200 + parts.count * MemoryLayout<Part>.stride }
    }

    private struct State {
        var lines: [Line] = []
        var numbers: [Line: Int32] = [:]
        var nodes: [Stretch: (node: Node, used: UInt64)] = [:]
        var bytes: Int
        /// It made room and keeps nothing any more; a report that is at work reads everything itself.
        var isGone = false
    }

    private let state: Mutex<State>
    /// Of all trees.
    private let total: SumBytes

    init(_ shape: SumShape, _ total: SumBytes) {
        let bytes = 500 + shape.bytes
        state = Mutex(State(bytes: bytes))
        self.total = total
        total.add(bytes)
    }

    /// What is kept of a stretch, right or not any more.
    func node(_ stretch: Stretch, at report: UInt64) -> Node? {
        state.withLock { state in
            state.nodes[stretch]?.used = report
            return state.nodes[stretch]?.node
        }
    }

    func keep(_ node: Node, of stretch: Stretch, at report: UInt64) {
        state.withLock { state in
            guard !state.isGone else { return }
            let old = state.nodes.updateValue((node, report), forKey: stretch)
            count(node.bytes - (old?.node.bytes ?? 0), &state)
        }
    }

    /// The numbers of lines, new ones where they have none.
    func numbers(_ lines: [Line]) -> [Int32] {
        state.withLock { state in
            lines.map { line in
                if let known = state.numbers[line] { return known }
                let number = Int32(state.lines.count)
                state.lines.append(line)
                state.numbers[line] = number
                if !state.isGone { count(150 + 2 * (line.label?.utf8.count ?? 0), &state) }
                return number
            }
        }
    }

    var lines: [Line] { state.withLock { $0.lines } }

    private func count(_ bytes: Int, _ state: inout State) {
        state.bytes += bytes
        total.add(bytes)
    }

    // MARK: making room

    /// Every stretch that is kept, and the report that used it last.
    var uses: [(stretch: Stretch, used: UInt64)] { state.withLock { $0.nodes.map { ($0.key, $0.value.used) } } }

    /// Forgets one; with the last one everything.
    func drop(_ stretch: Stretch) {
        state.withLock { state in
            guard let old = state.nodes.removeValue(forKey: stretch) else { return }
            count(-old.node.bytes, &state)
            if state.nodes.isEmpty { end(&state) }
        }
    }

    /// - Returns: whether nothing is kept.
    func endIfEmpty() -> Bool {
        state.withLock { state in
            if state.nodes.isEmpty { end(&state) }
            return state.isGone
        }
    }

    private func end(_ state: inout State) {
        guard !state.isGone else { return }
        state.isGone = true
        total.add(-state.bytes)
    }
}

/// Bytes that all trees take together, nearly.
final class SumBytes: Sendable {
    private let count = Atomic<Int>(0)

    var value: Int { count.load(ordering: .relaxed) }

    func add(_ bytes: Int) { count.wrappingAdd(bytes, ordering: .relaxed) }
}
