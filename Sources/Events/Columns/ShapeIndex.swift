/// The shapes of a segment's shard as blocks look them up: which of them have a column, and which columns feed a field.
/// Made once for each state of the shard's shapes.
final class ShapeIndex: Sendable {
    /// By number; shape 0 is a whole event, nil is one that was lost with damaged blocks.
    let shapes: [StoredShape?]
    /// The type that each shape implies; 0 for none.
    let types: [UInt8]
    /// The field of each column.
    private let fields: [UInt16: UInt8]
    /// By column: 1 for each shape that has it.
    private let holders: [UInt16: [UInt8]]
    /// By field: the columns that feed it, in the order of the shapes.
    private let feeders: [UInt8: [UInt16]]

    init(_ shapes: [StoredShape?]) {
        self.shapes = shapes
        types = shapes.map { $0?.type ?? 0 }
        var fields: [UInt16: UInt8] = [:]
        var holders: [UInt16: [UInt8]] = [0: [UInt8](repeating: 0, count: max(1, shapes.count))]
        holders[0]?[0] = 1
        var feeders: [UInt8: [UInt16]] = [:]
        for (number, shape) in shapes.enumerated() where number > 0 {
            for piece in shape?.pieces ?? [] {
                guard let column = piece.column else { continue }
                holders[column, default: [UInt8](repeating: 0, count: shapes.count)][number] = 1
                if fields[column] == nil { fields[column] = piece.field }
                if feeders[piece.field]?.contains(column) != true { feeders[piece.field, default: []].append(column) }
            }
        }
        (self.fields, self.holders, self.feeders) = (fields, holders, feeders)
    }

    /// 1 for each shape that has the column; nil when none has.
    func holders(of column: UInt16) -> [UInt8]? { holders[column] }

    func field(of column: UInt16) -> EventField? { fields[column].flatMap { EventField(rawValue: $0) } }

    /// The columns that feed one of the fields in shapes that have rows, each once.
    /// - Parameter rows: rows of each shape.
    func columns(of fields: [EventField], rows: [Int]) -> [UInt16] {
        var columns: [UInt16] = []
        for field in fields {
            for column in feeders[field.rawValue] ?? [] where !columns.contains(column) {
                guard let holders = holders[column] else { continue }
                if rows.indices.contains(where: { rows[$0] > 0 && holders[$0] != 0 }) { columns.append(column) }
            }
        }
        return columns
    }
}
