internal import Synchronization

/// Texts of one query by number, for all its workers: 0 is no text, 1… are texts in the order they were met. Bounded:
/// what comes when it is full is all one text.
package final class LabelTable: Sendable {
    package static let otherText = "(other)"

    private struct State: Sendable {
        var codes: [String: UInt32] = [:]
        var texts: [String] = []
        var isFull = false
    }

    private let state = Mutex(State())
    private let textsMax: Int

    /// - Parameter textsMax: texts that are told apart.
    package init(textsMax: Int) { self.textsMax = max(1, textsMax) }

    package func code(_ text: String) -> UInt32 {
        state.withLock { state in
            if let known = state.codes[text] { return known }
            if state.texts.count >= textsMax {
                state.isFull = true
                return UInt32(textsMax + 1)
            }
            state.texts.append(text)
            state.codes[text] = UInt32(state.texts.count)
            return UInt32(state.texts.count)
        }
    }

    /// nil for code 0.
    package func text(_ code: UInt32) -> String? {
        guard code > 0 else { return nil }
        return state.withLock { Int(code) <= $0.texts.count ? $0.texts[Int(code) - 1] : Self.otherText }
    }

    /// Whether texts had to be taken together.
    package var isFull: Bool { state.withLock { $0.isFull } }

    /// The place of each code's text among all texts, by code; 0 for code 0.
    package var ranks: [UInt32] {
        let texts = state.withLock { $0.texts }
        var ranks = [UInt32](repeating: 0, count: texts.count + 1)
        let order = texts.indices.sorted { texts[$0].utf8.lexicographicallyPrecedes(texts[$1].utf8) }
        for (rank, index) in order.enumerated() { ranks[index + 1] = UInt32(rank + 1) }
        return ranks
    }
}

/// One worker's way from the codes of dictionaries to the codes of a label table.
struct LabelCodes {
    private static let unknown = UInt32.max
    private static let dictionariesMax = 64
    private let table: LabelTable
    private let shorten: @Sendable (String) -> String
    private var known: [Int: [UInt32]] = [:]

    init(_ table: LabelTable, shorten: @escaping @Sendable (String) -> String = { $0 }) {
        self.table = table
        self.shorten = shorten
    }

    /// The labels of some rows of a column, in the order of `rows`.
    mutating func labels(_ column: TextColumn?, rows: [UInt32]) -> [UInt32] {
        guard let column else { return [UInt32](repeating: 0, count: rows.count) }
        if known.count > Self.dictionariesMax { known = [:] }
        let dictionary = column.dictionary
        var codes = known.removeValue(forKey: dictionary.id) ?? [0]
        let labels = rows.map { row -> UInt32 in
            let code = Int(column.codes[Int(row)])
            if code >= codes.count {
                let more = max(code + 1, dictionary.count + 1) - codes.count
                codes.append(contentsOf: repeatElement(Self.unknown, count: more))
            }
            if codes[code] == Self.unknown {
                codes[code] = table.code(shorten(dictionary.text(UInt32(code))))
            }
            return codes[code]
        }
        known[dictionary.id] = codes
        return labels
    }
}
