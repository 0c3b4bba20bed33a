internal import Synchronization
internal import Telemetry

/// The touchpoints that the index in memory no longer holds, from the log itself: through a sorted file beside every
/// segment and archive that grows no more, made when it is first needed, and block by block where there is none.
final class OlderTouches: Sendable {
    private struct State: Sendable {
        /// Those that are open, by the name of what they stand beside.
        var open: [String: TouchFile] = [:]
        /// Names of all that were met.
        var names: Set<String> = []
    }

    /// Files that are held open at a time.
    private static let openMax = 512
    private let storage: any LogStorage
    private let catalog: LogCatalog
    private let identity: UInt64
    private let freeBytesMin: Int
    private let lookups: Counter
    private let made: Counter
    private let state = Mutex(State())
    /// One file is made at a time.
    private let making = Mutex(())

    init(
        _ storage: any LogStorage, catalog: LogCatalog, identity: UInt64, freeBytesMin: Int, registry: MetricRegistry
    ) {
        (self.storage, self.catalog, self.identity) = (storage, catalog, identity)
        self.freeBytesMin = freeBytesMin
        (lookups, made) = (registry.counter(.eventsOlderTouchLookups), registry.counter(.eventsTouchFiles))
    }

    /// What is looked for.
    struct Wish {
        var keys: Set<UInt64>
        /// Both ends belong to it.
        var times: ClosedRange<Int64>
        /// Of views, the earliest.
        var viewsFrom: Int64
        /// Touchpoints from here on are known.
        var floor: LogPosition

        func wants(_ entry: TouchIndex.Entry) -> Bool {
            entry.position < floor && times.contains(entry.time) && (!entry.isView || entry.time >= viewsFrom)
        }
    }

    /// Touchpoints under any of the keys, each once, in no order.
    func touches(_ wish: Wish) throws -> [TouchIndex.Entry] {
        lookups.increment()
        let sources = try catalog.all()
        forget(besides: sources)
        var found: [LogPosition: TouchIndex.Entry] = [:]
        for source in sources where source.number <= wish.floor.segment {
            let blocks = source.entries.filter {
                $0.latest >= wish.times.lowerBound && $0.earliest <= wish.times.upperBound
            }
            if blocks.isEmpty { continue }
            // The newest segment still grows.
            let isWhole = source.archive != nil || source.number < catalog.lastNumber ?? 0
            if isWhole, let file = try file(of: source) {
                do {
                    try add(from: file, source, wish, to: &found)
                    continue
                } catch is TouchFile.Damaged { drop(source.file.name) }
            }
            for block in blocks { try add(from: block, source, wish, to: &found) }
        }
        return Array(found.values)
    }

    private func add(
        from file: TouchFile, _ source: SegmentCatalog, _ wish: Wish, to found: inout [LogPosition: TouchIndex.Entry]
    ) throws {
        let entries = try wish.keys.flatMap { try file.entries(of: $0) }
        for (offset, entries) in Dictionary(grouping: entries, by: \.offset) {
            // What is damaged earns nothing; the rest does.
            let block = try BlockView.readable { () -> (BlockView, [Int64])? in
                try source.view(Int(offset)).map { ($0, try $0.times()) }
            }
            guard let (view, times) = block else { continue }
            for entry in entries where entry.row < times.count {
                let touch = TouchIndex.Entry(
                    time: times[entry.row], position: view.position(entry.row),
                    isView: entry.place >> 24 == UInt32(TouchKind.impression.rawValue))
                if wish.wants(touch) { found[touch.position] = touch }
            }
        }
    }

    private func add(
        from block: SegmentCatalog.Entry, _ source: SegmentCatalog, _ wish: Wish,
        to found: inout [LogPosition: TouchIndex.Entry]
    ) throws {
        guard let view = try source.view(block.offset), view.part(.touches) != nil else { return }
        for touch in try BlockView.readable({ try view.knownTouches() }) ?? []
        where touch.isUnder(wish.keys) && wish.wants(touch.entry) {
            found[touch.entry.position] = touch.entry
        }
    }

