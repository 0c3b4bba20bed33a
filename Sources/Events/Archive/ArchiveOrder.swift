/// Merges what is wanted of the blocks of an archive, which stand app by app, into the order of the log.
///
/// A block is opened when its turn comes and closed when it is used up. What is held are the places of the blocks that
/// are open: about one of each app that is wanted, however large the archive is.
struct ArchiveOrder {
    /// A request, or a row of one, in the order of the log by `origin` and `low`.
    struct Item: Sendable {
        var origin: RequestOrigin
        var low: UInt32
        var high: UInt32

        static func precedes(_ left: Item, _ right: Item) -> Bool {
            (left.origin.segment, left.origin.offset, left.origin.request, left.low)
                < (right.origin.segment, right.origin.offset, right.origin.request, right.low)
        }
    }

    private struct Cursor {
        var block: Int
        var items: [Item]
        var place = 0

        var head: Item { items[place] }
    }

    private let newestFirst: Bool
    private let open: (Int) throws -> [Item]
    /// The next to be opened stands last.
    private var waiting: [(block: Int, span: OriginSpan)]
    /// The one whose turn it is stands last.
    private var cursors: [Cursor] = []

    /// - Parameters:
    ///   - blocks: which blocks are wanted, and where their requests stood.
    ///   - open: what is wanted of a block, in any order.
    init(
        _ blocks: [(block: Int, span: OriginSpan)], newestFirst: Bool = false, open: @escaping (Int) throws -> [Item]
    ) {
        (self.newestFirst, self.open) = (newestFirst, open)
        waiting = blocks.sorted {
            newestFirst ? $0.span.last < $1.span.last : $1.span.first < $0.span.first
        }
    }

    /// Blocks that are open now.
    var openCount: Int { cursors.count }

    private func precedes(_ left: Item, _ right: Item) -> Bool {
        newestFirst ? Item.precedes(right, left) : Item.precedes(left, right)
    }

    /// Whether something in a block that is not open yet may come before an item.
    private func mayPrecede(_ span: OriginSpan, _ item: Item) -> Bool {
        newestFirst ? !(span.last < item.origin) : !(item.origin < span.first)
    }

    /// The next one, with the number of its block; nil at the end.
    mutating func next() throws -> (block: Int, item: Item)? {
        while let last = waiting.last, cursors.last.map({ mayPrecede(last.span, $0.head) }) ?? true {
            waiting.removeLast()
            let items = try open(last.block).sorted(by: precedes)
            if !items.isEmpty { insert(Cursor(block: last.block, items: items)) }
        }
        guard var cursor = cursors.popLast() else { return nil }
        let found = (cursor.block, cursor.head)
        cursor.place += 1
        if cursor.place < cursor.items.count { insert(cursor) }
        return found
    }

    private mutating func insert(_ cursor: Cursor) {
        var (low, high) = (0, cursors.count)
        while low < high {
            let middle = (low + high) / 2
            if precedes(cursor.head, cursors[middle].head) { low = middle + 1 } else { high = middle }
        }
        cursors.insert(cursor, at: low)
    }
}

/// Where the first and the last request of a block of an archive stood in the log.
struct OriginSpan: Sendable {
    var first: RequestOrigin
    var last: RequestOrigin

    init?(_ view: BlockView) {
        guard !view.requests.isEmpty else { return nil }
        (first, last) = (view.origin(0), view.origin(0))
        for place in view.requests.indices.dropFirst() {
            let origin = view.origin(place)
            if origin < first { first = origin }
            if last < origin { last = origin }
        }
    }
}

extension SegmentCatalog {
    /// The blocks that may hold something of a time and of some apps, and where their requests stood.
    func blocks(
        from: Int64, to: Int64, where fits: (_ org: String, _ app: String) -> Bool
    ) throws -> [(block: Int, span: OriginSpan)] {
        var found: [(block: Int, span: OriginSpan)] = []
        for (number, entry) in entries.enumerated() where entry.latest >= from && entry.earliest <= to {
            guard try sources(of: entry).contains(where: { fits($0.org, $0.app) }), let span = try span(of: number)
            else { continue }
            found.append((number, span))
        }
        return found
    }
}
