package import AurumCore
internal import Foundation

/// Which build the figures are of.
package struct BuildFacts: Sendable, Codable, Hashable {
    package var version: String
    package var commit: String
    /// `release` or `debug`; a debug build cannot be judged.
    package var mode: String

    package init(version: String, commit: String, mode: String) {
        self.version = version
        self.commit = commit
        self.mode = mode
    }
}

/// A whole run: the one value that every form of the report is made from.
package struct ValidationReport: Sendable, Codable {
    package var schema = 1
    package var runID: String
    package var command: String
    package var profile: String
    package var target: String
    package var seed: UInt64
    package var build: BuildFacts
    package var machine: MachineFacts
    package var startedAt: Timestamp
    package var seconds: Double
    /// True when the server could not be reached at all.
    package var unreachable: Bool
    package var results: [CheckResult]

    package init(
        runID: String, command: String, profile: String, target: String, seed: UInt64, build: BuildFacts,
        machine: MachineFacts, startedAt: Timestamp, seconds: Double, unreachable: Bool, results: [CheckResult]
    ) {
        self.runID = runID
        self.command = command
        self.profile = profile
        self.target = target
        self.seed = seed
        self.build = build
        self.machine = machine
        self.startedAt = startedAt
        self.seconds = seconds
        self.unreachable = unreachable
        self.results = results
    }

    package func count(_ verdict: Verdict) -> Int { results.count { $0.verdict == verdict } }

    /// 0 all PASS, 1 a FAIL or NOT RUN, 2 a VOID (or a machine too small), 4 unreachable. Never 0 with nothing run.
    package var exitCode: Int32 {
        if unreachable { return 4 }
        if results.isEmpty { return 3 }
        if count(.fail) + count(.notRun) > 0 { return 1 }
        if count(.void) + count(.machineTooSmall) + count(.twin) > 0 { return 2 }
        return 0
    }

    /// Says "all passed" only when every check passed.
    package var summary: String {
        if unreachable { return "The target could not be reached; nothing was judged." }
        if results.isEmpty { return "No check was chosen; nothing was judged." }
        let counts = Verdict.allCases.filter { count($0) > 0 }.map { "\(count($0)) \($0.rawValue)" }
            .joined(separator: ", ")
        return count(.pass) == results.count
            ? "All \(results.count) checks passed." : "\(counts) of \(results.count) checks."
    }

    /// Writes `report.md`, `report.json` and `junit.xml` into `folder`.
    package func write(to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for (name, text) in [("report.md", markdown), ("report.json", json), ("junit.xml", junit)] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: folder).appendingPathComponent(name), options: .atomic)
        }
    }

    package var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }
}

extension ValidationReport {
    package var markdown: String {
        var lines = ["# Validation report", "", summary, ""]
        lines += [
            "| | |", "|---|---|", "| run | \(runID) |", "| command | `\(command)` |", "| profile | \(profile) |",
            "| target | \(target) |", "| seed | \(seed) |",
            "| build | \(build.version), commit \(build.commit), \(build.mode) |", "| machine | \(machine.sentence) |",
            "| started | \(startedAt.rfc3339) |", "| took | \(decimal(seconds, 1)) s |", "",
            "| id | check | verdict | requests | figures |", "|---|---|---|---:|---|",
        ]
        for result in results {
            let figures = result.measures.prefix(4).map { "\($0.name) \($0.text)" }.joined(separator: "; ")
            lines.append(
                "| \(result.id) | \(ValidationReport.cell(result.title)) | \(result.verdict.rawValue) "
                    + "| \(result.requests) | \(ValidationReport.cell(figures)) |"
            )
        }
        for result in results { lines += section(result) }
        return lines.joined(separator: "\n") + "\n"
    }

    private func section(_ result: CheckResult) -> [String] {
        var lines = [
            "", "## \(result.id) \(result.title): \(result.verdict.rawValue)", "",
            "Pass line: \(result.threshold) (source: \(result.source)). "
                + "Phase \(result.phase), \(result.requests) requests, "
                + "\(result.held) expectations held, \(decimal(result.seconds, 1)) s.",
        ]
        if !result.findings.isEmpty { lines += [""] + result.findings.map { "- \($0)" } }
        if !result.measures.isEmpty {
            lines += ["", "| figure | measured | bar | met | n |", "|---|---:|---:|---|---:|"]
            lines += result.measures.map { measure in
                "| \(ValidationReport.cell(measure.name)) | \(measure.text) | \(measure.barText) | "
                    + "\(measure.met.map { $0 ? "yes" : "no" } ?? "") | \(measure.n.map(String.init) ?? "") |"
            }
        }
        if !result.raw.isEmpty { lines += ["", "Raw: " + result.raw.map { "`raw/\($0)`" }.joined(separator: ", ")] }
        return lines
    }

    private static func cell(_ text: String) -> String { text.replacingOccurrences(of: "|", with: "\\|") }

    /// One case a check: FAIL is a failure, VOID and MACHINE TOO SMALL are errors, NOT RUN is skipped.
    package var junit: String {
        let failures = count(.fail)
        let errors = count(.void) + count(.machineTooSmall)
        var lines = [
            #"<?xml version="1.0" encoding="UTF-8"?>"#,
            "<testsuites name=\"aurum validate\" tests=\"\(results.count)\" "
                + "failures=\"\(failures)\" errors=\"\(errors)\" "
                + "skipped=\"\(count(.notRun))\" time=\"\(decimal(seconds, 3))\">",
            "  <testsuite name=\"\(ValidationReport.xml(profile))\" tests=\"\(results.count)\" "
                + "failures=\"\(failures)\" "
                + "errors=\"\(errors)\" skipped=\"\(count(.notRun))\" time=\"\(decimal(seconds, 3))\" "
                + "timestamp=\"\(startedAt.rfc3339)\">",
        ]
        for result in results {
            let findings = ValidationReport.xml(result.findings.joined(separator: "\n"))
            let message = ValidationReport.xml(result.findings.first ?? result.verdict.rawValue)
            let figures = result.measures.map { "\($0.name): \($0.text)" }.joined(separator: "\n")
            lines.append(
                "    <testcase classname=\"\(ValidationReport.xml(result.phase))\" "
                    + "name=\"\(ValidationReport.xml(result.id + " " + result.title))\" "
                    + "time=\"\(decimal(result.seconds, 3))\">"
            )
            switch result.verdict {
            case .pass: break
            case .fail: lines.append("      <failure message=\"\(message)\">\(findings)</failure>")
            case .void, .machineTooSmall, .twin:
                lines.append(
                    "      <error type=\"\(result.verdict.rawValue)\" message=\"\(message)\">\(findings)</error>")
            case .notRun: lines.append("      <skipped message=\"\(message)\"/>")
            }
            if !figures.isEmpty { lines.append("      <system-out>\(ValidationReport.xml(figures))</system-out>") }
            lines.append("    </testcase>")
        }
        return (lines + ["  </testsuite>", "</testsuites>"]).joined(separator: "\n") + "\n"
    }

    private static func xml(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "\n": result += "&#10;"
            case "\u{0}"..<"\u{20}": result += " "
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
