internal import Synchronization

/// Everything that is kept up with each commit: totals, touchpoints, and who listens.
final class LogViews: Sendable {
    let directory: SegmentDirectory
    let catalog: LogCatalog
    let totals = TotalsView()
    let persons: PersonDirectory
    private let touches: Mutex<TouchIndex>
    private let hooks = Mutex<(next: Int, all: [Int: @Sendable (CommitNotice) -> Void])>((0, [:]))

    init(
        directory: SegmentDirectory, limits: EventLimits, persons: PersonDirectory, visibility: LogVisibility? = nil
    ) {
        self.directory = directory
        catalog = LogCatalog(directory: directory, visibility: visibility)
        self.persons = persons
        touches = Mutex(TouchIndex(touchesMax: limits.touchesMax))
    }

    /// Takes the touchpoints of a block that has just become durable.
    func addTouches(_ content: BlockContent, segment: UInt32, offset: UInt32) {
        guard content.touchCount > 0 else { return }
        touches.withLock { index in
            for number in 0..<content.touchCount {
                guard let touch = TouchView(content.touches.base + number * TouchLayout.byteCount) else { continue }
                let position = LogPosition(segment: segment, offset: offset, row: UInt32(touch.row))
                let known = KnownTouch(touch, content.outcome(touch.row), content.time(touch.row), position)
                if let known { Self.add(known, to: &index) }
            }
        }
    }

    /// The touchpoints of a block read back.
    func touches(of block: BlockView) throws(BlockView.Failure) -> [KnownTouch] {
        let bytes = try block.touches()
        guard !bytes.isEmpty else { return [] }
        let outcomes = try block.byteOfRows(.outcomes)
        let times = try block.times()
        return bytes.withUnsafeBytes { raw in
            stride(from: 0, to: raw.count - TouchLayout.byteCount + 1, by: TouchLayout.byteCount).compactMap { place in
                guard let start = raw.baseAddress, let touch = TouchView(start + place), touch.row < block.rowCount
                else { return nil }
                return KnownTouch(touch, outcomes[touch.row], times[touch.row], block.position(touch.row))
            }
        }
    }

    /// Takes touchpoints in the order of the log.
    func add(_ known: [KnownTouch]) {
        touches.withLock { index in
            for touch in known { Self.add(touch, to: &index) }
        }
    }

    private static func add(_ touch: KnownTouch, to index: inout TouchIndex) {
        let keys = touch.keys
        index.add(touch.entry, keys: [keys.0, keys.1, keys.2, keys.3, keys.4])
    }

    func touches(keys: [UInt64], from: Int64, to: Int64) -> [TouchIndex.Entry] {
        touches.withLock { $0.entries(keys: keys, from: from, to: to) }
    }

    var touchCount: Int { touches.withLock { $0.count } }

    func subscribe(_ hook: @escaping @Sendable (CommitNotice) -> Void) -> Int {
        hooks.withLock { hooks in
            hooks.next += 1
            hooks.all[hooks.next] = hook
            return hooks.next
        }
    }

    func unsubscribe(_ number: Int) { hooks.withLock { _ = $0.all.removeValue(forKey: number) } }

    func notify(_ notice: CommitNotice) {
        for hook in hooks.withLock({ Array($0.all.values) }) { hook(notice) }
    }
}

/// A touchpoint that counts, with the hashes under which it is found.
struct KnownTouch: Sendable {
    var entry: TouchIndex.Entry
    var keys: (UInt64, UInt64, UInt64, UInt64, UInt64)

    /// nil for duplicates, quarantined events and bots: they make no touchpoint.
    init?(_ touch: TouchView, _ outcome: UInt8, _ time: Int64, _ position: LogPosition) {
        guard outcome == EventOutcome.stored.rawValue || outcome == EventOutcome.late.rawValue else { return nil }
        entry = TouchIndex.Entry(position: position, time: time)
        keys = (touch.trace, touch.persons.0, touch.persons.1, touch.persons.2, touch.persons.3)
    }
}
