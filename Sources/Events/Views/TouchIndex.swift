/// Where the touchpoints of each person stand in the log. Bounded: two generations, the older one leaves whole.
///
/// Keeps places and hashes only; campaign, cost and the rest are read from the events when a journey is asked for.
struct TouchIndex {
    struct Entry {
        var position: LogPosition
        var time: Int64
    }

    private struct Link {
        var entry: UInt32
        var next: UInt32
    }

    private struct Generation {
        var entries: [Entry] = []
        var links: [Link] = []
        /// Newest link of each key.
        var heads: [UInt64: UInt32] = [:]
    }

    private static let none = UInt32.max
    private var current = Generation()
    private var previous = Generation()
    private let generationMax: Int

    init(touchesMax: Int) { generationMax = max(1, touchesMax / 2) }

    var count: Int { current.entries.count + previous.entries.count }

    /// Adds a touchpoint under each of its keys; zero is no key.
    mutating func add(_ entry: Entry, keys: [UInt64]) {
        if current.entries.count >= generationMax {
            previous = current
            current = Generation()
        }
        let index = UInt32(current.entries.count)
        current.entries.append(entry)
        for key in keys where key != 0 {
            current.links.append(Link(entry: index, next: current.heads[key] ?? Self.none))
            current.heads[key] = UInt32(current.links.count - 1)
        }
    }

    /// Touchpoints under any of the keys with `from` ≤ time ≤ `to`, each once, in no order.
    func entries(keys: [UInt64], from: Int64, to: Int64) -> [Entry] {
        var found: [LogPosition: Entry] = [:]
        for generation in [previous, current] {
            for key in keys {
                var link = generation.heads[key] ?? Self.none
                while link != Self.none {
                    let entry = generation.entries[Int(generation.links[Int(link)].entry)]
                    if entry.time >= from, entry.time <= to { found[entry.position] = entry }
                    link = generation.links[Int(link)].next
                }
            }
        }
        return Array(found.values)
    }
}
