internal import AurumCore
package import Events
internal import Synchronization

/// A folder in memory that forgets at a power cut whatever was not synced: the twin of the real storage.
///
/// A cut may keep any part of what was not synced: whole writes in any order, or the front of one. It fails when told
/// to.
package final class VolatileLogStorage: LogStorage {
    private struct Write: Sendable {
        var offset: Int
        var bytes: [UInt8]
    }

    private struct File: Sendable {
        /// What a power cut leaves.
        var durable: [UInt8] = []
        /// What a reader sees.
        var visible: [UInt8] = []
        var pending: [Write] = []
        var isNamedDurably = false
    }

    /// What to fail, once it comes to it.
    package enum Fault: Sendable, Equatable { case none, write(after: Int), sync(after: Int), read(after: Int), full }

    private struct State: Sendable {
        /// By name; a removed file that is still open goes by a name that no folder has.
        var files: [String: File] = [:]
        var open: [Int: String] = [:]
        /// Durable files whose removal was not synced: a cut may bring them back.
        var removed: [(name: String, file: File)] = []
        /// Renamings that were not synced: a cut may take them back.
        var renamed: [(from: String, to: String, before: File?, wasNamed: Bool)] = []
        var operations = 0
        var operationsMax = Int.max
        var nextHandle = 1
        var fault = Fault.none
        var capacity = Int.max
        var writes = 0
        var syncs = 0
        var reads = 0
        var isOff = false

        var present: [String: File] { files.filter { !$0.key.contains("/") } }
        /// Every call that changes something, by name.
        var calls: [String] = []
        var kill: (call: Int, isHalf: Bool)?
    }

    private let state = Mutex(State())

    package init() {}

    package var syncs: Int { state.withLock { $0.syncs } }
    package var writes: Int { state.withLock { $0.writes } }
    package var reads: Int { state.withLock { $0.reads } }

    package func fail(_ fault: Fault) { state.withLock { $0.fault = fault } }

    /// Bytes that all files together may hold.
    package func limit(to capacity: Int) { state.withLock { $0.capacity = capacity } }

    /// Names of the calls so far that changed something, for example `write segment`.
    package var calls: [String] { state.withLock { $0.calls } }

    /// Kills the process at a call, before it is made or, if it writes, when half of it is done. What was written stays
    /// with the system: `copy` is what the next process finds.
    package func kill(at call: Int, half: Bool = false) { state.withLock { $0.kill = (call, half) } }

    package var isKilled: Bool { state.withLock { $0.isOff } }
    /// Steps so far that change a file or the folder.
    package var operations: Int { state.withLock { $0.operations } }

    /// Cuts the power after so many more steps that change something.
    package func cutPower(after steps: Int) { state.withLock { $0.operationsMax = $0.operations + steps } }

    /// Cuts the power: every later call fails. `afterCut` is what a new machine finds.
    package func cutPower() { state.withLock { $0.isOff = true } }

    /// The folder after the power came back: the synced bytes, and a seeded part of the others.
    package func afterCut(seed: UInt64) -> VolatileLogStorage {
        var random = SeededRandom(seed: seed)
        let survivor = VolatileLogStorage()
        let (files, removed, renamed) = state.withLock { ($0.present, $0.removed, $0.renamed) }
        // So may a renaming that was not synced.
        for (from, to, before, wasNamed) in renamed {
            guard let file = files[to], !file.isNamedDurably else { continue }
            if random.next() % 2 == 0 {
                survivor.place(to, file.durable)
            } else {
                if let before, before.isNamedDurably { survivor.place(to, before.durable) }
                if wasNamed { survivor.place(from, file.durable) }
            }
        }
        // A removal that was not synced may not have happened.
        for (name, file) in removed where files[name] == nil && random.next() % 2 == 0 {
            survivor.place(name, file.durable)
        }
        for (name, file) in files.sorted(by: { $0.key < $1.key }) where file.isNamedDurably {
            var bytes = file.durable
            for write in file.pending {
                switch random.next() % 4 {
                case 0: break
                case 1: Self.apply(write, to: &bytes)
                default:
                    let kept = Int(random.next() % UInt64(write.bytes.count + 1))
                    Self.apply(Write(offset: write.offset, bytes: Array(write.bytes.prefix(kept))), to: &bytes)
                }
            }
            survivor.place(name, bytes)
        }
        return survivor
    }

    /// Puts a durable file in place.
    package func place(_ name: String, _ bytes: [UInt8]) {
        state.withLock { $0.files[name] = File(durable: bytes, visible: bytes, pending: [], isNamedDurably: true) }
    }

    /// What a reader sees of a file.
    package func bytes(_ name: String) -> [UInt8] { state.withLock { $0.files[name]?.visible ?? [] } }

    /// All files as a reader sees them, as a fresh folder.
    package func copy() -> VolatileLogStorage {
        let twin = VolatileLogStorage()
        for (name, file) in state.withLock({ $0.present }) { twin.place(name, file.visible) }
        return twin
    }

    private static func apply(_ write: Write, to bytes: inout [UInt8]) {
        let end = write.offset + write.bytes.count
        if bytes.count < end { bytes.append(contentsOf: [UInt8](repeating: 0, count: end - bytes.count)) }
        bytes.replaceSubrange(write.offset..<end, with: write.bytes)
    }

    private func work<Value: Sendable>(
        changes: Bool = false, _ body: (inout State) throws(LogStorageError) -> Value
    ) throws(LogStorageError) -> Value {
        let result: Result<Value, LogStorageError> = state.withLock { state in
            if changes {
                state.operations += 1
                if state.operations > state.operationsMax { state.isOff = true }
            }
            guard !state.isOff else { return .failure(.failed(operation: "reach the disk", code: 5)) }
            do throws(LogStorageError) {
                return .success(try body(&state))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Notes a call; false from the one on at which the process dies.
    private static func lives(_ operation: String, _ name: String?, _ state: inout State) throws(LogStorageError) {
        let kind = name.map { $0.hasSuffix(".aurumlog") ? "segment" : String($0.prefix { $0.isLetter }) }
        state.calls.append(kind.map { "\(operation) \($0)" } ?? operation)
        guard let kill = state.kill, state.calls.count > kill.call else { return }
        state.isOff = true
        throw .failed(operation: "live on", code: 9)
    }

    package func names() throws(LogStorageError) -> [String] { try work { $0.present.keys.sorted() } }

    package func open(_ name: String, create: Bool) throws(LogStorageError) -> Int {
        try work { (state) throws(LogStorageError) in
            if state.files[name] == nil {
                guard create else { throw .failed(operation: "open", code: 2) }
                try Self.lives("create", name, &state)
                state.files[name] = File()
            }
            state.nextHandle += 1
            state.open[state.nextHandle] = name
            return state.nextHandle
        }
    }

    package func close(_ file: Int) {
        state.withLock { state in
            guard let name = state.open.removeValue(forKey: file), name.contains("/"),
                !state.open.values.contains(name)
            else { return }
            state.files[name] = nil
        }
    }

    package func remove(_ name: String) throws(LogStorageError) {
        try work(changes: true) { (state) throws(LogStorageError) in
            try Self.lives("remove", name, &state)
            guard let file = state.files.removeValue(forKey: name) else {
                throw .failed(operation: "remove", code: 2)
            }
            if file.isNamedDurably { state.removed.append((name, file)) }
            state.nextHandle += 1
            let orphan = "/\(state.nextHandle)"
            var isOpen = false
            for (handle, other) in state.open where other == name {
                state.open[handle] = orphan
                isOpen = true
            }
            if isOpen { state.files[orphan] = file }
        }
    }

    package func size(_ file: Int) throws(LogStorageError) -> Int {
        try work { state in state.files[state.open[file] ?? ""]?.visible.count ?? 0 }
    }

    package func read(
        _ file: Int, into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(LogStorageError) -> Int {
        let count = buffer.count
        let bytes = try work { (state) throws(LogStorageError) -> [UInt8] in
            state.reads += 1
            if case .read(let after) = state.fault, state.reads > after { throw .failed(operation: "read", code: 5) }
            let visible = state.files[state.open[file] ?? ""]?.visible ?? []
            guard offset < visible.count else { return [] }
            return Array(visible[offset..<min(visible.count, offset + count)])
        }
        buffer.copyBytes(from: bytes)
        return bytes.count
    }

    package func write(_ file: Int, _ pieces: [UnsafeRawBufferPointer], at offset: Int) throws(LogStorageError) {
        let bytes = pieces.flatMap { Array($0) }
        try work(changes: true) { (state) throws(LogStorageError) in
            state.writes += 1
            if case .write(let after) = state.fault, state.writes > after { throw .failed(operation: "write", code: 5) }
            guard let name = state.open[file], state.files[name] != nil else { return }
            let write = Write(offset: offset, bytes: bytes)
            do throws(LogStorageError) {
                try Self.lives("write", name, &state)
            } catch {
                if state.kill?.isHalf == true {
                    let half = Write(offset: offset, bytes: Array(bytes.prefix(bytes.count / 2)))
                    Self.apply(half, to: &state.files[name, default: File()].visible)
                }
                throw error
            }
            state.files[name]?.pending.append(write)
            Self.apply(write, to: &state.files[name, default: File()].visible)
        }
    }

    package func sync(_ file: Int) throws(LogStorageError) {
        try work(changes: true) { (state) throws(LogStorageError) in
            state.syncs += 1
            if case .sync(let after) = state.fault, state.syncs > after { throw .failed(operation: "sync", code: 5) }
            guard let name = state.open[file], let known = state.files[name] else { return }
            try Self.lives("sync", name, &state)
            state.files[name]?.durable = known.visible
            state.files[name]?.pending = []
        }
    }

    package func reserve(_ file: Int, from offset: Int, count: Int) throws(LogStorageError) {
        try work { (state) throws(LogStorageError) in
            let used = state.files.values.reduce(0) { $0 + $1.visible.count }
            guard state.fault != .full, used + count <= state.capacity else { throw .noSpace }
            guard let name = state.open[file], let known = state.files[name] else { return }
            try Self.lives("reserve", name, &state)
            let missing = offset + count - known.visible.count
            if missing > 0 { state.files[name]?.visible.append(contentsOf: [UInt8](repeating: 0, count: missing)) }
        }
    }

    package func truncate(_ file: Int, to size: Int) throws(LogStorageError) {
        try work(changes: true) { (state) throws(LogStorageError) in
            guard let name = state.open[file], let known = state.files[name] else { return }
            try Self.lives("truncate", name, &state)
            state.files[name]?.visible = Array(known.visible.prefix(size))
        }
    }

    package func syncFolder() throws(LogStorageError) {
        try work(changes: true) { (state) throws(LogStorageError) in
            try Self.lives("sync folder", nil, &state)
            for name in state.files.keys { state.files[name]?.isNamedDurably = true }
            state.removed = []
            state.renamed = []
        }
    }

    package func rename(_ name: String, to other: String) throws(LogStorageError) {
        try work(changes: true) { (state) throws(LogStorageError) in
            try Self.lives("rename", name, &state)
            guard var file = state.files.removeValue(forKey: name) else {
                throw .failed(operation: "rename", code: 2)
            }
            let before = state.files.removeValue(forKey: other)
            for (handle, open) in state.open where open == name || open == other {
                if open == name { state.open[handle] = other }
            }
            state.renamed.append((name, other, before, file.isNamedDurably))
            file.isNamedDurably = false
            state.files[other] = file
        }
    }

    package func freeBytes() throws(LogStorageError) -> Int {
        try work { state in
            let used = state.files.values.reduce(0) { $0 + $1.visible.count }
            return state.capacity == Int.max ? 1 << 40 : max(0, state.capacity - used)
        }
    }

    package func totalBytes() throws(LogStorageError) -> Int {
        try work { $0.capacity == Int.max ? 1 << 40 : $0.capacity }
    }
}
