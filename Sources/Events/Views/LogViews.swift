internal import Synchronization
internal import Telemetry

/// Everything that is kept up with each commit: totals, touchpoints, and who listens.
final class LogViews: Sendable {
    let directory: SegmentDirectory
    let catalog: LogCatalog
    let totals = TotalsView()
    let persons: PersonDirectory
    private let touches: Mutex<TouchIndex>
    private let older: OlderTouches
    private let hooks = Mutex<(next: Int, all: [Int: @Sendable (CommitNotice) -> Void])>((0, [:]))

    /// - Parameters:
    ///   - storage: of the log; sorted files of its touchpoints stand in it too.
    ///   - identity: of the secret that hashes are made with.
    init(
        _ storage: any LogStorage, directory: SegmentDirectory, identity: UInt64, limits: EventLimits,
        persons: PersonDirectory, visibility: LogVisibility? = nil, registry: MetricRegistry
    ) {
        self.directory = directory
        catalog = LogCatalog(directory: directory, visibility: visibility)
        self.persons = persons
        touches = Mutex(TouchIndex(touchesMax: limits.touchesMax))
        older = OlderTouches(
            storage, catalog: catalog, identity: identity, freeBytesMin: limits.freeBytesMin, registry: registry)
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

    /// Takes touchpoints in the order of the log.
    func restore(_ known: [KnownTouch]) {
        touches.withLock { index in
            for touch in known { Self.add(touch, to: &index) }
        }
    }

    /// Notes that there may be touchpoints before a position that memory does not hold.
    func isCut(before position: LogPosition?) { touches.withLock { $0.isCut(before: position) } }

    private static func add(_ touch: KnownTouch, to index: inout TouchIndex) {
        index.add(touch.entry, keys: touch.keys)
    }

    /// Touchpoints under any of the keys with `from` ≤ time ≤ `to`, each once, in no order: from memory, and from the
    /// log what memory no longer holds.
    /// - Parameter viewsFrom: of views, the earliest time.
    func touches(keys: [UInt64], from: Int64, viewsFrom: Int64, to: Int64) throws -> [TouchIndex.Entry] {
        guard from <= to else { return [] }
        let (newest, floor) = touches.withLock { index in
            (index.entries(keys: keys, from: from, viewsFrom: viewsFrom, to: to), index.floor)
        }
        guard let floor else { return newest }
        let wish = OlderTouches.Wish(
            keys: Set(keys.filter { $0 != 0 }), times: from...to, viewsFrom: viewsFrom, floor: floor)
        return try newest + older.touches(wish)
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
    /// Zero is none.
    var keys: TouchKeys

    /// nil for duplicates, quarantined events and bots: they make no touchpoint.
    init?(_ touch: TouchView, _ outcome: UInt8, _ time: Int64, _ position: LogPosition) {
        guard Self.counts(outcome) else { return nil }
        entry = TouchIndex.Entry(time: time, position: position, isView: touch.kind == .impression)
        keys = touch.keys
    }

    static func counts(_ outcome: UInt8) -> Bool {
        outcome == EventOutcome.stored.rawValue || outcome == EventOutcome.late.rawValue
    }

    func isUnder(_ wanted: Set<UInt64>) -> Bool {
        for index in keys.indices where wanted.contains(keys[index]) { return true }
        return false
    }
}

/// The hashes under which a touchpoint is found.
typealias TouchKeys = InlineArray<5, UInt64>
