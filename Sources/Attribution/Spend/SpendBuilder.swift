internal import AurumCore

/// Judges the cells of rows and gathers the good ones.
struct SpendBuilder {
    var file = SpendFile()
    var cells = SpendCells()
    /// Rows so far, bad ones included.
    private(set) var count = 0
    private let latest: Int32
    private var known: [String: Int32] = [:]
    private var indexes: [SpendLine: Int32] = [:]
    private var lastDate: (text: ArraySlice<UInt8>, day: Int32)?

    private static let textBytesMax = 300
    /// Whole units of money of one row, whatever the currency: far beyond what a campaign costs a day, and small enough
    /// that a million rows add up.
    private static let moneyMax: Int64 = 10_000_000_000
    private static let conversionsMax: Int64 = 1_000_000_000
    /// 2000-01-01.
    private static let earliest: Int32 = 10_957

    private struct Refusal: Error {
        let column: SpendColumn
        let reason: String
    }

    init(latest: CivilDate) { self.latest = Int32(clamping: latest.daysSince1970) }

    /// Takes the row in `cells`.
    mutating func add(line number: Int) {
        count += 1
        do throws(Refusal) {
            let line = try line()
            let currency = file.lines[Int(line)].currency
            file.rows.append(
                SpendRow(
                    day: try day(), line: line, figures: try figures(currency), source: Int32(clamping: number)))
        } catch {
            refuse(BadRow(line: number, column: error.column.rawValue, reason: error.reason), counted: true)
        }
    }

    mutating func refuse(_ problem: BadRow, counted: Bool = false) {
        if !counted { count += 1 }
        file.refused += 1
        if file.problems.count < SpendFile.problemsMax { file.problems.append(problem) }
    }

    /// Orders the rows and refuses those whose key came before.
    consuming func finish() -> SpendFile {
        file.lineIDs = file.lines.map(\.id)
        let order = file.lineIDs.indices.sorted { file.lineIDs[$0] < file.lineIDs[$1] }
        var rank = [Int32](repeating: 0, count: order.count)
        for (place, index) in order.enumerated() { rank[index] = Int32(place) }
        var rows = file.rows
        func key(_ row: SpendRow) -> Int64 { Int64(row.day) << 32 | Int64(rank[Int(row.line)]) }
        rows.sort { (key($0), $0.source) < (key($1), $1.source) }
        file.rows = []
        file.rows.reserveCapacity(rows.count)
        for row in rows {
            if let before = file.rows.last, key(before) == key(row) {
                let reason = "has the date and dimensions of line \(before.source) again"
                refuse(BadRow(line: Int(row.source), column: "date", reason: reason), counted: true)
            } else {
                file.rows.append(row)
            }
        }
        file.problems.sort { ($0.line, $0.column) < ($1.line, $1.column) }
        return file
    }

    // MARK: dimensions

    private mutating func line() throws(Refusal) -> Int32 {
        let key = cells.lineKey
        if let index = known[key] { return index }
        let line = SpendLine(
            network: try text(0, .network).lowercased(), accountID: try text(1, .accountID),
            campaignID: try text(2, .campaignID), campaign: try text(3, .campaign), adGroupID: try text(4, .adGroupID),
            creativeID: try text(5, .creativeID), country: try country(), currency: try currency())
        if line.network.isEmpty { throw Refusal(column: .network, reason: "is empty") }
        if line.campaign.isEmpty, line.campaignID.isEmpty { throw Refusal(column: .campaign, reason: "is empty") }
        let index = indexes[line] ?? Int32(file.lines.count)
        if index == file.lines.count {
            file.lines.append(line)
            indexes[line] = index
        }
        known[key] = index
        return index
    }

