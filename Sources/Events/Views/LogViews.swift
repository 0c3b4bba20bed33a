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
                Self.add(touch, content.outcome(touch.row), content.time(touch.row), position, to: &index)
            }
        }
    }

    /// Takes the touchpoints of a block read back.
    func addTouches(_ block: BlockView) throws(BlockView.Failure) {
        let bytes = try block.touches()
        guard !bytes.isEmpty else { return }
        let outcomes = try block.byteOfRows(.outcomes)
        let times = try block.times()
        touches.withLock { index in
            bytes.withUnsafeBytes { raw in
                for place in stride(from: 0, to: raw.count - TouchLayout.byteCount + 1, by: TouchLayout.byteCount) {
                    guard let start = raw.baseAddress, let touch = TouchView(start + place), touch.row < block.rowCount
                    else { continue }
                    let position = block.position(touch.row)
                    Self.add(touch, outcomes[touch.row], times[touch.row], position, to: &index)
                }
            }
        }
    }

    /// Duplicates, quarantined events and bots make no touchpoint.
    private static func add(
        _ touch: TouchView, _ outcome: UInt8, _ time: Int64, _ position: LogPosition, to index: inout TouchIndex
    ) {
        guard outcome == EventOutcome.stored.rawValue || outcome == EventOutcome.late.rawValue else { return }
        index.add(
            TouchIndex.Entry(position: position, time: time),
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
