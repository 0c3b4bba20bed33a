package import AurumCore
package import Events

/// A log of made-up events as columns that are already in memory: what the query engine itself costs.
///
/// Persons, pages and campaigns are Zipf-like as in the standard profile. A few blocks are made from the seed and shown
/// again and again at later times, so that any number of rows fits in memory.
package final class SyntheticColumns: ColumnSource {
    private let all: [ColumnSegment]
    package let rowCount: Int
    /// A moment just after the newest row.
    package let now: Timestamp

    package static let org = "bench"
    private static let blockRows = 24_000
    private static let distinctBlocks = 8

    /// - Parameters:
    ///   - blocks: of 24,000 rows each, spread evenly over `days` before `now`.
    package init(blocks: Int, blocksPerSegment: Int, days: Int, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let texts = SyntheticTexts(&random)
        let made = (0..<Self.distinctBlocks).map { _ in SyntheticData(Self.blockRows, texts, &random) }
        now = Timestamp(milliseconds: 1_795_224_568_000)
        let start = now.microseconds - Int64(days) * 86_400_000_000
        let step = Int64(days) * 86_400_000_000 / Int64(max(1, blocks))
        var segments: [ColumnSegment] = []
        var block = 0
        while block < blocks {
            let count = min(blocksPerSegment, blocks - block)
            let shown = (block..<block + count).map { number in
                SyntheticBlock(
                    made[number % made.count], start: start + Int64(number) * step, length: step, number: number)
            }
            segments.append(
                ColumnSegment(
                    identity: UInt64(segments.count + 1), isSealed: block + count < blocks,
                    blocks: shown.map(\.summary),
                    read: { shown[$0] }))
            block += count
        }
        all = segments
        rowCount = blocks * Self.blockRows
    }

    package func segments() -> [ColumnSegment] { all }
}

/// The distinct texts of all columns.
private struct SyntheticTexts {
    let columns: [ColumnName: (dictionary: TextList, weights: ZipfDistribution, missing: Double)]
    let persons: PersonColumn
    let personWeights = ZipfDistribution(count: 50_000, exponent: 0.9)

    init(_ random: inout SeededRandom) {
        func texts(_ prefix: String, _ count: Int, _ exponent: Double, missing: Double = 0) -> (
            TextList, ZipfDistribution, Double
        ) {
            (
                TextList((0..<count).map { "\(prefix)\($0)" }), ZipfDistribution(count: count, exponent: exponent),
                missing
            )
        }
        columns = [
            .channel: texts("channel-", 9, 1), .name: texts("Name ", 12, 1), .currency: texts("C", 1, 1),
            ColumnName("campaign.name"): texts("campaign-", 400, 1.1, missing: 0.5),
            ColumnName("url"): texts("https://shop.example.com/products/item-", 3000, 1),
            ColumnName("context.platform"): texts("platform-", 4, 1),
        ]
        persons = PersonColumn(
            codes: [], keys: [0] + (0..<50_000).map { _ in random.next() }, id: DictionaryNumber.next())
    }
}

/// The columns of one block.
private final class SyntheticData: Sendable {
    let texts: [ColumnName: TextColumn]
    let outcomes: [UInt8]
    let types: [UInt8]
    let values: [Int64]
    let persons: PersonColumn

    init(_ count: Int, _ source: SyntheticTexts, _ random: inout SeededRandom) {
        func share() -> Double { Double(random.next() >> 11) * 0x1p-53 }
        texts = source.columns.mapValues { dictionary, weights, missing in
            let codes = (0..<count).map { _ in share() < missing ? 0 : UInt32(weights.rank(at: share())) + 1 }
            return TextColumn(codes: codes, dictionary: dictionary)
        }
        outcomes = (0..<count).map { _ in share() < 0.98 ? 0 : share() < 0.5 ? 3 : 1 }
        types = (0..<count).map { _ in UInt8(1 + random.next() % 9) }
        values = (0..<count).map { _ in share() < 0.2 ? Int64(random.next() % 20_000) * 10_000 : .min }
        var persons = source.persons
        persons.codes = (0..<count).map { _ in UInt32(source.personWeights.rank(at: share())) + 1 }
        self.persons = persons
    }
}

private final class SyntheticBlock: ColumnBlock {
    private let data: SyntheticData
    private let start: Int64
    private let step: Int64
    private let number: Int
    let requests: [RequestSpan]

    init(_ data: SyntheticData, start: Int64, length: Int64, number: Int) {
        (self.data, self.start, self.number) = (data, start, number)
        step = length / Int64(data.types.count)
        requests = [
            RequestSpan(
                org: SyntheticColumns.org, app: "shop", format: "native", receivedAt: start, firstRow: 0,
                rowCount: data.types.count)
        ]
    }

    var rowCount: Int { data.types.count }
    var earliest: Int64 { start }
    var latest: Int64 { start + step * Int64(rowCount - 1) }

    var summary: BlockSummary {
        BlockSummary(
            rowCount: rowCount, earliest: earliest, latest: latest,
            sources: [CaptureSource(org: SyntheticColumns.org, app: "shop")])
    }

    func position(_ row: Int) -> LogPosition {
        LogPosition(segment: 1, offset: UInt32(number * 8), row: UInt32(row))
    }
    func times() -> [Int64] { (0..<Int64(rowCount)).map { start &+ $0 &* step } }
    func outcomes() -> [UInt8] { data.outcomes }
    func types() -> [UInt8] { data.types }
    func text(_ column: ColumnName) -> TextColumn? { data.texts[column] }
    func numbers(_ column: ColumnName) -> [Double]? { nil }
    func values() -> [Int64]? { data.values }
    func persons(org: String) -> PersonColumn { data.persons }
    func event(_ row: Int) -> StoredEvent? { nil }
}
