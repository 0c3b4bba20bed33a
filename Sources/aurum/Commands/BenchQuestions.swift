internal import Benchmarks
internal import Validation

/// The dashboard's questions as rows of `aurum bench`, each figure against its bar. Source: spec/events.md §10.
extension QuestionReport {
    private static let eventsToJudge = 100_000_000
    private static let asksToJudge = 1000
    private static let rateToJudge = 100_000.0
    private static let otherCoresMax = 0.2
    private static let megabyte = 1_048_576.0

    func rows(rate: Double) -> [BenchRow] {
        history + questions.flatMap(Self.rows) + [overall(rate), ingest(rate), memory(rate)] + checks
    }

    /// The fill and the start after it.
    private var history: [BenchRow] {
        var rows = [
            BenchRow(
                name: "questions.start", value: readySeconds, unit: "s", bar: 2, n: 1,
                note: "from the start of the process to the first 200 of /health/ready, after a clean stop",
                notJudged: tooFewEvents),
            BenchRow(
                name: "questions.start.resident", value: residentBytesAtStart / Self.megabyte, unit: "MB", n: 1),
        ]
        guard let compactionSeconds else { return rows }
        let fill = BenchRow(
            name: "questions.fill", value: filled.perSecond, unit: "events/s", n: filled.events,
            note: "\(found) events were there before; \(Self.sentence(filled))")
        let compaction = BenchRow(name: "questions.compaction", value: compactionSeconds, unit: "s", n: 1)
        rows.insert(contentsOf: [fill, compaction], at: 0)
        return rows
    }

    private static func rows(_ times: Times) -> [BenchRow] {
        let name = "questions.\(times.name)"
        let n = times.again.count
        return [
            BenchRow(name: name + ".first", value: times.first, unit: "ms", n: 1),
            BenchRow(name: name + ".p50", value: percentile(0.5, of: times.again), unit: "ms", n: n),
            BenchRow(name: name + ".p95", value: percentile(0.95, of: times.again), unit: "ms", n: n),
        ]
    }

    private func overall(_ rate: Double) -> BenchRow {
        var reasons = tooFewEvents.map { [$0] } ?? []
        if all.count < Self.asksToJudge { reasons.append("fewer than \(Self.asksToJudge) answers") }
        if rate < Self.rateToJudge { reasons.append("fewer than \(Int(Self.rateToJudge)) events/s meanwhile") }
        if let others = target.otherCores, others > Self.otherCoresMax {
            reasons.append("other processes took \((others * 100).rounded() / 100) cores")
        }
        return BenchRow(
            name: "questions.p95", value: Self.percentile(0.95, of: all), unit: "ms", bar: 180, n: all.count,
            note: "all questions, first answers included, over \(stored) to \(counted) events",
            notJudged: reasons.isEmpty ? nil : reasons.joined(separator: "; "))
    }

    private func ingest(_ rate: Double) -> BenchRow {
        BenchRow(
            name: "questions.ingest", value: meanwhile.perSecond, unit: "events/s", bar: rate * 0.99,
            higherIsBetter: true, n: meanwhile.events, note: "stored meanwhile; \(Self.sentence(meanwhile))",
            notJudged: tooFewEvents)
    }

    private func memory(_ rate: Double) -> BenchRow {
        BenchRow(
            name: "questions.resident", value: (target.residentBytesMax ?? 0) / Self.megabyte, unit: "MB", bar: 256,
            n: target.residentPerSecond.count, note: "the most that the server held meanwhile",
            notJudged: rate < Self.rateToJudge ? "fewer than \(Int(Self.rateToJudge)) events/s meanwhile" : nil)
    }

    /// What must be so at any size.
    private var checks: [BenchRow] {
        let asked = all.count
        return [
            BenchRow(
                name: "questions.failed", value: Double(failures.count), unit: "answers", bar: 0, n: asked,
                note: failures.prefix(20).joined(separator: "; ")),
            BenchRow(
                name: "questions.count", value: Double(counted), unit: "events",
                bar: Double(stored + meanwhile.events), higherIsBetter: true, n: counted,
                note: "the server's count at the end; the bar is what was acknowledged"),
            BenchRow(
                name: "questions.count.difference", value: Double(difference), unit: "events", bar: 0, n: counted,
                note: "too few or too many, requests without an answer left out"),
        ]
    }

    private var tooFewEvents: String? {
        stored < Self.eventsToJudge ? "fewer than \(Self.eventsToJudge) events stored" : nil
    }

    private static func sentence(_ stored: Stored) -> String {
        "\(stored.refusedRequests) requests refused, \(stored.unansweredRequests) unanswered"
    }
}
