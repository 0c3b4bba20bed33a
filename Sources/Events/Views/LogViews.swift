internal import Synchronization

/// Everything that is kept up with each commit: totals, touchpoints, and who listens.
final class LogViews: Sendable {
    let directory: SegmentDirectory
    let totals = TotalsView()
    let persons: PersonDirectory
    private let touches: Mutex<TouchIndex>
    private let hooks = Mutex<(next: Int, all: [Int: @Sendable (CommitNotice) -> Void])>((0, [:]))

    init(directory: SegmentDirectory, limits: EventLimits, persons: PersonDirectory) {
        self.directory = directory
        self.persons = persons
        touches = Mutex(TouchIndex(touchesMax: limits.touchesMax))
    }

    /// Takes the touchpoints of a block that has just become durable.
    func addTouches(_ content: BlockContent, segment: UInt32, offset: UInt32) {
        guard content.touchCount > 0 else { return }
        touches.withLock { index in
            for number in 0..<content.touchCount {
                guard let touch = TouchView(content.touches.base + number * TouchLayout.byteCount) else { continue }
                let row = RowView(base: content.rows.base + touch.row * RowLayout.byteCount)
                Self.add(touch, row, LogPosition(segment: segment, offset: offset, row: UInt32(touch.row)), to: &index)
            }
        }
    }

    /// Takes the touchpoints of a block read back.
    func addTouches(_ block: BlockView) {
        guard block.header.touchCount > 0 else { return }
        touches.withLock { index in
            block.eachTouch { touch, row in
                let position = LogPosition(segment: block.segment, offset: UInt32(block.offset), row: UInt32(touch.row))
                Self.add(touch, row, position, to: &index)
            }
        }
    }

    /// Duplicates, quarantined events and bots make no touchpoint.
    private static func add(_ touch: TouchView, _ row: RowView, _ position: LogPosition, to index: inout TouchIndex) {
        guard row.outcome == .stored || row.outcome == .late else { return }
        index.add(
            TouchIndex.Entry(position: position, time: row.time),
            keys: [touch.trace, touch.persons.0, touch.persons.1, touch.persons.2, touch.persons.3])
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
