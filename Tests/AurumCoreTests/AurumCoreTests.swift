import AurumCore
import Foundation
import TestSupport
import Testing

struct UIDTests {
    @Test func `hex and UUID text read back as the same id`() {
        let id = UID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
        #expect(id.hex == "0123456789abcdeffedcba9876543210")
        #expect(UID(id.hex) == id)
        #expect(UID("01234567-89AB-cdef-fedc-ba9876543210") == id)
        #expect(UID(bytes: id.bytes) == id)
    }

    @Test(arguments: [
        "", "0", "0123456789abcdeffedcba987654321", "0123456789abcdeffedcba98765432100",
        "0123456789abcdeffedcba987654321g", "0123-4567-89abcdeffedcba98-7654321000",
    ])
    func `anything else is no id`(text: String) { #expect(UID(text) == nil) }

    @Test func `later ids sort later`() {
        var random = SeededRandom(seed: 1)
        let ids = (0..<100).map { UID(now: Timestamp(milliseconds: Int64($0) * 3), random: &random) }
        #expect(ids == ids.sorted())
    }
}

struct TimestampTests {
    @Test(
        arguments: [
            ("2026-11-21T01:29:28.032Z", 1_795_224_568_032_000), ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T01:47:13.716+00:00", 1_795_225_633_716_000),
            ("2024-02-29T23:59:59.999999-05:30", 1_709_270_999_999_999),
            ("1969-12-31T23:59:59.5Z", -500_000), ("2026-11-21t01:29:28z", 1_795_224_568_000_000),
        ] as [(String, Int64)])
    func `a moment reads to the microsecond and prints back as itself`(text: String, microseconds: Int64) {
        let moment = Timestamp(rfc3339: text)
        #expect(moment?.microseconds == microseconds)
        #expect(moment.flatMap { Timestamp(rfc3339: $0.rfc3339) } == moment)
    }

    @Test(arguments: [
        "", "2026-04-31T00:00:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-21 01:29:28Z",
        "2026-11-21T24:00:00Z", "2026-11-21T01:60:00Z", "2026-11-21T01:29:60Z", "2026-11-21T01:29:28",
        "2026-11-21T01:29:28.Z",
        "2026-11-21T01:29:28+0100", "26-11-21T01:29:28Z", "2026-11-21T01:29:28ZZ", "２026-11-21T01:29:28Z",
    ])
    func `an impossible or sloppy moment is refused`(text: String) { #expect(Timestamp(rfc3339: text) == nil) }

    @Test func `a steady clock begins where it is told and only goes forward`() {
        let start = Timestamp(milliseconds: 1_795_262_400_000)
        let clock = SteadyClock(from: start)
        var last = start
        for _ in 0..<1000 {
            let now = clock.now
            #expect(now >= last)
            last = now
        }
        #expect(last - start < .seconds(60), "it counts, whatever the machine's clock says")
    }

    @Test func `dates agree with Foundation over four centuries`() {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = TimeZone(identifier: "UTC") ?? .gmt
        for day in stride(from: -80_000, through: 80_000, by: 37) {
            let date = CivilDate(daysSince1970: day)
            let parts = calendar.dateComponents(
                [.year, .month, .day], from: Date(timeIntervalSince1970: Double(day) * 86_400))
            #expect(date.year == parts.year && date.month == parts.month && date.day == parts.day)
            #expect(date.daysSince1970 == day)
        }
    }
}

struct MoneyTests {
    @Test(
        arguments: [
            ("250", "USD", 25_000), ("181.5", "USD", 18_150), ("-3.00", "USD", -300), ("0.10", "USD", 10),
            ("7", "JPY", 7),
            ("1.234", "KWD", 1234), ("1.500000", "USD", 150),
        ] as [(String, String, Int64)])
    func `decimal text becomes minor units exactly`(text: String, code: String, minor: Int64) throws {
        let currency = try #require(Currency(code))
        #expect(Money(decimal: text, currency: currency)?.minorUnits == minor)
    }

