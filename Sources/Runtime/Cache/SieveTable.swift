/// A key that carries a hash of itself, so that a look-up does not work it out again.
protocol Hashed: Equatable, Sendable {
    /// Equal for equal keys; seeded by the process, so that nobody outside can choose keys of one hash.
    var hashed: Int { get }
}

/// A table that evicts by SIEVE: entries stand in the order they came; a hand moves from the oldest to the newest and
/// takes the first that nobody asked for since it last passed. A hit only sets a mark.
/// Source: Zhang et al., "SIEVE is simpler than LRU", NSDI 2024.
struct SieveTable<Key: Hashed, Value: Sendable>: Sendable {
    private struct Node: Sendable {
        var key: Key
        /// nil for a place that is free.
        var value: Value?
        var bytes = 0
        var isVisited = false
        /// Towards the newer and the older end; -1 for none.
        var newer = -1
        var older = -1
    }

    /// Places in `nodes` by hash, each at or after the slot of its hash; -1 for none. Its length is a power of two and
    /// at least twice the number of entries.
    private var slots: ContiguousArray<Int32>
    private var nodes: ContiguousArray<Node> = []
    private var free: [Int] = []
    private var newest = -1
    private var oldest = -1
    private var hand = -1
    private(set) var count = 0
    private(set) var bytes = 0
    private let entriesMax: Int
    private let bytesMax: Int

    init(entriesMax: Int, bytesMax: Int) {
        self.entriesMax = entriesMax
        self.bytesMax = bytesMax
        var length = 64
        while length < entriesMax * 2 { length *= 2 }
        slots = ContiguousArray(repeating: -1, count: length)
    }

    private func slot(_ key: Key) -> Int? {
        var at = key.hashed & (slots.count - 1)
        while slots[at] >= 0 {
            if nodes[Int(slots[at])].key == key { return at }
            at = (at + 1) & (slots.count - 1)
        }
        return nil
    }

    /// What `body` says of the value, which is marked as asked for; where it lies, not as a copy.
    mutating func hit<Result>(_ key: Key, _ body: (inout Value) -> Result?) -> Result? {
        guard let slot = slot(key) else { return nil }
        let at = Int(slots[slot])
        nodes[at].isVisited = true
        return body(&nodes[at].value!)
    }

    /// Changes the value, as if nobody had asked.
    mutating func change(_ key: Key, _ body: (inout Value) -> Void) {
        guard let slot = slot(key) else { return }
        body(&nodes[Int(slots[slot])].value!)
    }

    /// Puts a value in and answers how many others had to go. One that is larger than the table is not kept.
    mutating func insert(_ key: Key, _ value: Value, bytes size: Int) -> Int {
        remove(key)
        guard size <= bytesMax else { return 0 }
        var evicted = 0
        while count >= entriesMax || bytes + size > bytesMax {
            evict()
            evicted += 1
        }
        let node = Node(key: key, value: value, bytes: size, older: newest)
        let at = free.popLast() ?? nodes.count
        if at == nodes.count { nodes.append(node) } else { nodes[at] = node }
        if newest >= 0 { nodes[newest].newer = at } else { oldest = at }
        newest = at
        var slot = key.hashed & (slots.count - 1)
        while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = Int32(truncatingIfNeeded: at)
        count += 1
        bytes += size
        return evicted
    }

    mutating func remove(_ key: Key) {
        guard let slot = slot(key) else { return }
        unlink(slot)
    }

    private mutating func evict() {
        var at = hand >= 0 ? hand : oldest
        while nodes[at].isVisited {
            nodes[at].isVisited = false
            at = nodes[at].newer >= 0 ? nodes[at].newer : oldest
        }
        hand = nodes[at].newer
        if let slot = slot(nodes[at].key) { unlink(slot) }
    }

    private mutating func unlink(_ slot: Int) {
        let at = Int(slots[slot])
        let node = nodes[at]
        if hand == at { hand = node.newer }
        if node.newer >= 0 { nodes[node.newer].older = node.older } else { newest = node.older }
        if node.older >= 0 { nodes[node.older].newer = node.newer } else { oldest = node.newer }
        nodes[at] = Node(key: node.key, value: nil)
        free.append(at)
        count -= 1
        bytes -= node.bytes
        close(slot)
    }

    /// Takes a slot out: those behind it that would not be found over the gap move up.
    private mutating func close(_ slot: Int) {
        let mask = slots.count - 1
        var (gap, at) = (slot, slot)
        slots[gap] = -1
        while true {
            at = (at + 1) & mask
            guard slots[at] >= 0 else { return }
            let home = nodes[Int(slots[at])].key.hashed & mask
            guard (at - home) & mask >= (at - gap) & mask else { continue }
            slots[gap] = slots[at]
            slots[at] = -1
            gap = at
        }
    }
}
