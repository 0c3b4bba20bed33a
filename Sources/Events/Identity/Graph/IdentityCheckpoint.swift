internal import Logging
internal import Synchronization

/// All identity graphs as they were behind one block of the log.
struct IdentityCheckpoint: Sendable {
    var covered: BlockPlace
    var graphs: [String: IdentityGraph]

    private static let magic: UInt64 = 0x4744_494D_5552_5541  // "AURUMIDG"
    private static let version: UInt16 = 1
    static let headerBytes = 40

    /// Header, graphs, CRC-32C of both. Little-endian.
    func encoded(sequence: UInt64) -> RawBytes {
        var body = RawBytes()
        defer { body.deallocate() }
        let known = graphs.filter { !$0.value.isPristine }.sorted { $0.key < $1.key }
        for (org, graph) in known { Self.append(org, graph, to: &body) }
        var bytes = RawBytes(capacity: Self.headerBytes + body.count + 4)
        bytes.append(Self.magic)
        bytes.append(Self.version)
        bytes.append(UInt16(0))
        bytes.append(UInt32(known.count))
        bytes.append(sequence)
        bytes.append(covered.segment)
        bytes.append(covered.offset)
        bytes.append(UInt64(body.count))
        bytes.append(body.base, body.count)
        bytes.append(CRC32C.of(bytes.bytes))
        return bytes
    }

    private static func append(_ org: String, _ graph: IdentityGraph, to bytes: inout RawBytes) {
        bytes.append(text: org)
        bytes.append(UInt64(graph.version))
        bytes.append(graph.nextAge)
        bytes.append(UInt16(graph.actors.names.count))
        for name in graph.actors.names { bytes.append(text: name) }
        // Free places are left out, so nodes get new numbers.
        var numbers = [UInt32](repeating: IdentityGraph.none, count: graph.nodes.count)
        var next: UInt32 = 0
        bytes.append(UInt32(graph.count))
        for number in 0..<graph.nodes.count {
            let node = graph.nodes[UInt32(number)]
            guard node.namespace != 0 else { continue }
            numbers[number] = next
            next += 1
            bytes.append(node.key)
            bytes.append(node.age)
            bytes.append(node.namespace)
        }
        bytes.append(UInt32(graph.linkCount))
        for number in 0..<UInt32(graph.links.count) {
            let link = graph.links[number]
            guard link.cause != 0 else { continue }
            bytes.append(numbers[Int(link.a)])
            bytes.append(numbers[Int(link.b)])
            bytes.append(link.tag)
            bytes.append(link.at)
            bytes.append(link.actor)
            bytes.append(link.cause)
        }
    }

    /// The sequence in a header; 0 for bytes that are none.
    static func sequence(_ header: [UInt8]) -> UInt64 {
        header.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard reader.number(UInt64.self) == magic, reader.number(UInt64.self) != nil else { return 0 }
            return reader.number(UInt64.self) ?? 0
        }
    }

    /// The segment in which the checkpoint of a header ends.
    static func covered(_ header: [UInt8]) -> UInt32 {
        header.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 24, as: UInt32.self).littleEndian }
    }

    /// nil for bytes that are no whole checkpoint of this version.
    static func decoded(_ bytes: [UInt8]) -> IdentityCheckpoint? {
        guard bytes.count >= headerBytes + 4 else { return nil }
        return bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard reader.number(UInt64.self) == magic, reader.number(UInt16.self) == version,
                reader.number(UInt16.self) == 0, let count = reader.number(UInt32.self),
                reader.number(UInt64.self) != nil, let segment = reader.number(UInt32.self),
                let offset = reader.number(UInt32.self), let bodyBytes = reader.number(UInt64.self),
                bodyBytes <= UInt64(raw.count - headerBytes - 4)
            else { return nil }
            let end = headerBytes + Int(bodyBytes)
            let crc = raw.loadUnaligned(fromByteOffset: end, as: UInt32.self)
            guard CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[0..<end])) == UInt32(littleEndian: crc) else {
                return nil
            }
            var graphs: [String: IdentityGraph] = [:]
            for _ in 0..<count {
                guard let (org, graph) = graph(&reader) else { return nil }
                graphs[org] = graph
            }
            let place = BlockPlace(segment: segment, offset: offset)
            return IdentityCheckpoint(covered: place, graphs: graphs)
        }
    }

    private static func graph(_ reader: inout ByteReader) -> (String, IdentityGraph)? {
        var graph = IdentityGraph()
        guard let org = reader.text(), let version = reader.number(UInt64.self),
            let age = reader.number(UInt64.self), let actors = reader.number(UInt16.self)
        else { return nil }
        (graph.version, graph.nextAge) = (Int(clamping: version), age)
        for _ in 0..<actors {
            guard let name = reader.text() else { return nil }
            _ = graph.actors.number(name)
        }
        guard let nodes = reader.number(UInt32.self), reader.has(Int(nodes) * 17) else { return nil }
        graph.reserve(Int(nodes))
        for _ in 0..<nodes {
            guard let key = reader.number(UInt64.self), let age = reader.number(UInt64.self),
                let namespace = reader.number(UInt8.self)
            else { return nil }
            _ = graph.add(key, namespace, age: age)
        }
        guard let links = reader.number(UInt32.self) else { return nil }
        for _ in 0..<links {
            guard let a = reader.number(UInt32.self), let b = reader.number(UInt32.self), a < nodes, b < nodes,
                let tag = reader.number(UInt64.self), let at = reader.number(Int64.self),
                let actor = reader.number(UInt16.self), let code = reader.number(UInt8.self),
                let cause = LinkCause(rawValue: code)
            else { return nil }
            graph.restore(a, b, IdentityGraph.Link(cause, tag: tag, at: at, actor: actor))
        }
        graph.settleAll()
        return (org, graph)
    }
}

