internal import Synchronization

/// A form of events as a segment keeps it.
struct StoredShape: Sendable {
    struct Piece: Sendable {
        var literal: [UInt8]
        /// nil for the end of the event.
        var column: UInt16?
        var field: UInt8
    }

    var type: UInt8
    var pieces: [Piece]
}

/// A column as a segment keeps it.
struct StoredColumn: Sendable {
    var kind: HoleKind
    var path: String
}

/// What the blocks of one shard told about shapes, columns and texts, as far as they were read.
final class ShardDictionary: Sendable {
    private struct Place {
        var offset: Int
        var part: PartEntry
        var isRepeated: Bool
    }

    private struct State {
        var readThrough = 0
        var shapes: [StoredShape?] = [nil]
        var columns: [UInt16: StoredColumn] = [:]
        /// Parts with new texts that were not read yet, by column, in the order of the log.
        var waiting: [UInt16: [Place]] = [:]
        var texts: [UInt16: StoredTexts] = [:]
        var derived: [String: DerivedTexts] = [:]
        var representatives: [String: Representatives] = [:]
        var persons: [String: PersonTable] = [:]
    }

    private let state = Mutex(State())

    /// Takes in what the blocks up to the one at `offset` brought.
    func extend(
        through offset: Int, entries: [SegmentCatalog.Entry], shard: UInt32, of catalog: SegmentCatalog
    ) throws {
        try state.withLock { state in
            guard offset > state.readThrough else { return }
            for entry in entries where entry.shard == shard && entry.bringsNew {
                guard entry.offset > state.readThrough, entry.offset <= offset else { continue }
                if let block = try catalog.view(entry.offset) { try Self.take(block, &state) }
            }
            state.readThrough = offset
        }
    }

    /// Takes in what a block repeats of the one before it, then what it brings itself.
    private static func take(_ block: BlockView, _ state: inout State) throws {
        for isRepeated in [true, false] {
            do throws(BlockView.Failure) {
                if let columns = try block.read(.newColumns, isRepeated: isRepeated, { $0.bytesOfRun() }) {
                    Self.columns(columns, &state)
                }
                if let (first, shapes) = try block.read(.newShapes, isRepeated: isRepeated, Self.shapesPart) {
                    Self.shapes(first, shapes, &state)
                }
            } catch {
                if case .storage(let failure) = error { throw failure }
            }
            let role = PartRole.entries.rawValue | (isRepeated ? PartRole.repeatedBit : 0)
            for part in block.parts where part.role == role {
                state.waiting[part.column, default: []].append(
                    Place(offset: block.offset, part: part, isRepeated: isRepeated))
            }
        }
    }

    private static func shapesPart(_ reader: inout StreamReader) -> (Int, [UInt8])? {
        guard let first = reader.word(UInt32.self), let bytes = reader.bytesOfRun() else { return nil }
        return (Int(first), bytes)
    }

    private static func columns(_ bytes: [UInt8], _ state: inout State) {
        bytes.withUnsafeBytes { raw in
            var reader = StreamReader(raw)
            while let number = reader.word(UInt16.self), let code = reader.byte(), let kind = HoleKind(rawValue: code),
                let length = reader.varint(), let path = reader.slice(length)
            {
                state.columns[number] = StoredColumn(kind: kind, path: String(decoding: path, as: UTF8.self))
            }
        }
    }

    private static func shapes(_ first: Int, _ bytes: [UInt8], _ state: inout State) {
        bytes.withUnsafeBytes { raw in
            var reader = StreamReader(raw)
            guard first <= ShapeTree.endingsMax else { return }
            while state.shapes.count < first { state.shapes.append(nil) }
            var number = first
            while number <= ShapeTree.endingsMax, let type = reader.byte(), let holes = reader.varint() {
                var shape = StoredShape(type: type, pieces: [])
                for index in 0...holes {
                    guard let length = reader.varint(), let literal = reader.slice(length) else { return }
                    var piece = StoredShape.Piece(literal: Array(literal), column: nil, field: ShapeTree.noField)
                    if index < holes {
                        guard let column = reader.word(UInt16.self), let field = reader.byte() else { return }
                        (piece.column, piece.field) = (column, field)
                    }
                    shape.pieces.append(piece)
                }
                if number < state.shapes.count { state.shapes[number] = shape } else { state.shapes.append(shape) }
                number += 1
            }
        }
    }

    /// Shape 0 is a whole event.
    var shapes: [StoredShape?] { state.withLock { $0.shapes } }

    func column(_ number: UInt16) -> StoredColumn? { state.withLock { $0.columns[number] } }

    var columns: [UInt16: StoredColumn] { state.withLock { $0.columns } }

