internal import AurumCore
internal import Foundation
import Testing
internal import Validation

#if canImport(FoundationXML)
    internal import FoundationXML
#endif

@Suite struct ReportTests {
    private func result(_ id: String, _ verdict: Verdict, _ measures: [Measure] = []) -> CheckResult {
        CheckResult(
            id: id, title: "a <check> of \(id) | with \"signs\"", phase: "integration", threshold: "all & everything",
            source: "test", verdict: verdict, findings: verdict == .pass ? [] : ["what went wrong & why"], held: 3,
            requests: 17, measures: measures, seconds: 1.25, raw: [])
    }

    private func report(_ results: [CheckResult], unreachable: Bool = false) -> ValidationReport {
        ValidationReport(
            runID: "run", command: "aurum validate --spawn", profile: "smoke", target: "http://127.0.0.1:1", seed: 7,
            build: BuildFacts(version: "1", commit: "abc", mode: "release"), machine: .current,
            startedAt: Timestamp(milliseconds: 1_795_224_568_000), seconds: 12.5, unreachable: unreachable,
            results: results)
    }

    @Test func `all forms carry the same numbers`() throws {
        let measures = [
            Measure("p95", 12.345, "ms", .below, bar: 85, n: 1312),
            Measure("stored", 199_871, "events/s", .atLeast, bar: 198_000),
        ]
        let report = report([result("T01", .pass, measures), result("P01", .fail), result("R01", .notRun)])
        let json = try JSONDecoder().decode(ValidationReport.self, from: Data(report.json.utf8))
        #expect(json.results.map(\.measures) == report.results.map(\.measures))
        for measure in measures {
            #expect(report.markdown.contains(measure.text))
            #expect(report.junit.contains("\(measure.name): \(measure.text)"))
        }
        #expect(report.markdown.contains("1312") && report.markdown.contains("< 85 ms"))
        let parser = XMLCounter()
        let cases = try parser.count(Data(report.junit.utf8))
        #expect(cases["testcase"] == 3 && cases["failure"] == 1 && cases["skipped"] == 1)
        #expect(report.junit.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""))
    }

    @Test func `the headline says all passed only when all did`() {
        #expect(report([result("A", .pass), result("B", .pass)]).summary == "All 2 checks passed.")
        #expect(report([result("A", .pass), result("B", .twin)]).summary == "1 PASS, 1 TWIN of 2 checks.")
    }

    @Test func `exit codes tell failures, void runs, nothing chosen and nobody there apart`() {
        #expect(report([result("A", .pass)]).exitCode == 0)
        #expect(report([result("A", .pass), result("B", .fail), result("C", .void)]).exitCode == 1)
        #expect(report([result("A", .pass), result("C", .notRun)]).exitCode == 1)
        #expect(report([result("A", .pass), result("C", .void)]).exitCode == 2)
        #expect(report([result("A", .machineTooSmall)]).exitCode == 2)
        #expect(report([]).exitCode == 3)
        #expect(report([], unreachable: true).exitCode == 4)
    }

    @Test func `a figure that may not be read never meets its bar`() {
        var recorder = LatencyRecorder()
        for _ in 0..<50 { recorder.finished(intended: 0, sent: 0, answered: 1_000_000) }
        let few = Measure("p99", recorder.summary.p99, below: 100, n: recorder.count)
        #expect(few.met == false && few.text.contains("n too small"))
        for _ in 0..<100 { recorder.unfinished(waited: 2_000_000) }
        let censored = Measure("p95", recorder.summary.p95, below: 100, n: recorder.count)
        #expect(censored.met == false && censored.text.hasPrefix("≥ "))
        #expect(Measure("x", 5, "", .atMost, bar: 5).met == true)
        #expect(Measure("x", 5, "", .below, bar: 5).met == false)
    }

    @Test func `a run against nobody writes a report and exits 4`() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("aurum-report-\(UUID().uuidString)")
            .path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let run = ValidationRun(
            target: ValidationTarget(url: "http://127.0.0.1:9", adminToken: "none"), out: folder, command: "test",
            build: BuildFacts(version: "1", commit: "abc", mode: "release"))
        let report = await run.run()
        #expect(report.exitCode == 4)
        for name in ["report.md", "report.json", "junit.xml"] {
            #expect(FileManager.default.fileExists(atPath: "\(folder)/\(name)"))
        }
    }

    @Test func `every check has an id of its own, a pass line and a source`() {
        let list = ValidationRun.list
        #expect(Set(list.map(\.id)).count == list.count)
        #expect(list.count >= 15)
        for check in list { #expect(!check.threshold.isEmpty && !check.source.isEmpty && !check.profiles.isEmpty) }
    }
}

/// Counts the elements of an XML text; throws when it is not well formed.
private final class XMLCounter: NSObject, XMLParserDelegate {
    private var counts: [String: Int] = [:]

    func count(_ data: Data) throws -> [String: Int] {
        let parser = XMLParser(data: data)
        parser.delegate = self
        guard parser.parse() else { throw parser.parserError ?? CocoaError(.fileReadCorruptFile) }
        return counts
    }

    func parser(
        _ parser: XMLParser, didStartElement elementName: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        counts[elementName, default: 0] += 1
    }
}