    // MARK: files

    /// nil where the volume has no room for it.
    private func file(of source: SegmentCatalog) throws -> TouchFile? {
        let name = source.file.name
        if let known = state.withLock({ $0.open[name] }) { return known }
        return try making.withLock { _ in
            if let known = state.withLock({ $0.open[name] }) { return known }
            guard let file = try opened(source) ?? make(source) else { return nil }
            state.withLock { state in
                if state.open.count >= Self.openMax { state.open = [:] }
                state.open[name] = file
                state.names.insert(name)
            }
            return file
        }
    }

    /// nil where there is none, or none that can be read: it is made anew.
    private func opened(_ source: SegmentCatalog) -> TouchFile? {
        try? TouchFile(storage, of: source.file, identity: identity)
    }

    private func make(_ source: SegmentCatalog) throws -> TouchFile? {
        do {
            guard try storage.freeBytes() >= freeBytesMin else { return nil }
            let file = try TouchFile(storage, of: source.file, identity: identity) { add in
                for block in source.entries {
                    guard let view = try source.view(block.offset), view.part(.touches) != nil else { continue }
                    // What is damaged earns nothing; the rest does.
                    _ = try BlockView.readable { try view.eachTouch(add) }
                }
            }
            made.increment()
            return file
        } catch let error where Self.isRoomMissing(error) {
            try? storage.remove(TouchFile.name(of: source.file))
            return nil
        }
    }

    private static func isRoomMissing(_ error: any Error) -> Bool {
        guard let error = error as? LogStorageError else { return error is TouchFile.Damaged }
        return error == .noSpace || error == .readOnly
    }

    /// Removes the files of sources that are gone.
    private func forget(besides sources: [SegmentCatalog]) {
        let names = Set(sources.map(\.file.name))
        for name in state.withLock({ $0.names.subtracting(names) }) { drop(name) }
    }

    private func drop(_ name: String) {
        state.withLock { state in
            state.open[name] = nil
            state.names.remove(name)
        }
        try? storage.remove(name + TouchFile.suffix)
    }

    /// Removes files that stand beside nothing. Before the log is used only.
    static func clean(_ storage: any LogStorage) throws(LogStorageError) {
        let names = Set(try storage.names())
        for name in names where name.hasSuffix(TouchFile.suffix) {
            if !names.contains(String(name.dropLast(TouchFile.suffix.count))) { try storage.remove(name) }
        }
    }
}

extension BlockView {
    /// The touchpoints of a block read back.
    func knownTouches() throws(Failure) -> [KnownTouch] {
        let bytes = try touches()
        guard !bytes.isEmpty else { return [] }
        let outcomes = try byteOfRows(.outcomes)
        let times = try times()
        return bytes.withUnsafeBytes { raw in
            stride(from: 0, to: raw.count - TouchLayout.byteCount + 1, by: TouchLayout.byteCount).compactMap { place in
                guard let start = raw.baseAddress, let touch = TouchView(start + place), touch.row < rowCount
                else { return nil }
                return KnownTouch(touch, outcomes[touch.row], times[touch.row], position(touch.row))
            }
        }
    }

    /// Gives every touchpoint under each of its hashes.
    fileprivate func eachTouch(_ add: (TouchFile.Entry) throws -> Void) throws {
        let bytes = try touches()
        guard !bytes.isEmpty else { return }
        let outcomes = try byteOfRows(.outcomes)
        try bytes.withUnsafeBytes { raw in
            for place in stride(from: 0, to: raw.count - TouchLayout.byteCount + 1, by: TouchLayout.byteCount) {
                guard let start = raw.baseAddress, let touch = TouchView(start + place), touch.row < rowCount,
                    KnownTouch.counts(outcomes[touch.row])
                else { continue }
                let (keys, code) = (touch.keys, UInt32(touch.row) | UInt32(touch.kind.rawValue) << 24)
                for index in keys.indices where keys[index] != 0 {
                    try add(TouchFile.Entry(key: keys[index], offset: UInt32(offset), place: code))
                }
            }
        }
    }
}
