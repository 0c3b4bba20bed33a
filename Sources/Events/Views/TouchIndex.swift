/// Where the newest touchpoints of each person stand in the log. Bounded: two generations, the older one leaves whole;
/// `OlderTouches` finds what left.
///
/// Keeps places and hashes only; campaign, cost and the rest are read from the events when a journey is asked for.
struct TouchIndex {
    struct Entry {
        var time: Int64
        var position: LogPosition
        /// Last, where it fills room that the place leaves.
        var isView: Bool
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
    /// Every touchpoint of the log from here on is held; nil while all of them are.
    private(set) var floor: LogPosition?

    init(touchesMax: Int) { generationMax = max(1, touchesMax / 2) }

    var count: Int { current.entries.count + previous.entries.count }

    /// Adds a touchpoint under each of its keys; zero is no key.
    mutating func add(_ entry: Entry, keys: TouchKeys) {
        if current.entries.count >= generationMax {
            if !previous.entries.isEmpty { isCut(before: current.entries.first?.position) }
            previous = current
            current = Generation()
        }
        let index = UInt32(current.entries.count)
        current.entries.append(entry)
        for place in keys.indices where keys[place] != 0 {
            let key = keys[place]
            current.links.append(Link(entry: index, next: current.heads[key] ?? Self.none))
            current.heads[key] = UInt32(current.links.count - 1)
        }
    }

    /// Notes that touchpoints before a position are not held.
    mutating func isCut(before position: LogPosition?) {
        guard let position else { return }
        floor = max(floor ?? position, position)
    }

    /// Touchpoints under any of the keys with `from` ≤ time ≤ `to`, each once, in no order.
    /// - Parameter viewsFrom: of views, the earliest time.
    func entries(keys: [UInt64], from: Int64, viewsFrom: Int64, to: Int64) -> [Entry] {
        var found: [LogPosition: Entry] = [:]
        for generation in [previous, current] {
            for key in keys {
                var link = generation.heads[key] ?? Self.none
                while link != Self.none {
                    let entry = generation.entries[Int(generation.links[Int(link)].entry)]
                    let isLate = entry.time >= (entry.isView ? max(from, viewsFrom) : from)
                    if isLate, entry.time <= to { found[entry.position] = entry }
                    link = generation.links[Int(link)].next
                }
            }
        }
        return Array(found.values)
    }
}
