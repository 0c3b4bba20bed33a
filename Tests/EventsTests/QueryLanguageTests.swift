internal import AurumCore
internal import Events
internal import Foundation
internal import Testing

/// The two ways to write a query, and what is said of broken ones.
struct QueryLanguageTests {
    private static func json(_ text: String) throws -> JSONValue {
        try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    private static let pairs: [(text: String, document: String)] = [
        ("count", "{}"),
        (
            "count, unique(person) where type = page and campaign.source = \"google\" by channel per day last 7d",
            """
            {"measures":["count","unique(person)"],"group_by":["channel"],"bucket":"day","last":"7d","where":{"and":[
            {"column":"type","op":"=","value":"page"},{"column":"campaign.source","op":"=","value":"google"}]}}
            """
        ),
        (
            "SUM(value) AS money, quantile(0.95, props.ms) where not (url starts_with '/a' or props.n ≥ 3)"
                + " order by money desc, quantile(0.95,props.ms) limit 5",
            """
            {"measures":["sum(value) as money","quantile(0.95, props.ms)"],"where":{"not":{"or":[
            {"column":"url","op":"starts_with","value":"/a"},{"column":"props.n","op":"≥","value":3}]}},
            "order":["money desc","quantile(0.95, props.ms) asc"],"limit":5}
            """
        ),
        (
            "avg(quantity), min(props.a), max(props.b) where user_id exists and props.flag = true and campaign.id = 007",
            """
            {"measures":["avg(quantity)","min(props.a)","max(props.b)"],"where":{"and":[{"column":"user_id","op":"exists"},
            {"column":"props.flag","op":"=","value":true},{"column":"campaign.id","op":"=","value":"007"}]}}
            """
        ),
        (
            "count by `props.odd name`, app outcomes all app shop, \"my blog\" bots only"
                + " from 2026-09-01 to 2026-11-01T00:00:00Z in \"America/New_York\"",
            """
            {"group_by":["props.odd name","app"],"outcomes":["stored","late","bot","duplicate","quarantined"],
            "apps":["shop","my blog"],"bots":"only","from":"2026-09-01","to":"2026-11-01T00:00:00Z",
            "timezone":"America/New_York"}
            """
        ),
        (
            "count where name in (a, \"b c\", 3) and value != 1.5 since 1762000000000 until 1762000000001",
            """
            {"from":1762000000000,"to":1762000000001,"where":{"and":[{"column":"name","op":"in","value":["a","b c","3"]},
            {"column":"value","op":"!=","value":1.5}]}}
            """
        ),
    ]

    @Test(arguments: QueryLanguageTests.pairs)
    func `a text and a document mean the same query`(text: String, document: String) throws {
        let query = try QueryTextParser.query(text, now: testNow)
        #expect(try QueryDocument.query(try Self.json(document), now: testNow) == query)
        #expect(try QueryDocument.query(["q": .string(text)], now: testNow) == query)
    }

    private static let brokenTexts: [(text: String, offset: Int, expected: String)] = [
        ("", 0, "a measure"), ("cuont", 0, "a measure"), ("count,", 6, "a measure"), ("count where", 11, "a column"),
        ("count where type", 16, "=, !=, <"), ("count where type = ", 19, "a value"),
        ("count where (type = page", 24, "`)`"), ("count where type = page extra", 24, "where, by, per"),
        ("count where name = \"x", 19, "a closing quotation mark"), ("count per fortnight", 10, "minute, hour"),
        ("unique(people)", 7, "person, session or identifier"), ("sum value", 4, "`(`"), ("sum(name)", 4, "numbers"),
        ("quantile(95, value)", 9, "0 to 1"), ("quantile(0.5 value)", 13, "`,`"),
        ("count last 7", 11, "7d"), ("count last 0d", 11, "7d"), ("count today last 7d", 12, "each clause once"),
        ("count limit 0", 12, "1 to 10000"), ("count limit many", 12, "a whole number"),
        ("count in Mars", 9, "a time zone"),
        ("count since tomorrow", 12, "a date"), ("count from 2026-11-02 to 2026-11-01", 0, "after its beginning"),
        ("count order count", 12, "`by`"), ("count order by money", 0, "`order` to name"),
        ("count, count", 0, "use `as`"),
        ("count bots maybe", 11, "include, exclude"), ("count outcomes lost", 15, "a list of"),
        ("count by a, b, c, d, e", 0, "at most 4"), ("count where a..b = 1", 12, "a column"),
        ("count where ä = 1 (", 19, "where, by, per"),
    ]

    @Test(arguments: QueryLanguageTests.brokenTexts)
    func `a broken text is refused with the byte and what was expected`(text: String, offset: Int, expected: String) {
        do throws(QueryParseError) {
            _ = try QueryTextParser.query(text, now: testNow)
            Issue.record("\(text) was read")
        } catch {
            #expect(error.place == .byte(offset), "\(text): \(error.sentence)")
            #expect(error.expected.contains(expected), "\(text): \(error.sentence)")
        }
    }

    private static let brokenDocuments: [(document: String, path: String, expected: String)] = [
        ("[]", "", "an object"),
        ("{\"mesures\":[\"count\"]}", "", "no other members"),
        ("{\"measures\":\"count\"}", "measures", "a list"),
        ("{\"measures\":[\"count\",\"sum()\"]}", "measures[1]", "a column"),
        ("{\"where\":{\"and\":[{\"column\":\"a\",\"op\":\"~\",\"value\":1}]}}", "where.and[0].op", "=, !=, <"),
        ("{\"where\":{\"or\":[]}}", "where.or", "a list of conditions"),
        ("{\"where\":{\"xor\":[]}}", "where", "one of and"),
        ("{\"where\":{\"column\":\"a\",\"op\":\"=\",\"value\":null}}", "where.value", "a text, a number"),
        ("{\"where\":{\"column\":\"a\",\"op\":\"=\",\"value\":1,\"case\":false}}", "where", "no other members"),
        ("{\"where\":{\"not\":{\"column\":\"a\",\"op\":\"in\",\"value\":[]}}}", "where.not.value", "a list of 1"),
        ("{\"where\":{\"column\":\"\",\"op\":\"exists\"}}", "where.column", "a column"),
        ("{\"limit\":10001}", "limit", "10000"),
        ("{\"bucket\":\"year\"}", "bucket", "minute, hour"),
        ("{\"from\":\"soon\"}", "from", "a date"),
        ("{\"last\":\"7d\",\"from\":\"2026-01-01\"}", "last", "either"),
        ("{\"timezone\":\"Mars\"}", "timezone", "a time zone"),
        ("{\"outcomes\":[\"lost\"]}", "outcomes[0]", "stored"),
        ("{\"org\":\"rival\"}", "", "no other members"),
        ("{\"order\":[\"count sideways\"]}", "order[0]", "asc, desc"),
        ("{\"group_by\":[\"a\",1]}", "group_by[1]", "a text"),
    ]

    @Test(arguments: QueryLanguageTests.brokenDocuments)
    func `a broken document is refused with the path and what was expected`(
        document: String, path: String, expected: String
    ) throws {
        let value = try Self.json(document)
        do throws(QueryParseError) {
            _ = try QueryDocument.query(value, now: testNow)
            Issue.record("\(document) was read")
        } catch {
            #expect(error.place == .path(path), "\(document): \(error.sentence)")
            #expect(error.expected.contains(expected), "\(document): \(error.sentence)")
        }
    }

    private static let ranges: [(range: String, zone: String, from: String, to: String)] = [
        ("today", "UTC", "2026-11-21T00:00:00.000Z", "2026-11-22T00:00:00.000Z"),
        ("yesterday", "America/New_York", "2026-11-20T05:00:00.000Z", "2026-11-21T05:00:00.000Z"),
        ("last 7d", "America/New_York", "2026-11-15T05:00:00.000Z", "2026-11-22T05:00:00.000Z"),
        // The clocks went back on 1 November.
        ("last 21d", "America/New_York", "2026-11-01T04:00:00.000Z", "2026-11-22T05:00:00.000Z"),
        ("last 24 hours", "Asia/Kathmandu", "2026-11-20T12:15:00.000Z", "2026-11-21T12:15:00.000Z"),
        ("last 90m", "UTC", "2026-11-21T10:31:00.000Z", "2026-11-21T12:01:00.000Z"),
        ("last 1w", "UTC", "2026-11-16T00:00:00.000Z", "2026-11-23T00:00:00.000Z"),
        ("last 12mo", "UTC", "2025-12-01T00:00:00.000Z", "2026-12-01T00:00:00.000Z"),
    ]

    @Test(arguments: QueryLanguageTests.ranges)
    func `ranges are whole units of the time zone`(range: String, zone: String, from: String, to: String) throws {
        let query = try QueryTextParser.query("count \(range) in \(zone)", now: testNow)
        #expect(query.from?.rfc3339 == from && query.to?.rfc3339 == to)
    }

    @Test func `conditions are bounded in depth, tests and length`() {
        let deep = String(repeating: "(", count: 40) + "a = 1" + String(repeating: ")", count: 40)
        #expect(throws: QueryParseError.self) { try QueryTextParser.query("count where \(deep)", now: testNow) }
        let wide = (0..<300).map { "a\($0) = 1" }.joined(separator: " or ")
        #expect(throws: QueryParseError.self) { try QueryTextParser.query("count where \(wide)", now: testNow) }
        let long = "count where a = \"" + String(repeating: "x", count: 17_000) + "\""
        #expect(throws: QueryParseError.self) { try QueryTextParser.query(long, now: testNow) }
    }
}
