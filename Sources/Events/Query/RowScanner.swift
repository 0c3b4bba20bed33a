/// Selects the rows of one block after the other for a `RowFilter`. One thread at a time; one a thread.
///
/// A test of texts runs once for each distinct text of a dictionary: its verdicts are kept by dictionary and code.
package final class RowScanner {
    package let filter: RowFilter
    private let columns = BlockColumns()
    private var verdicts: [TextVerdicts]

    package init(_ filter: RowFilter) {
        self.filter = filter
        verdicts = filter.tests.map { TextVerdicts(test: $0) }
    }

    /// The rows of a block that the filter lets through, in their order.
    package func select(_ block: any ColumnBlock) throws -> RowSelection {
        let rowCount = block.rowCount
        guard rowCount > 0 else { return .none }
        var mask = RowMask.of(try block.outcomes(), allowed: filter.outcomes, rowCount: rowCount)
        guard confine(&mask, block) else { return .none }
        if !filter.replayed.isEmpty { try takeOutReplayed(&mask, block) }
        if !filter.spans(earliest: block.earliest, latest: block.latest) {
            mask.keep(try block.times(), from: filter.from, to: filter.to)
        }
        guard let test = filter.test, mask.hasAny else { return mask.selection }
        mask.formAnd(try rows(test, block))
        return mask.selection
    }

    /// Takes out the requests of others, and those that came in too late. False when nothing is left.
    private func confine(_ mask: inout RowMask, _ block: any ColumnBlock) -> Bool {
        var reach = 0
        var isWhole = true
        for request in block.requests.sorted(by: { $0.firstRow < $1.firstRow }) {
            guard filter.mayRead(org: request.org, app: request.app), request.receivedAt <= filter.receivedUntil else {
                isWhole = false
                continue
            }
            // Rows between this request and the one before it are others', or nobody's.
            if request.firstRow > reach { mask.clear(reach..<min(request.firstRow, block.rowCount)) }
            reach = max(reach, min(block.rowCount, request.firstRow + request.rowCount))
        }
        if reach == 0 { return false }
        if reach < block.rowCount || !isWhole { mask.clear(reach..<block.rowCount) }
        return true
    }

    /// Takes out the quarantined rows of which a replay brought another.
    private func takeOutReplayed(_ mask: inout RowMask, _ block: any ColumnBlock) throws {
        var outcomes: [UInt8]?
        for request in block.requests {
            guard request.org == filter.org, let name = request.name else { continue }
            for index in filter.replayed.indices(of: name) where index < request.rowCount {
                let known = try outcomes ?? block.outcomes()
                outcomes = known
                let row = request.firstRow + index
                guard known.indices.contains(row), known[row] == EventOutcome.quarantined.rawValue else { continue }
                mask.clear(row..<row + 1)
            }
        }
    }

    private func rows(_ tree: RowTestTree, _ block: any ColumnBlock) throws -> RowMask {
        switch tree {
        case .test(let number): return try rows(ofTest: number, block)
        case .not(let part):
            var mask = try rows(part, block)
            mask.invert()
            return mask
        case .all(let parts):
            var mask = RowMask(rowCount: block.rowCount, value: true)
            for part in parts where mask.hasAny { mask.formAnd(try rows(part, block)) }
            return mask
        case .any(let parts):
            var mask = RowMask(rowCount: block.rowCount, value: false)
            for part in parts { mask.formOr(try rows(part, block)) }
            return mask
        }
    }

    private func rows(ofTest number: Int, _ block: any ColumnBlock) throws -> RowMask {
        let test = filter.tests[number]
        let nobody = RowMask(rowCount: block.rowCount, value: false)
        if test.column.path == "value" {
            if case .exists = test.kind {
                return try block.values().map { RowMask.of($0) { $0 != .min } } ?? nobody
            }
            if test.isOfNumbers {
                // The same quotient as `StoredEvent.number`: the double nearest to the decimal.
                let numbers = try block.values().map { $0.map { $0 == .min ? .nan : Double($0) / 1_000_000 } }
                return numbers.map { RowMask.of($0, test.kind) } ?? nobody
            }
        }
        if test.isOfNumbers {
            return try block.numbers(test.column).map { RowMask.of($0, test.kind) } ?? nobody
        }
        guard let column = try columns.text(test.column, of: block) else { return nobody }
        return verdicts[number].mask(column)
    }
}

/// The verdicts of one test, by dictionary and code.
private struct TextVerdicts {
    private enum Verdict { static let unknown: UInt8 = 2 }

    /// Dictionaries whose verdicts are kept; beyond it all are forgotten.
    private static let dictionariesMax = 64
    private let test: ColumnTest
    private var known: [Int: [UInt8]] = [:]

    init(test: ColumnTest) { self.test = test }

    mutating func mask(_ column: TextColumn) -> RowMask {
        if known.count > Self.dictionariesMax { known = [:] }
        let dictionary = column.dictionary
        var verdicts = known.removeValue(forKey: dictionary.id) ?? [0]
        let top = Int(RowMask.highest(column.codes))
        if verdicts.count <= top {
            let more = max(top + 1, dictionary.count + 1) - verdicts.count
            verdicts.append(contentsOf: repeatElement(Verdict.unknown, count: more))
        }
        let mask = RowMask.of(column.codes, &verdicts) { code in test.holds(dictionary.text(code)) }
        known[dictionary.id] = verdicts
        return mask
    }
}