    private func text(_ cell: Int, _ column: SpendColumn) throws(Refusal) -> String {
        var bytes = cells.slice(cell)
        // An export puts an apostrophe before what a spreadsheet would run.
        if bytes.first == UInt8(ascii: "'"), let next = bytes.dropFirst().first, CSVCell.formulaStarts.contains(next) {
            bytes = bytes.dropFirst()
        }
        guard bytes.count <= Self.textBytesMax else {
            throw Refusal(column: column, reason: "is longer than \(Self.textBytesMax) bytes")
        }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw Refusal(column: column, reason: "holds a control character")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Refusal(column: column, reason: "is not UTF-8")
        }
        return text
    }

    private func country() throws(Refusal) -> String {
        let text = try text(6, .country).uppercased()
        guard text.isEmpty || (text.utf8.count == 2 && text.utf8.allSatisfy { (65...90).contains($0) }) else {
            throw Refusal(column: .country, reason: "is no two-letter code of ISO 3166")
        }
        return text
    }

    private func currency() throws(Refusal) -> Currency {
        let text = try text(7, .currency)
        guard let currency = Currency(text) else {
            throw Refusal(column: .currency, reason: text.isEmpty ? "is empty" : "is no three-letter code of ISO 4217")
        }
        return currency
    }

    // MARK: figures

    private mutating func day() throws(Refusal) -> Int32 {
        let bytes = cells.slice(8)
        if let lastDate, lastDate.text.elementsEqual(bytes) { return lastDate.day }
        guard let date = CivilDate(String(decoding: bytes, as: UTF8.self)) else {
            throw Refusal(column: .date, reason: bytes.isEmpty ? "is empty" : "is no date such as 2026-11-21")
        }
        let day = Int32(clamping: date.daysSince1970)
        guard day <= latest else { throw Refusal(column: .date, reason: "lies in the future") }
        guard day >= Self.earliest else { throw Refusal(column: .date, reason: "lies before 2000") }
        lastDate = (ArraySlice(Array(bytes)), day)
        return day
    }

    private func figures(_ currency: Currency) throws(Refusal) -> SpendFigures {
        let digits = currency.fractionDigits
        guard let spend = try number(9, .spend, digits: digits, most: Self.moneyMax) else {
            throw Refusal(column: .spend, reason: "is empty")
        }
        return SpendFigures(
            spendMinor: spend, impressions: try number(10, .impressions, digits: 0),
            clicks: try number(11, .clicks, digits: 0),
            conversionsMillionths: try number(12, .conversions, digits: 6, most: Self.conversionsMax),
            valueMinor: try number(13, .value, digits: digits, most: Self.moneyMax, rounds: true))
    }

    /// A number of at most 12 digits before the point as whole units of `digits` digits after it; nil for an empty
    /// cell.
    /// - Parameter most: what it may be at most, as the file writes it; nil for what 12 digits hold.
    private func number(
        _ cell: Int, _ column: SpendColumn, digits: Int, most: Int64? = nil, rounds: Bool = false
    ) throws(Refusal) -> Int64? {
        let bytes = cells.slice(cell)
        if bytes.isEmpty { return nil }
        if bytes.first == UInt8(ascii: "-") { throw Refusal(column: column, reason: "is negative") }
        guard let number = SpendNumber(bytes, digits: digits) else {
            throw Refusal(column: column, reason: "is no number such as 1234.56")
        }
        let unit = (0..<digits).reduce(Int64(1)) { unit, _ in unit * 10 }
        if let most, number.rounded > most * unit { throw Refusal(column: column, reason: "is more than \(most)") }
        if number.isExact { return number.units }
        guard rounds else {
            let reason = digits == 0 ? "is no whole number" : "has more than \(digits) digits after the point"
            throw Refusal(column: column, reason: reason)
        }
        return number.rounded
    }
}

/// Decimal text as whole units, without a floating-point number anywhere.
struct SpendNumber {
    let units: Int64
    /// No digit but zeros follows the last unit.
    let isExact: Bool
    private let rest: Rest
    private enum Rest { case none, belowHalf, half, aboveHalf }
    private static let wholeDigitsMax = 12
    private static let digitsMax = 40

    /// nil for what is no number: digits, perhaps a point and digits.
    init?(_ bytes: ArraySlice<UInt8>, digits: Int) {
        var units: Int64 = 0
        var (whole, after) = (0, -1)
        var rest = Rest.none
        for byte in bytes {
            if byte == UInt8(ascii: "."), after < 0 {
                after = 0
                continue
            }
            guard (48...57).contains(byte) else { return nil }
            if after < 0 { whole += 1 } else { after += 1 }
            guard whole <= Self.wholeDigitsMax, after <= Self.digitsMax else { return nil }
            if after <= digits {
                units = units * 10 + Int64(byte - 48)
            } else if after == digits + 1 {
                rest = byte == 48 ? .none : byte < 53 ? .belowHalf : byte == 53 ? .half : .aboveHalf
            } else if byte != 48 {
                rest = rest == .half ? .aboveHalf : rest == .none ? .belowHalf : rest
            }
        }
        guard whole > 0, after != 0 else { return nil }
        for _ in max(0, after)..<max(digits, max(0, after)) { units *= 10 }
        self.units = units
        self.rest = rest
        isExact = rest == .none
    }

    /// To the nearest unit, halves to the even one.
    var rounded: Int64 {
        switch rest {
        case .none, .belowHalf: units
        case .half: units + (units & 1)
        case .aboveHalf: units + 1
        }
    }
}
