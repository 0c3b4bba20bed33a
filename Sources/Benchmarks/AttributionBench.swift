internal import Attribution
internal import AurumCore
internal import Foundation

/// Attribution over many paths: reading the file and fitting Markov models of orders 1 to 3, CPU time of the calling
/// thread, on `rows` generated paths; the public sample against its exact results; and postbacks verified a second.
package struct AttributionBench: Sendable {
    /// Paths to generate; 1,000,000 is the size that the peers are compared on.
    package var rows = 1_000_000
    /// Where the public sample and its exact results lie.
    package var fixtures = "Tests/Fixtures/attribution"
    package var tiny = false
    package var seed: UInt64 = 7
    package init() {}

    /// The generated paths as CSV.
    package func csv() -> [UInt8] { PathGenerator.csv(rows: tiny ? 2000 : rows, seed: seed) }

    /// Bytes a reading takes at a time, as from a file.
    private static let step = 1 << 17
    private static let rounds = 3

    package func run() throws -> [BenchRow] {
        let bytes = csv()
        let rounds = tiny ? 1 : Self.rounds
        var (parse, table) = ([Double](), PathTable())
        for _ in 0..<rounds {
            let start = ProcessCost.threadNanoseconds
            table = try Self.read(bytes)
            parse.append((ProcessCost.threadNanoseconds - start) * 1e-9)
        }
        let mean = Double(table.tokens.count) / Double(max(1, table.count))
        var rows = [
            BenchRow(
                name: "attribution.read", value: parse.median, unit: "s CPU", n: rounds,
                note: "\(table.count) paths, \(bytes.count) bytes, \(Self.decimal(mean)) touches a path")
        ]
        for order in 1...3 {
            var seconds: [Double] = []
            var fit: MarkovModel?
            for _ in 0..<rounds {
                let start = ProcessCost.threadNanoseconds
                fit = try Self.fit(table, order)
                seconds.append((ProcessCost.threadNanoseconds - start) * 1e-9)
            }
            let bar = order == 1 && !tiny ? 1.0 : nil
            rows.append(
                BenchRow(
                    name: "attribution.markov\(order)", value: parse.median + seconds.median, unit: "s CPU", bar: bar,
                    n: rounds,
                    note:
                        "with reading, the fit alone \(Self.decimal(seconds.median)) s; \(fit?.states ?? 0) states, "
                        + "P(conversion) \(fit?.conversion ?? 0), residual \(fit?.residual ?? 0)"))
        }
        rows.append(try golden())
        rows.append(try sums(table))
        rows.append(try postbacks())
        return rows
    }

    /// Largest relative difference of a credit or its value to the exact results of the public sample, orders 1 to 3.
    private func golden() throws -> BenchRow {
        var row = BenchRow(name: "attribution.golden", value: 0, unit: "relative", bar: 1e-9, n: 0)
        guard let sample = FileManager.default.contents(atPath: fixtures + "/channelattribution_paths.csv"),
            let text = FileManager.default.contents(atPath: fixtures + "/exact_pathdata.json"),
            let exact = try? JSONDecoder().decode(JSONValue.self, from: text)
        else {
            row.notJudged = "the sample is not here; run it in the repository"
            return row
        }
        let table = try Self.read(Array(sample))
        for order in 1...3 {
            let fit = try Self.fit(table, order)
            let known = exact["order\(order)_infinite"]?["channels"]
            for (index, name) in table.channels.enumerated() {
                for (mine, member) in [(fit.conversions[index], "conversions"), (fit.values[index], "value")] {
                    let expected = known?[name]?[member]?.double ?? .infinity
                    row.value = max(row.value, (mine - expected).magnitude / max(1, expected.magnitude))
                    row.n += 1
                }
            }
        }
        row.note = "the public sample of ChannelAttribution: conversions and value of 12 channels, orders 1 to 3"
        return row
    }

    /// Every model's credit adds up to the conversions there are; the largest relative miss.
    private func sums(_ table: PathTable) throws -> BenchRow {
        var request = AttributionRequest(models: ModelChoice.all(orders: [1, 2, 3]))
        request.halfLifeSteps = 2
        let start = ProcessCost.threadNanoseconds
        let run: AttributionRun
        do { run = try AttributionRun(table, request) } catch { throw BenchFailure(error.sentence) }
        let took = (ProcessCost.threadNanoseconds - start) * 1e-9
        let total = table.totalConversions
        let worst = run.results.map { ($0.conversions.reduce(0, +) - total).magnitude / total }.max() ?? 1
        return BenchRow(
            name: "attribution.sums", value: worst, unit: "relative", bar: 1e-9, n: run.results.count,
            note: "credits of \(run.results.count) models against \(total) conversions, \(Self.decimal(took)) s CPU")
    }

    private func postbacks() throws -> BenchRow {
        let count = tiny ? 20 : 5000
        let body = Array(Self.postback.utf8)
        let start = ProcessCost.threadNanoseconds
        for _ in 0..<count {
            guard let read = try? PostbackVerifier.read(body), read.verdict == .valid else {
                throw BenchFailure("the golden postback is not valid")
            }
        }
        let seconds = (ProcessCost.threadNanoseconds - start) * 1e-9
        return BenchRow(
            name: "attribution.postbacks", value: Double(count) / seconds, unit: "/s", bar: 2000, higherIsBetter: true,
            n: count, note: "read and verified on one core")
    }

    private static func read(_ bytes: [UInt8]) throws -> PathTable {
        do { return try PathFile.read(DelimitedReader(bytes, step: step), PathReading()).table } catch {
            throw BenchFailure(error.sentence)
        }
    }

    private static func fit(_ table: PathTable, _ order: Int) throws -> MarkovModel {
        do { return try MarkovModel(table, order: order) } catch { throw BenchFailure(error.sentence) }
    }

    private static func decimal(_ value: Double) -> String { String(format: "%.3f", value) }

    /// The 4.0 example of Apple's documentation with a fine conversion value.
    private static let postback = """
        {"version":"4.0","ad-network-id":"com.example","source-identifier":"5239","app-id":525463029,\
        "transaction-id":"6aafb7a5-0170-41b5-bbe4-fe71dedf1e30","redownload":false,"source-domain":"example.com",\
        "fidelity-type":1,"did-win":true,"conversion-value":63,"postback-sequence-index":0,"attribution-signature":\
        "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU6sQmo+7zfP/1Bxo="}
        """
}
