internal import AurumCore
internal import Foundation
internal import Solar
import Testing

@Suite struct RuleBookTests {
    private let book: RuleBook
    private let text: String
    init() throws {
        book = try RuleBook()
        text = Asset.text("rules/solar-rules.json")
    }

    private func day(_ text: String) throws -> CivilDate { try #require(CivilDate(text)) }

    private func rate(_ id: String, on date: String) throws -> Double? {
        book.applicable(on: try day(date), utility: .conEdison, propertyClass: .class1)
            .first { $0.rule.id == id && $0.counted != .no }?.rule.parameters["rate"]?.likely
    }

    @Test(arguments: [
        ("2023-12-31", 0.30, 0.05), ("2024-01-01", 0.30, 0.075), ("2025-12-31", 0.30, 0.075), ("2026-01-01", 0, 0.075),
        ("2026-11-21", 0, 0.075),
    ])
    func `the federal credit ends with 2025 and the city's abatement rose in 2024`(
        date: String, federal: Double, abatement: Double
    ) throws {
        #expect(try rate("us.25d", on: date) == federal)
        #expect(try rate("nyc.abatement", on: date) == abatement)
    }

    @Test func `the abatement ends before 2036`() throws {
        let applied = book.applicable(on: try day("2036-01-01"), utility: .conEdison, propertyClass: .class1)
        #expect(!applied.contains { $0.rule.id == "nyc.abatement" })
        let before = book.applicable(on: try day("2035-12-31"), utility: .conEdison, propertyClass: .class1)
        #expect(before.contains { $0.rule.id == "nyc.abatement" })
    }

    @Test func `each utility has its own tariff and charge, and leased systems' credit is never the household's`()
        throws
    {
        let date = try day("2026-11-21")
        for (utility, tariff, charge) in [
            (Utility.conEdison, "tariff.coned", 0.96), (.psegLongIsland, "tariff.psegli", 0.9),
        ] {
            let applied = book.applicable(on: date, utility: utility, propertyClass: .class1)
            #expect(applied.filter { $0.rule.kind == .tariff }.map(\.rule.id) == [tariff])
            #expect(applied.filter { $0.rule.kind == .charge }.map { $0.rule.parameters["rate"]?.likely } == [charge])
            #expect(applied.filter { $0.rule.id.hasPrefix("us.48e") }.allSatisfy { $0.counted == .no })
        }
    }

    @Test func `a passed check is told, and long past it promises stop counting`() throws {
        #expect(book.alerts(on: try day("2026-12-31")).isEmpty)
        #expect(book.alerts(on: try day("2027-01-02")).allSatisfy { $0.state == .dueSoon })
        #expect(book.alerts(on: try day("2027-02-01")).allSatisfy { $0.state == .overdue })
        let late = book.applicable(on: try day("2027-06-01"), utility: .conEdison, propertyClass: .class1)
        let credit = try #require(late.first { $0.rule.id == "nys.credit" })
        #expect(credit.state == .lapsed)
        #expect(credit.counted == .no)
        let tariff = try #require(late.first { $0.rule.kind == .tariff })
        #expect(tariff.counted == .yes)
    }

    @Test(arguments: [
        (#""source": {"#, #""origin": {"#, ["source is missing", "unknown field origin"]),
        (#""verifyBy": "2027-01-31""#, #""verifyBy": """#, ["verifyBy is missing"]),
        (
            #""effectiveTo": "2024-01-01""#, #""effectiveTo": "2025-01-01""#,
            ["nyc.abatement@1 and nyc.abatement@2 overlap"]
        ),
        (
            #""id": "tariff.coned""#, #""id": "tariff.other", "x": 1"#,
            ["unknown field x", "tariff (coned): no rule from"]
        ),
        (#""cap": "5000""#, #""cap": "5,000""#, ["not a decimal"]),
        (#""cap": "5000""#, #""limit": "5000""#, ["parameters are"]),
        (#""low": "3.00""#, #""low": "3.90""#, ["not in order"]),
        (#""id": "price.flat""#, #""id": "price.level""#, ["price.flat: no rule from 2026-01-01"]),
    ])
    func `a broken rule file lists its problems`(old: String, new: String, words: [String]) {
        let broken = text.replacingOccurrences(of: old, with: new)
        #expect(broken != text)
        let error = #expect(throws: RuleBookError.self) { try RuleBook(json: broken) }
        for word in words {
            #expect(error?.problems.contains { $0.contains(word) } == true, "\(word): \(error?.problems ?? [])")
        }
    }

    @Test func `all problems of a file are listed at once`() {
        let broken = text.replacingOccurrences(of: #""cap": "5000""#, with: #""cap": "much""#)
            .replacingOccurrences(of: #""low": "3.00""#, with: #""low": "9.00""#)
        let error = #expect(throws: RuleBookError.self) { try RuleBook(json: broken) }
        #expect((error?.problems.count ?? 0) >= 2)
        #expect(throws: RuleBookError.self) { try RuleBook(json: "[]") }
    }

    @Test func `no rule parameter stands in the sources as a number`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources/Solar")
        let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
        let numbers = [
            "0.075", "62500", "62_500", "23.09", "0.96", "17.62", "20.28", "33.56", "0.215", "5_000", "0.85", "0.3 *",
        ]
        var seen = 0
        for case let file as URL in files where file.pathExtension == "swift" && !file.path.contains("/Production/") {
            seen += 1
            let source = try String(contentsOf: file, encoding: .utf8)
            for number in numbers { #expect(!source.contains(number), "\(file.lastPathComponent) holds \(number)") }
        }
        #expect(seen > 10)
    }
}