    /// The texts of a column, as far as `extend` has gone.
    func texts(_ column: UInt16, of catalog: SegmentCatalog) throws -> StoredTexts {
        try state.withLock { state in
            let texts = state.texts[column] ?? StoredTexts()
            state.texts[column] = texts
            for place in state.waiting.removeValue(forKey: column) ?? [] {
                guard let block = try catalog.view(place.offset) else { continue }
                do throws(BlockView.Failure) {
                    let known = texts.count
                    let parts = try block.read(.entries, column: column, isRepeated: place.isRepeated) {
                        reader -> (Int, Int, [UInt8], [UInt8])? in
                        guard let first = reader.word(UInt32.self), let count = reader.word(UInt32.self) else {
                            return nil
                        }
                        if Int(first) + Int(count) <= known + 1 { return (0, 0, [], []) }
                        guard let entries = reader.bytesOfRun(), let uuids = reader.bytesOfRun()
                        else { return nil }
                        return (Int(first), Int(count), entries, uuids)
                    }
                    guard let parts, parts.0 > 0 else { continue }
                    _ = texts.add(first: parts.0, count: parts.1, entries: parts.2, uuids: parts.3)
                } catch {
                    if case .storage(let failure) = error { throw failure }
                }
            }
            return texts
        }
    }

    /// What was worked out for a column, kept for all blocks of the shard.
    func derived(_ name: ColumnName) -> DerivedTexts {
        state.withLock { state in
            let known = state.derived[name.path] ?? DerivedTexts()
            state.derived[name.path] = known
            return known
        }
    }

    func representatives(_ name: ColumnName, _ column: UInt16, _ circumstances: String) -> Representatives {
        state.withLock { state in
            let key = "\(column) \(name.path) \(circumstances)"
            let known = state.representatives[key] ?? Representatives()
            state.representatives[key] = known
            return known
        }
    }

    func persons(_ org: String) -> PersonTable {
        state.withLock { state in
            let known = state.persons[org] ?? PersonTable()
            state.persons[org] = known
            return known
        }
    }
}

/// Texts that follow from several values of a row: each combination is worked out once.
final class DerivedTexts: Sendable {
    let texts = GrowingTexts()
    private let known = Mutex<[[UInt32]: UInt32]>([:])

    /// The number of what `inputs` lead to; `work` answers nil where they lead to nothing.
    func number(_ inputs: [UInt32], _ work: () throws -> String?) rethrows -> UInt32 {
        if let known = known.withLock({ $0[inputs] }) { return known }
        let number = try work().map { texts.number($0) } ?? 0
        known.withLock { $0[inputs] = number }
        return number
    }
}

/// For each code the first one whose text counts the same.
final class Representatives: Sendable {
    private struct State {
        /// By code: `UInt32.max` before it was looked at.
        var known: [UInt32] = []
        var first: [String: UInt32] = [:]
    }

    private let state = Mutex(State())

    /// - Parameter gist: what counts of a code's text; nil for nothing.
    func codes(_ codes: [UInt32], _ gist: (UInt32) -> String?) -> [UInt32] {
        state.withLock { state in
            codes.map { code in
                guard code != 0 else { return 0 }
                while state.known.count <= Int(code) { state.known.append(.max) }
                if state.known[Int(code)] != .max { return state.known[Int(code)] }
                var answer: UInt32 = 0
                if let text = gist(code) {
                    answer = state.first[text] ?? code
                    state.first[text] = answer
                }
                state.known[Int(code)] = answer
                return answer
            }
        }
    }
}

/// The persons of one organisation that the rows of a shard name.
final class PersonTable: Sendable {
    private struct Source: Hashable {
        var dictionary: Int
        var namespace: PersonIdentifier.Namespace
    }

    private struct State {
        var keys: [UInt64] = [0]
        var codes: [UInt64: UInt32] = [:]
        /// By code of a text; 0 before it was looked at.
        var known: [Source: [UInt32]] = [:]

        mutating func code(_ key: UInt64) -> UInt32 {
            if let known = codes[key] { return known }
            codes[key] = UInt32(keys.count)
            keys.append(key)
            return UInt32(keys.count - 1)
        }
    }

    let id = DictionaryNumber.next()
    private let state = Mutex(State())

    /// The persons of a column's rows, 0 where a row has no text.
    /// - Parameters:
    ///   - namespace: what the texts identify, when the column's dictionary lasts; nil forgets its codes at once.
    ///   - key: the keyed hash of a text.
    func codes(
        _ column: TextColumn, _ namespace: PersonIdentifier.Namespace?, _ key: (String) -> UInt64
    ) -> [UInt32] {
        state.withLock { state in
            let source = namespace.map { Source(dictionary: column.dictionary.id, namespace: $0) }
            var known = source.flatMap { state.known.removeValue(forKey: $0) } ?? []
            defer { if let source { state.known[source] = known } }
            let most = Int(column.codes.max() ?? 0)
            if known.count <= most { known += [UInt32](repeating: 0, count: most + 1 - known.count) }
            return column.codes.map { code in
                guard code != 0 else { return 0 }
                if known[Int(code)] == 0 { known[Int(code)] = state.code(key(column.dictionary.text(code))) }
                return known[Int(code)]
            }
        }
    }

    var keys: [UInt64] { state.withLock { $0.keys } }
}
