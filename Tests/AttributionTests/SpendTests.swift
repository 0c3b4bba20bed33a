import Attribution
import AurumCore
import Database
import Telemetry
import TestSupport
import Testing

/// Files of spend, and what an import leaves in the tables of both engines.
struct SpendTests {
    private static let header =
        "date,network,account_id,campaign_id,campaign,ad_group_id,creative_id,country,currency,spend,impressions,"
        + "clicks,conversions,value\n"
    private static let day = CivilDate("2026-11-22") ?? CivilDate(daysSince1970: 0)

    private func csv(_ rows: String, header: String = header) throws -> SpendFile {
        try SpendReader.csv(Array((header + rows).utf8), latest: Self.day)
    }

    private func store(_ open: OpenDatabase) -> SpendStore {
        SpendStore(database: open.database, clock: open.clock, registry: open.registry)
    }

    // MARK: reading

    @Test func `a row is read to the minor unit, whatever its order, delimiter, quotes and case`() throws {
        let full = try csv(
            "2026-11-20,Google,a1,c1,\"Spring, New York\",g1,k1,us,usd,1234.56,10000,321,4.5,99.999\n")
        let other = try SpendReader.csv(
            Array(
                """
                \u{FEFF}Value;Campaign ;spend;currency;date;network;account_id;campaign_id;ad_group_id;creative_id;\
                country;impressions;clicks;conversions;note\r
                99.999;"Spring, New York";1234.5600;USD;2026-11-20; google ;a1;c1;g1;k1;US;10000;321;4.500000;x\r

                """.utf8), latest: Self.day)
        #expect(full.lines == other.lines && other.ignoredColumns == ["note"])
        for file in [full, other] {
            #expect(file.refused == 0 && file.rows.count == 1)
            #expect(
                file.rows[0].figures
                    == SpendFigures(
                        spendMinor: 123_456, impressions: 10_000, clicks: 321, conversionsMillionths: 4_500_000,
                        valueMinor: 10_000))
            #expect(file.lines[0].network == "google" && file.lines[0].country == "US")
        }
        let few = try csv("2026-11-20,meta,x,JPY,500\n", header: "date,network,campaign,currency,spend\n")
        #expect(few.rows[0].figures == SpendFigures(spendMinor: 500))
        let json = try SpendReader.json(
            Array(
                """
                {"note":["]}",{"rows":1}], "rows" : [ {"date":"2026-11-20","network":"meta","campaign":"x \\"]","spend":12.34,
                "currency":"EUR","clicks":7,"impressions":null,"campaign_id":991}, {"date":"2026-11-19","network":"meta",
                "campaign":"y","spend":"0.10","currency":"KWD","odd":1} ] }
                """.utf8), latest: Self.day)
        #expect(json.rows.map(\.figures.spendMinor) == [100, 1234] && json.ignoredColumns == ["odd"])
        #expect(json.lines[0].campaign == "x \"]" && json.lines[0].campaignID == "991")
    }

    @Test func `halves of a value go to the even minor unit, and spend is never rounded`() throws {
        for (value, minor) in [("1.005", 100), ("1.015", 102), ("1.0150000001", 102), ("1.0049999", 100), ("2", 200)] {
            let file = try csv("2026-11-20,g,,,c,,,,USD,1,,,,\(value)\n")
            #expect(file.rows[0].figures.valueMinor == Int64(minor), "\(value)")
            let spend = try csv("2026-11-20,g,,,c,,,,USD,\(value),,,,\n")
            #expect(spend.refused == (value == "2" ? 0 : 1), "\(value)")
        }
    }

    @Test(arguments: [
        ("2026-13-01,g,,,c,,,,USD,1,,,,", "date"), ("2026-11-23,g,,,c,,,,USD,1,,,,", "date"),
        ("1999-12-31,g,,,c,,,,USD,1,,,,", "date"), (",g,,,c,,,,USD,1,,,,", "date"),
        ("2026-11-20,,,,c,,,,USD,1,,,,", "network"), ("2026-11-20,g,,,,,,,USD,1,,,,", "campaign"),
        ("2026-11-20,g,,,c,,,USA,USD,1,,,,", "country"), ("2026-11-20,g,,,c,,,,US,1,,,,", "currency"),
        ("2026-11-20,g,,,c,,,,,1,,,,", "currency"), ("2026-11-20,g,,,c,,,,USD,,,,,", "spend"),
        ("2026-11-20,g,,,c,,,,USD,-1,,,,", "spend"), ("2026-11-20,g,,,c,,,,USD,1e3,,,,", "spend"),
        ("2026-11-20,g,,,c,,,,USD,$5,,,,", "spend"), ("2026-11-20,g,,,c,,,,USD,1.,,,,", "spend"),
        ("2026-11-20,g,,,c,,,,USD,1.001,,,,", "spend"), ("2026-11-20,g,,,c,,,,JPY,1.5,,,,", "spend"),
        ("2026-11-20,g,,,c,,,,USD,9999999999999,,,,", "spend"), ("2026-11-20,g,,,c,,,,USD,1,1.5,,,", "impressions"),
        ("2026-11-20,g,,,c,,,,USD,1,,x,,", "clicks"), ("2026-11-20,g,,,c,,,,USD,1,,,1.0000001,", "conversions"),
        ("2026-11-20,g,,,c,,,,USD,10000000000.01,,,,", "spend"), ("2026-11-20,g,,,c,,,,JPY,10000000001,,,,", "spend"),
        ("2026-11-20,g,,,c,,,,USD,1,,,1000000000.000001,", "conversions"),
        ("2026-11-20,g,,,c,,,,USD,1,,,999999999999,", "conversions"),
        ("2026-11-20,g,,,c,,,,KWD,1,,,,10000000000.0006", "value"),
        ("2026-11-20,g,,,c\u{1F}d,,,,USD,1,,,,", "campaign"), ("2026-11-20,g,,,c,,,,USD,1,,,", ""),
        ("2026-11-20,g,,,\"c\"x,,,,USD,1,,,,", "campaign"),
    ])
    func `a bad row is named by line, column and reason, and the rows around it are read`(row: String, column: String)
        throws
    {
        let good = "2026-11-20,g,,,%,,,,USD,1,,,,\n"
        let file = try csv(good.replacing("%", with: "before") + row + "\n" + good.replacing("%", with: "after"))
        #expect(file.rows.count == 2 && file.refused == 1)
        #expect(file.problems.map(\.line) == [3] && file.problems.map(\.column) == [column], "\(file.problems)")
        #expect(file.problems.first?.reason.isEmpty == false)
    }

    @Test func `a file that is none is refused as a whole`() throws {
        let cases: [(String, SpendError)] = [
            ("", .input(.empty)),
            (
                "date,network,campaign,spend\n",
                .input(
                    .missingColumn(
                        name: "currency", header: ["date", "network", "campaign", "spend"]))
            ),
            ("date,date,network\n", .input(.repeatedColumn("date"))),
        ]
        for (text, error) in cases {
            #expect(throws: error) { try SpendReader.csv(Array(text.utf8), latest: Self.day) }
        }
        let broken: [(String, SpendError)] = [
            ("", .malformedJSON), ("7", .notRows), ("{\"row\":[]}", .notRows), ("[{\"date\":}]", .malformedJSON),
            ("[{} {}]", .malformedJSON), ("[{}", .malformedJSON), ("{\"rows\":{}}", .notRows), ("[,]", .malformedJSON),
            ("[\"open", .malformedJSON),
        ]
        for (text, error) in broken {
            #expect(throws: error, "\(text)") { try SpendReader.json(Array(text.utf8), latest: Self.day) }
        }
        let twice = try csv("2026-11-20,g,,,c,,,,USD,1,,,,\n2026-11-20,G,,,c,,,,usd,2,,,,\n")
        #expect(
            twice.rows.count == 1
                && twice.problems == [
                    BadRow(line: 3, column: "date", reason: "has the date and dimensions of line 2 again")
                ])
    }

    @Test func `the largest figures of a row are read`() throws {
        let file = try csv("2026-11-20,g,,,c,,,,KWD,10000000000,,,1000000000,10000000000\n")
        #expect(
            file.rows.map(\.figures) == [
                SpendFigures(
                    spendMinor: 10_000_000_000_000, conversionsMillionths: 1_000_000_000_000_000,
                    valueMinor: 10_000_000_000_000)
            ])
        let refused = try csv("2026-11-20,g,,,c,,,,USD,10000000001,,,,\n")
        #expect(refused.problems.map(\.reason) == ["is more than 10000000000"])
    }

    // MARK: storing

    @Test(arguments: Dialect.allCases)
    func `sums are exact up to what 64 bits hold, and refused beyond`(engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        let spend = store(open)
        let seed: UInt64 = 63
        var random = SeededRandom(seed: seed)
        var (cents, millionths): (Int64, Int64) = (0, 0)
        var rows = ""
        for number in 0..<300 {
            let one = Int64.random(in: 0...1_000_000_000_000, using: &random)
            let part = Int64.random(in: 0...1_000_000_000_000_000, using: &random)
            (cents, millionths) = (cents + one, millionths + part)
            let conversions = "\(part / 1_000_000).\(String(1_000_000 + part % 1_000_000).dropFirst())"
            rows += "2026-11-20,g,,,c,,k\(number),,USD,\(Money.usd(cents: one).decimal),,,\(conversions),\n"
        }
        _ = try await spend.store(try csv(rows), org: "o")
        for byDay in [true, false] {
            let sums = try await spend.sums(org: "o", from: 0, to: 100_000, byDay: byDay)
            #expect(sums.map(\.figures.spendMinor) == [cents], "seed \(seed)")
            #expect(sums.map(\.figures.conversionsMillionths) == [millionths] && sums[0].figures.clicks == nil)
        }
        // Each row is one that may be imported, and together they are too many.
        let many = (0..<9300).map { "2026-11-21,g,,,c,,k\($0),,USD,1,,,1000000000,\n" }
        _ = try await spend.store(try csv(many.joined()), org: "o")
        await #expect(throws: SpendError.figuresTooLarge) {
            _ = try await spend.sums(org: "o", from: 0, to: 100_000, byDay: true)
        }
        #expect(try await spend.sums(org: "other", from: 0, to: 100_000, byDay: true).isEmpty)
    }

    @Test(arguments: Dialect.allCases)
    func `the same file twice changes nothing, a changed row replaces its own, bad rows store nothing`(
        engine: Dialect
    ) async throws {
        let open = try OpenDatabase(on: engine)
        let spend = store(open)
        let rows = (1...20).map { "2026-11-\($0 < 10 ? "0" : "")\($0),google,,,spring,,,,USD,\($0).25,100,10,,\n" }
        let first = try await spend.store(try csv(rows.joined()), org: "o")
        #expect(first.inserted == 20 && first.totals == [.usd: 21_500])
        let again = try await spend.store(try csv(rows.reversed().joined()), org: "o")
        #expect(again.unchanged == 20 && again.inserted == 0 && again.replaced == 0)
        #expect(open.registry.counter(.attributionSpend, "USD").value == 21_500)

        var changed = rows
        changed[4] = "2026-11-05,google,,,spring,,,,USD,9.99,,10,,\n"
        changed.append("2026-11-21,google,,,spring,,,,USD,1,,,,\n")
        let third = try await spend.store(try csv(changed.joined()), org: "o")
        #expect(third.unchanged == 19 && third.replaced == 1 && third.inserted == 1)
        let sums = try await spend.sums(org: "o", from: 0, to: 100_000, byDay: false)
        let expected: Int64 = 21_500 - 525 + 999 + 100
        #expect(sums.map(\.figures.spendMinor) == [expected])
        #expect(sums.map(\.figures.impressions) == [1900] && sums.map(\.figures.clicks) == [200])
        #expect(try await spend.page(org: "o", SpendFilter()).rows.count == 21)
        #expect(try await spend.sums(org: "other", from: 0, to: 100_000, byDay: false).isEmpty)

        let bad = try csv(
            "2026-11-20,google,,,x,,,,USD,1,,,,\nx,google,,,x,,,,USD,1,,,,\n2026-11-19,,,,x,,,,USD,1,,,,\n")
        await #expect(throws: SpendError.badRows(bad.problems, count: 2)) { try await spend.store(bad, org: "o") }
        #expect(try await spend.page(org: "o", SpendFilter()).rows.count == 21)
        let skipped = try await spend.store(bad, org: "o", skipsBad: true)
        #expect(skipped.inserted == 1 && skipped.refused == 2 && skipped.problems.map(\.line) == [3, 4])
        let left = try await open.database.read("test.rows") { transaction in
            try transaction.value(Int.self, "SELECT COUNT(*) FROM spend_rows") ?? 0
        }
        #expect(left == 22, "rows that were replaced are gone")
    }

    @Test(arguments: Dialect.allCases)
    func `more rows than one transaction takes are seen whole or not at all`(engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        let spend = store(open)
        let rows = (0..<12_000).map { "2026-10-\($0 % 2 == 0 ? "01" : "02"),meta,,\($0),c,,,,EUR,0.01,,,,\n" }
        _ = try await spend.store(try csv(rows.joined()), org: "o")
        #expect(try await spend.sums(org: "o", from: 0, to: 100_000, byDay: true).count == 12_000)

        // Another process died half way: its rows are there and count for nothing.
        try await open.database.write("test.crash") { transaction in
            try transaction.run("UPDATE spend_heads SET newest = newest + 1, running = newest + 1, lease_until = 0")
            try transaction.run(
                """
                INSERT INTO spend_rows (org, day, line, from_import, until_import, spend_minor, created_at)
                SELECT org, day + 1, line, 2, until_import, 77, created_at FROM spend_rows WHERE from_import = 1
                """)
            try transaction.run("UPDATE spend_rows SET until_import = 2 WHERE from_import = 1 AND day = 20727")
        }
        func total() async throws -> Int64 {
            try await spend.sums(org: "o", from: 0, to: 100_000, byDay: false)
                .reduce(0) { $0 + $1.figures.spendMinor }
        }
        #expect(try await total() == 12_000)
        let again = try await spend.store(try csv(rows.joined()), org: "o")
        #expect(again.unchanged == 12_000)
        #expect(try await total() == 12_000)
        let doubled = rows.map { $0.replacing("0.01", with: "0.02") }
        let replaced = try await spend.store(try csv(doubled.joined()), org: "o")
        #expect(replaced.replaced == 12_000)
        #expect(try await total() == 24_000)
    }

    @Test(arguments: Dialect.allCases)
    func `spend of a moment is what was visible then, as far back as replaced rows are kept`(engine: Dialect)
        async throws
    {
        let open = try OpenDatabase(on: engine)
        let spend = store(open)
        let beginning = open.clock.now
        func moment(_ rows: String) async throws -> Timestamp {
            open.clock.advance(by: .seconds(60))
            _ = try await spend.store(try csv(rows), org: "o")
            return open.clock.now
        }
        func total(_ at: Timestamp) async throws -> Int64? {
            try await spend.sums(org: "o", from: 0, to: 100_000, byDay: true, asOf: at)?
                .reduce(0) { $0 + $1.figures.spendMinor }
        }
        let first = try await moment("2026-11-20,g,,,x,,,,USD,1,,,,\n2026-11-21,g,,,x,,,,USD,2,,,,\n")
        let second = try await moment("2026-11-20,g,,,x,,,,USD,4,,,,\n")
        // The same again is no import of its own, and a day that comes back to what it was is one.
        _ = try await moment("2026-11-20,g,,,x,,,,USD,4,,,,\n")
        let third = try await moment("2026-11-20,g,,,x,,,,USD,1,,,,\n2026-11-19,g,,,y,,,,USD,8,,,,\n")
        let history = [(beginning, 0), (first, 300), (second, 600), (third - .seconds(1), 600), (third, 1100)]
        for (at, minor) in history { #expect(try await total(at) == Int64(minor), "\(at.rfc3339)") }
        #expect(try await spend.knownSince(org: "o") == nil)
        #expect(try await spend.sums(org: "p", from: 0, to: 100_000, byDay: true, asOf: third)?.isEmpty == true)
        let kept = try await open.database.read("test.kept") { transaction in
            try transaction.value(Int.self, "SELECT COUNT(*) FROM spend_replaced") ?? 0
        }
        #expect(kept == 2)

        // What was replaced long ago is forgotten, and nothing of its time is told any more.
        open.clock.advance(by: SpendStore.historyKept + .seconds(60))
        let fourth = try await moment("2026-11-20,g,,,x,,,,USD,16,,,,\n")
        #expect(try await total(first) == nil)
        #expect(try await total(third) == nil)
        #expect(try await total(fourth - .seconds(1)) == 1100)
        #expect(try await total(fourth) == 2600)
        #expect(try await spend.knownSince(org: "o") == fourth - SpendStore.historyKept)
        #expect(try await total(fourth - SpendStore.historyKept) == 1100)
    }

    @Test(arguments: Dialect.allCases)
    func `two imports of one organisation never mix, and calendars are kept by account`(engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        let spend = store(open)
        let file = try csv("2026-11-20,google,a,,x,,,,USD,1,,,,\n")
        _ = try await spend.store(file, org: "o", timezone: "America/New_York")
        #expect(try await spend.timezone(org: "o").name == "America/New_York")
        _ = try await spend.store(file, org: "o")
        #expect(try await spend.timezone(org: "o").name == "America/New_York")
        _ = try await spend.store(
            try csv("2026-11-20,meta,b,,x,,,,USD,1,,,,\n"), org: "o", timezone: "Asia/Kathmandu")
        let mixed = try await spend.timezone(org: "o")
        #expect(mixed.name == "UTC" && mixed.isMixed)
        await #expect(throws: SpendError.unknownTimeZone) {
            try await spend.store(file, org: "o", timezone: "America/Nowhere")
        }
        try await open.database.write("test.running") { transaction in
            try transaction.run(
                "UPDATE spend_heads SET running = newest + 1, newest = newest + 1, lease_until = \(open.clock.now + .seconds(5))"
            )
        }
        await #expect(throws: SpendError.importRunning) { try await spend.store(file, org: "o") }
        #expect(try await spend.store(file, org: "p").inserted == 1)
        open.clock.advance(by: .seconds(6))
        #expect(try await spend.store(file, org: "o").unchanged == 1)
    }

    /// A store of the same PostgreSQL on a node whose clock is so far before the true one.
    private func node(_ folder: TemporaryFolder, ahead: Duration) throws -> (database: Database, spend: SpendStore) {
        let (clock, registry) = (ManualWallClock(SystemWallClock().now + ahead), MetricRegistry())
        let database = try Database.forTest(
            at: folder.file("spend.db"), on: .postgres, registry: registry, clock: clock)
        let spend = SpendStore(
            database: database, clock: clock, registry: registry, time: DatabaseClock(registry: registry))
        return (database, spend)
    }

    @Test(arguments: [Duration.seconds(600), .seconds(-600)])
    func `a node whose clock is ten minutes wrong overtakes no live import, and its own holds no longer than it should`(
        ahead: Duration
    ) async throws {
        let folder = TemporaryFolder()
        let (right, wrong) = (try node(folder, ahead: .zero), try node(folder, ahead: ahead))
        let file = try csv("2026-11-20,google,a,,x,,,,USD,1,,,,\n")
        _ = try await right.spend.store(file, org: "o")
        // Another process imports at the moment, and its lease is as long as any.
        try await right.database.write("test.running") { transaction in
            try transaction.run(
                """
                UPDATE spend_heads SET running = newest + 1, newest = newest + 1,
                    lease_until = CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) + 60000000
                """)
        }
        await #expect(throws: SpendError.importRunning) { try await wrong.spend.store(file, org: "o") }
        // It died: its lease is over by the server's clock, whatever a node's says.
        try await right.database.write("test.died") { transaction in
            try transaction.run(
                """
                UPDATE spend_heads
                SET lease_until = CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) - 1
                """)
        }
        #expect(try await wrong.spend.store(file, org: "o").unchanged == 1)
    }

    @Test func `what is exported comes back unchanged`() async throws {
        let open = try OpenDatabase()
        let spend = store(open)
        let text =
            "2026-11-20,google,,,\"=cmd, \"\"x\"\"\",,,US,USD,1.50,7,,0.25,3.10\n2026-11-19,g,,,-minus,,,,JPY,5,,,,\n"
        _ = try await spend.store(try csv(text), org: "o")
        let exported = SpendText.csv(try await spend.page(org: "o", SpendFilter()).rows)
        #expect(exported.contains("\"'=cmd, \"\"x\"\"\"") && exported.contains("'-minus"))
        let back = try SpendReader.csv(Array(exported.utf8), latest: Self.day)
        #expect(try await spend.store(back, org: "o").unchanged == 2)
        let template = SpendText.template([("spring", "google")], date: Self.day)
        let unfilled = try SpendReader.csv(Array(template.utf8), latest: Self.day)
        #expect(unfilled.rows.isEmpty && unfilled.problems.map(\.column) == ["spend"])
    }
}
