/// One row of the credit of a lead or a sale.
struct CreditPart: Sendable {
    let model: CreditModel
    /// Of its touch in the journey, among those that earn.
    let position: Int
    let credit: Credit

    /// Rows of one statement at most: sixteen values each, and far fewer than either engine takes.
    private static let rowsMax = 32

    static func all(_ models: [(CreditModel, [Credit])]) -> [CreditPart] {
        models.flatMap { model, credits in
            credits.enumerated().map { CreditPart(model: model, position: $0.offset, credit: $0.element) }
        }
    }

    /// The same as few statements store them: what a statement costs beside its rows is most of what one row does.
    /// Numbers of rows are powers of two, so that few statements are prepared, whatever the length of journeys.
    static func byStatement(_ parts: [CreditPart]) -> [ArraySlice<CreditPart>] {
        var (pieces, rest, size) = ([ArraySlice<CreditPart>](), parts[...], rowsMax)
        while !rest.isEmpty {
            while size > rest.count { size /= 2 }
            pieces.append(rest.prefix(size))
            rest = rest.dropFirst(size)
        }
        return pieces
    }
}
