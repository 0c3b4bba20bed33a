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
        /// nil after the shapes changed.
        var shapeIndex: ShapeIndex?
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
            if state.shapes.count < first { state.shapeIndex = nil }
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
                state.shapeIndex = nil
                if number < state.shapes.count { state.shapes[number] = shape } else { state.shapes.append(shape) }
                number += 1
            }
        }
    }

    var shapeIndex: ShapeIndex {
        state.withLock { state in
            if let known = state.shapeIndex { return known }
            let index = ShapeIndex(state.shapes)
            state.shapeIndex = index
            return index
        }
    }

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
    /// By column and code, where a row has no other input; `UInt32.max` before it was worked out.
    private let alone = Mutex<[UInt16: [UInt32]]>([:])

    /// The number of what `inputs` lead to; `work` answers nil where they lead to nothing.
    func number(_ inputs: [UInt32], _ work: () throws -> String?) rethrows -> UInt32 {
        if let known = known.withLock({ $0[inputs] }) { return known }
        let number = try work().map { texts.number($0) } ?? 0
        known.withLock { $0[inputs] = number }
        return number
    }

    /// The number of what each code of one column leads to by itself; code 0 leads to nothing.
    func numbers(_ column: UInt16, _ codes: [UInt32], _ work: (UInt32) throws -> String?) rethrows -> [UInt32] {
        var map = alone.withLock { $0[column] } ?? [0]
        if let known = CodeMap.apply(map, to: codes) { return known }
        let highest = Int(RowMask.highest(codes))
        if map.count <= highest { map += [UInt32](repeating: .max, count: highest + 1 - map.count) }
        for code in codes where map[Int(code)] == .max {
            map[Int(code)] = try work(code).map { texts.number($0) } ?? 0
        }
        // Two readers may have worked at once: what one of them knows is as good as what the other does.
        alone.withLock { [map] in $0[column] = map }
        return CodeMap.apply(map, to: codes) ?? []
    }
}

/// For each code the first one whose text counts the same.
final class Representatives: Sendable {
    private struct State {
        /// By code: `UInt32.max` before it was looked at.
        var known: [UInt32] = []
        var first: [String: UInt32] = [:]

        mutating func work(_ code: UInt32, _ gist: (UInt32) -> String?) -> UInt32 {
            guard let text = gist(code) else { return 0 }
            if let known = first[text] { return known }
            first[text] = code
            return code
        }
    }

    private let state = Mutex(State())

    /// - Parameter gist: what counts of a code's text; nil for nothing.
    func codes(_ codes: [UInt32], _ gist: (UInt32) -> String?) -> [UInt32] {
        if let known = CodeMap.apply(state.withLock { $0.known }, to: codes) { return known }
        let known = state.withLock { state in
            let highest = Int(RowMask.highest(codes))
            if state.known.count <= highest {
                state.known += [UInt32](repeating: .max, count: highest + 1 - state.known.count)
                state.known[0] = 0
            }
            for code in codes where state.known[Int(code)] == .max {
                let answer = state.work(code, gist)
                state.known[Int(code)] = answer
            }
            return state.known
        }
        return CodeMap.apply(known, to: codes) ?? []
    }
}

/// What other code stands for each code.
enum CodeMap {
    /// The code that `map` has for each of `codes`; nil when it has none for one of them.
    /// - Parameter map: `UInt32.max` where it has none.
    static func apply(_ map: [UInt32], to codes: [UInt32]) -> [UInt32]? {
        guard Int(RowMask.highest(codes)) < map.count else { return nil }
        var hasAll = true
        let mapped = [UInt32](unsafeUninitializedCapacity: codes.count) { out, filled in
            map.withUnsafeBufferPointer { map in
                codes.withUnsafeBufferPointer { codes in
                    var highest: UInt32 = 0
                    for place in 0..<codes.count {
                        let code = map[Int(codes[place])]
                        out[place] = code
                        highest = max(highest, code)
                    }
                    hasAll = highest != .max
                }
            }
            filled = codes.count
        }
        return hasAll ? mapped : nil
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
        /// By code of a text; `UInt32.max` before it was looked at.
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
        let source = namespace.map { Source(dictionary: column.dictionary.id, namespace: $0) }
        let before = source.flatMap { source in state.withLock { $0.known[source] } } ?? []
        if let codes = CodeMap.apply(before, to: column.codes) { return codes }
        let known = state.withLock { state in
            var known = source.flatMap { state.known.removeValue(forKey: $0) } ?? []
            let most = Int(RowMask.highest(column.codes))
            if known.count <= most { known += [UInt32](repeating: .max, count: most + 1 - known.count) }
            known[0] = 0
            for code in column.codes where known[Int(code)] == .max {
                known[Int(code)] = state.code(key(column.dictionary.text(code)))
            }
            if let source { state.known[source] = known }
            return known
        }
        return CodeMap.apply(known, to: column.codes) ?? []
    }

    var keys: [UInt64] { state.withLock { $0.keys } }
}
