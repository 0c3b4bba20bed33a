/// The columns of a block as queries name them: those that follow from a row's type, outcome or request are made here,
/// all others come from the block. One thread at a time.
final class BlockColumns {
    private static let typeNames = TextList(EventType.allCases.map(\.name))
    private static let outcomeNames = TextList(EventOutcome.allCases.map(\.name))
    /// Organisations, apps and formats that were met: one growing dictionary each.
    private let organisations = GrowingTexts()
    private let apps = GrowingTexts()
    private let formats = GrowingTexts()

    /// The texts of a column, at most `rowCount` codes; nil when no row has one.
    func text(_ column: ColumnName, of block: any ColumnBlock) throws -> TextColumn? {
        switch column.path {
        case "type":
            return TextColumn(codes: try block.types().map { $0 <= 15 ? UInt32($0) : 0 }, dictionary: Self.typeNames)
        case "outcome":
            return TextColumn(
                codes: try block.outcomes().map { $0 < 5 ? UInt32($0) + 1 : 0 }, dictionary: Self.outcomeNames)
        case "org": return spread(block, organisations, \.org)
        case "app": return spread(block, apps, \.app)
        case "source_format": return spread(block, formats, \.format)
        default: return try block.text(column)
        }
    }

    /// Gives each row the value of its request.
    private func spread(
        _ block: any ColumnBlock, _ texts: GrowingTexts, _ value: (RequestSpan) -> String
    ) -> TextColumn {
        var codes = [UInt32](repeating: 0, count: block.rowCount)
        for request in block.requests {
            let code = texts.number(value(request))
            let end = min(block.rowCount, request.firstRow + request.rowCount)
            for row in max(0, min(request.firstRow, end))..<end { codes[row] = code }
        }
        return TextColumn(codes: codes, dictionary: texts)
    }
}