extension IdentityGraph {
    /// Finds the persons of nodes and links that were put in one by one.
    mutating func settleAll() {
        var isSettled = [Bool](repeating: false, count: nodes.count)
        var group: [UInt32] = []
        for number in 0..<nodes.count where !isSettled[number] {
            group.removeAll(keepingCapacity: true)
            group.append(UInt32(number))
            isSettled[number] = true
            var next = 0
            while next < group.count {
                eachLink(group[next]) { _, _, other in
                    guard !isSettled[Int(other)] else { return }
                    isSettled[Int(other)] = true
                    group.append(other)
                }
                next += 1
            }
            settle(group)
        }
    }
}

/// Reads little-endian values one behind the other; nil past the end.
private struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    private var place = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func number<Word: FixedWidthInteger>(_ type: Word.Type) -> Word? {
        guard place + MemoryLayout<Word>.size <= bytes.count else { return nil }
        defer { place += MemoryLayout<Word>.size }
        return Word(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: type))
    }

    /// Whether as many bytes are left.
    func has(_ count: Int) -> Bool { count <= bytes.count - place }

    mutating func text() -> String? {
        guard let count = number(UInt16.self), place + Int(count) <= bytes.count else { return nil }
        defer { place += Int(count) }
        return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[place..<place + Int(count)]), as: UTF8.self)
    }
}

extension RawBytes {
    fileprivate mutating func append(text: String) {
        let bytes = Array(text.utf8.prefix(Int(UInt16.max)))
        append(UInt16(bytes.count))
        append(bytes)
    }
}

/// The two files that checkpoints are written to in turn: while one is written the other stays whole, so that a cut at
/// any moment leaves a checkpoint to start from.
final class IdentityCheckpoints: Sendable {
    private static let names = ["identity-a", "identity-b"]
    private let storage: any LogStorage
    private let freeBytesMin: Int
    private let logger: Logger
    /// The sequence of the last checkpoint; the next goes to the other file. Held while writing.
    private let sequence = Mutex<UInt64>(0)

    init(storage: any LogStorage, freeBytesMin: Int, logger: Logger) {
        (self.storage, self.freeBytesMin, self.logger) = (storage, freeBytesMin, logger)
    }

    /// The newest whole checkpoint that the log reaches. The older file is read only where the newer is of no use.
    func newest(logEnd: BlockPlace?) -> IdentityCheckpoint? {
        let known = (try? storage.names()) ?? []
        let files = Self.names.filter { known.contains($0) }.map { name in
            (name: name, sequence: (try? read(name, IdentityCheckpoint.headerBytes)).map(IdentityCheckpoint.sequence))
        }
        for (name, sequence) in files.sorted(by: { $0.sequence ?? 0 > $1.sequence ?? 0 }) {
            guard let sequence, sequence > 0, let bytes = try? read(name, .max),
                let found = IdentityCheckpoint.decoded(bytes)
            else {
                logger.warning("an identity checkpoint is damaged", metadata: ["code": "identity_checkpoint_damaged"])
                continue
            }
            self.sequence.withLock { $0 = max($0, sequence) }
            // A log that ends before its checkpoint is another log.
            if let logEnd, found.covered < logEnd { return found }
        }
        return nil
    }

    /// The whole checkpoints of a folder, for a backup: name and bytes.
    static func copies(_ storage: any LogStorage) throws(LogStorageError) -> [(name: String, bytes: [UInt8])] {
        let known = try storage.names()
        var copies: [(name: String, bytes: [UInt8])] = []
        for name in names where known.contains(name) {
            let file = try LogFile(storage, name)
            let bytes = try file.read(at: 0, count: try file.size())
            // One that is being written is not whole; the other one is.
            if IdentityCheckpoint.decoded(bytes) != nil { copies.append((name, bytes)) }
        }
        return copies
    }

    /// The segment in which the oldest checkpoint ends that may be used; nil without one.
    var oldestCovered: UInt32? {
        let known = (try? storage.names()) ?? []
        let covered = Self.names.filter { known.contains($0) }.compactMap { name -> UInt32? in
            guard let header = try? read(name, IdentityCheckpoint.headerBytes),
                IdentityCheckpoint.sequence(header) > 0
            else { return 0 }
            return IdentityCheckpoint.covered(header)
        }
        return covered.min()
    }

    private func read(_ name: String, _ count: Int) throws(LogStorageError) -> [UInt8] {
        let file = try LogFile(storage, name)
        return try file.read(at: 0, count: min(count, try file.size()))
    }

    /// Writes what `content` answers; one at a time. A failure is logged, and the log still holds everything.
    func write(_ content: () -> IdentityCheckpoint?) {
        sequence.withLock { sequence in
            guard let checkpoint = content() else { return }
            let bytes = checkpoint.encoded(sequence: sequence + 1)
            defer { bytes.deallocate() }
            do throws(LogStorageError) {
                guard try storage.freeBytes() >= freeBytesMin + bytes.count else { throw .noSpace }
                let name = Self.names[Int((sequence + 1) % 2)]
                let isNew = !(try storage.names().contains(name))
                let file = try LogFile(storage, name, create: true)
                try file.write([bytes.bytes], at: 0)
                try file.sync()
                if isNew { try storage.syncFolder() }
                sequence += 1
            } catch {
                logger.warning(
                    "the identity checkpoint was not written: \(error.sentence)",
                    metadata: ["code": "identity_checkpoint_failed"])
            }
        }
    }
}
