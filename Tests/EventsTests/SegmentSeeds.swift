internal import AurumCore
internal import Events

/// Small segments with blocks of every kind, to be damaged.
enum SegmentSeeds {
    struct StandingClock: WallClock {
        var now: Timestamp { Timestamp(milliseconds: 1_795_262_400_000) }
    }

    static let name = "00000001.aurumlog"

    private static func line(_ number: Int, _ more: String) -> String {
        "{\"id\":\"00000000-0000-4000-8000-00000000000\(number % 10)\",\"type\":\"track\",\"name\":\"n\(number % 3)\","
            + "\"user_id\":\"u\(number)\",\"ts\":\"2026-11-21T11:59:5\(number % 10).123Z\"\(more)}"
    }

    /// The blocks of each segment, each a body of lines.
    private static let bodies: [[[String]]] = [
        [(0..<4).map { line($0, ",\"props\":{\"a\":\($0),\"b\":\"x\($0)\"},\"value\":\"1.5\",\"currency\":\"USD\"") }],
        [
            [line(1, ""), "{\"id\":\"q\",\"type\":\"track\"}", "no event", line(2, ",\"mine\":[1,{\"a\":null}]")],
            [line(3, ""), line(4, ",\"mine\":[1,{\"a\":null}]"), line(5, ",\"title\":\"\\u00e9\"")],
            [line(6, ",\"mine\":true"), line(7, ",\"context\":{\"os\":\"x\",\"ip\":\"1.2.3.4\"}")],
        ],
        [
            [
                "{\"id\":\"c\",\"type\":\"click\",\"click_id\":\"k\",\"campaign\":{\"network\":\"g\"},\"value\":0.35,"
                    + "\"currency\":\"USD\"}",
                "{\"type\":\"page\",\"anonymous_id\":\"a\",\"url\":\"https://a.example/?gclid=1\",\"referrer\":\"\"}",
                "{\"type\":\"page\",\"anonymous_id\":\"a\",\"url\":\"https://b.example/\",\"ts\":1795262300000}",
                "{\"messageId\":\"00112233445566778899aabbccddeeff\",\"type\":\"identify\",\"userId\":\"u\","
                    + "\"anonymousId\":\"a\",\"timestamp\":\"2026-11-21T11:00:00Z\",\"traits\":{\"plan\":\"p\"}}",
            ]
        ],
    ]

    static func make() throws -> [[UInt8]] {
        try bodies.map { blocks in
            let storage = VolatileLogStorage()
            let check = try BlockCheck(storage, limits: EventLimits(), clock: StandingClock())
            for block in blocks {
                let body = Array(block.joined(separator: "\n").utf8)
                _ = body.withUnsafeBytes { check.append($0, format: .ndjson, receivedAt: StandingClock().now) }
                _ = try check.commit()
            }
            return storage.bytes(name)
        }
    }

    /// Reads everything that a folder with this one segment has to say; throws or answers less where it is damaged.
    static func readAll(_ segment: [UInt8]) throws {
        let storage = VolatileLogStorage()
        storage.place(name, segment)
        let reader = try LogReader(storage, named: "memory")
        try reader.verify(rebuilding: true) { _ in }
        _ = try reader.columnSizes()
        for segment in try reader.segments() {
            for index in segment.blocks.indices {
                guard let block = try segment.read(index) else { continue }
                let names = block.rowCount > 1000 ? ["name", "channel", "props.a"] : ColumnModel.names
                for name in names {
                    if let column = try? block.text(ColumnName(name)) {
                        for code in Set(column.codes.prefix(1000)) where code != 0 { _ = column.dictionary.text(code) }
                    }
                    _ = try? block.numbers(ColumnName(name))
                }
                _ = try? block.values()
                _ = try? block.types()
                _ = try? block.persons(org: "check")
                for row in 0..<min(100, block.rowCount) { _ = try? block.event(row)?.json.canonical }
            }
        }
    }
}
