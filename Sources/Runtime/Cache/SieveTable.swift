/// A table that evicts by SIEVE: entries stand in the order they came; a hand moves from the oldest to the newest and
/// takes the first that nobody asked for since it last passed. A hit only sets a mark.
/// Source: Zhang et al., "SIEVE is simpler than LRU", NSDI 2024.
struct SieveTable<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Node: Sendable {
        var key: Key
        var value: Value
        var bytes: Int
        var isVisited = false
        /// Towards the newer and the older end; -1 for none.
        var newer = -1
        var older = -1
    }

    private var index: [Key: Int] = [:]
    private var nodes: [Node?] = []
    private var free: [Int] = []
    private var newest = -1
    private var oldest = -1
    private var hand = -1
    private(set) var bytes = 0
    private let entriesMax: Int
    private let bytesMax: Int

    init(entriesMax: Int, bytesMax: Int) {
        self.entriesMax = entriesMax
        self.bytesMax = bytesMax
    }

    var count: Int { index.count }

    /// The value, marked as asked for.
    mutating func hit(_ key: Key) -> Value? {
        guard let at = index[key] else { return nil }
        nodes[at]?.isVisited = true
        return nodes[at]?.value
    }

    mutating func change(_ key: Key, _ body: (inout Value) -> Void) {
        guard let at = index[key], var node = nodes[at] else { return }
        body(&node.value)
        nodes[at] = node
    }

    /// Puts a value in and answers how many others had to go. One that is larger than the table is not kept.
    mutating func insert(_ key: Key, _ value: Value, bytes size: Int) -> Int {
        remove(key)
        guard size <= bytesMax else { return 0 }
        var evicted = 0
        while index.count >= entriesMax || bytes + size > bytesMax {
            evict()
            evicted += 1
        }
        let node = Node(key: key, value: value, bytes: size, newer: -1, older: newest)
        let at = free.popLast() ?? nodes.count
        if at == nodes.count { nodes.append(node) } else { nodes[at] = node }
        if newest >= 0 { nodes[newest]?.newer = at } else { oldest = at }
        newest = at
        index[key] = at
        bytes += size
        return evicted
    }

    mutating func remove(_ key: Key) {
        guard let at = index[key] else { return }
        unlink(at)
    }

    private mutating func evict() {
        var at = hand >= 0 ? hand : oldest
        while let node = nodes[at], node.isVisited {
            nodes[at]?.isVisited = false
            at = node.newer >= 0 ? node.newer : oldest
        }
        hand = nodes[at]?.newer ?? -1
        unlink(at)
    }

    private mutating func unlink(_ at: Int) {
        guard let node = nodes[at] else { return }
        if hand == at { hand = node.newer }
        if node.newer >= 0 { nodes[node.newer]?.older = node.older } else { newest = node.older }
        if node.older >= 0 { nodes[node.older]?.newer = node.newer } else { oldest = node.newer }
        index[node.key] = nil
        nodes[at] = nil
        free.append(at)
        bytes -= node.bytes
    }
}