    @Test(arguments: ["1.5", "0.001"])
    func `a part of a yen is refused`(text: String) throws {
        #expect(Money(decimal: text, currency: try #require(Currency("JPY"))) == nil)
    }

    @Test(arguments: ["", ".", "1.", ".5", "1e3", "+1", "--1", "1234567890123", "1.2345678", "1,5", " 1"])
    func `text that is no plain decimal is refused`(text: String) { #expect(Millionths(decimal: text) == nil) }

    @Test func `a tenth and two tenths are exactly three tenths`() {
        let sum = (Millionths(decimal: "0.1")?.value ?? 0) + (Millionths(decimal: "0.2")?.value ?? 0)
        #expect(Millionths(value: sum).decimal == "0.3")
        #expect(Money.usd(cents: -5).decimal == "-0.05")
    }
}

struct PersonalDataTests {
    @Test func `printing personal data shows a mask`() throws {
        let email = try #require(EmailAddress("jane.doe@example.com"))
        let phone = try #require(PhoneNumber("(917) 555-0143"))
        let name = try #require(PersonName("  Jane   Doe "))
        #expect("\(email) \(phone) \(name) \(MessageText("hello"))" == "j***@e***.com ***43 J*** <text 5 chars>")
        #expect(phone.exposed == "+19175550143")
        #expect(name.exposed == "Jane Doe")
    }

    @Test(arguments: [
        "917-555-014", "117-555-0143", "911-555-0143", "917-055-0143", "917-911-0143", "call me", "+44 20 7946 0958",
    ])
    func `a number that cannot ring is refused`(text: String) { #expect(PhoneNumber(text) == nil) }

    @Test(arguments: ["a", "a@b", "a@b.c", "@b.com", "a@.com", "a@b..com", "a b@c.com", "a@b.com,c@d.com", ".a@b.com"])
    func `an address that cannot work is refused`(text: String) { #expect(EmailAddress(text) == nil) }
}

struct JSONValueTests {
    @Test func `canonical text sorts keys and escapes as RFC 8785 says`() {
        let value: JSONValue = ["b": "\u{8}\n\"\\\u{1f}é\u{20ac}", "a": [1, -2, true, .null, 1.5], "\u{20ac}": 1]
        #expect(value.canonical == #"{"a":[1,-2,true,null,1.5],"b":"\b\n\"\\\u001fé€","€":1}"#)
    }

    @Test func `what is decoded encodes to the same document`() throws {
        let text = #"{"a":[1,2.5,"x",null,true],"b":{"c":{}}}"#
        let value = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        #expect(value.canonical == text)
    }
}

struct PlainAddressTests {
    @Test(arguments: ["localhost", "LocalHost", "127.0.0.1", "127.255.0.9", "::1", "[::1]"])
    func `without TLS only this machine is asked, and only where that is allowed`(host: String) {
        #expect(PlainAddress.isAllowed(scheme: "http", host: host, allowLoopback: true))
        #expect(!PlainAddress.isAllowed(scheme: "http", host: host, allowLoopback: false))
        #expect(PlainAddress.isAllowed(scheme: "HTTPS", host: host, allowLoopback: false))
    }

    @Test(arguments: [
        "127.example.com", "127.0.0.1.example.com", "127.0.0", "127.0.0.256", "127.0.0.+1", "127.0.0.", "10.0.0.1",
        "localhost.example.com", "128.0.0.1", "",
    ])
    func `a name that only looks like this machine needs TLS`(host: String) {
        #expect(!PlainAddress.isAllowed(scheme: "http", host: host, allowLoopback: true))
        #expect(PlainAddress.isAllowed(scheme: "https", host: host, allowLoopback: true))
        #expect(!PlainAddress.isAllowed(scheme: "ftp", host: host, allowLoopback: true))
    }
}
