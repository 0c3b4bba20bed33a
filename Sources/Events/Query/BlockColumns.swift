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
            let code = texts.code(value(request))
            let end = min(block.rowCount, request.firstRow + request.rowCount)
            for row in max(0, min(request.firstRow, end))..<end { codes[row] = code }
        }
        return TextColumn(codes: codes, dictionary: texts)
    }
}

/// A dictionary that one thread fills while it reads.
private final class GrowingTexts: TextDictionary, @unchecked Sendable {
    // Belongs to one `BlockColumns` and is never handed to another thread.
    let id = DictionaryNumber.next()
    private var texts: [String] = []
    private var codes: [String: UInt32] = [:]

    var count: Int { texts.count }

    func text(_ code: UInt32) -> String { texts[Int(code) - 1] }

    func code(_ text: String) -> UInt32 {
        if let known = codes[text] { return known }
        texts.append(text)
        codes[text] = UInt32(texts.count)
        return UInt32(texts.count)
    }
}
