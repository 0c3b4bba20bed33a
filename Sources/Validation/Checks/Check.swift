internal import Foundation
internal import Synchronization

/// How much of the list a run does.
package enum ValidationProfile: String, Sendable, Codable, CaseIterable {
    /// Some seconds: whether the checks themselves work. Judges no speed; only the event scenarios have this size.
    case tiny
    /// At most three minutes.
    case smoke
    case standard
    /// Stage lengths of the requirements.
    case full
}

/// One entry of the list of checks.
struct Check: Sendable {
    var id: String
    var title: String
    var phase: String
    /// Areas by which `--suite` selects.
    var suites: Set<String>
    var threshold: String
    var source: String
    var profiles: Set<ValidationProfile> = [.smoke, .standard, .full]
    /// Needs a server that it may kill.
    var needsOwnServer = false
    var seconds: Double = 60
    var body: @Sendable (CheckContext, Findings) async throws -> Void
}

/// What `aurum validate list` shows.
package struct CheckListing: Sendable, Codable, Hashable {
    package var id: String
    package var title: String
    package var phase: String
    package var suites: [String]
    package var threshold: String
    package var source: String
    package var profiles: [String]
}

/// Collects what a check saw. A check passes when something was expected, everything expected held, and no figure
/// missed its bar.
final class Findings: Sendable {
    private struct State {
        /// Expectations that did not hold: wrong whatever the speed.
        var failed: [String] = []
        /// Figures past their bar: they count only in a run that is fit to be judged.
        var missed: [String] = []
        var voids: [String] = []
        var ceiling: String?
        var held = 0
        var requests = 0
        var measures: [Measure] = []
        var raw: [String] = []
    }

    private let state = Mutex(State())
    private let rawFolder: String
    /// Id of the check.
    let name: String
    private static let failedMax = 40

    init(id: String, rawFolder: String) {
        name = id
        self.rawFolder = rawFolder
    }

    @discardableResult
    func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) -> Bool {
        let text = condition ? "" : sentence()
        state.withLock { state in
            if condition {
                state.held += 1
            } else if state.failed.count < Findings.failedMax {
                state.failed.append(text)
            }
        }
        return condition
    }

    func measure(_ measure: Measure) {
        state.withLock { state in
            state.measures.append(measure)
            if measure.met == false { state.missed.append("\(measure.name) \(measure.text), bar \(measure.barText)") }
            if measure.met == true { state.held += 1 }
        }
    }

    func isVoid(_ reasons: [String]) { state.withLock { $0.voids += reasons } }
    func machineTooSmall(_ ceiling: String) { state.withLock { $0.ceiling = ceiling } }
    func sent(_ count: Int) { state.withLock { $0.requests += count } }
    var requests: Int { state.withLock { $0.requests } }

    /// Keeps a latency distribution as `[value µs, count]` pairs beside the report.
    func keep(_ recorder: LatencyRecorder, as name: String) {
        let pairs = recorder.pairs
        let document: [String: [[UInt64]]] = ["answered": pairs.answered, "unfinished": pairs.unfinished]
        let file = "\(self.name)-\(name).hist.json"
        guard let data = try? JSONEncoder().encode(document) else { return }
        let folder = URL(fileURLWithPath: rawFolder)
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        guard (try? data.write(to: folder.appendingPathComponent(file))) != nil else { return }
        state.withLock { $0.raw.append(file) }
    }

    func keep(json: String, as name: String) {
        let file = "\(self.name)-\(name).json"
        let folder = URL(fileURLWithPath: rawFolder)
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        guard (try? Data(json.utf8).write(to: folder.appendingPathComponent(file))) != nil else { return }
        state.withLock { $0.raw.append(file) }
    }

    func result(of check: Check, seconds: Double, error: String?) -> CheckResult {
        state.withLock { state in
            var findings = state.failed + state.missed
            if let error { findings.append(error) }
            let verdict: Verdict
            if error != nil || !state.failed.isEmpty {
                verdict = .fail
                findings += state.voids
            } else if !state.missed.isEmpty, state.ceiling == nil {
                verdict = state.voids.isEmpty ? .fail : .void
                findings += state.voids
            } else if let ceiling = state.ceiling {
                verdict = .machineTooSmall
                findings.append(ceiling)
            } else if !state.voids.isEmpty {
                verdict = .void
                findings += state.voids
            } else if state.held == 0 || state.requests == 0 {
                verdict = .fail
                findings.append(
                    "it sent \(state.requests) requests and expected \(state.held) things: nothing was checked")
            } else {
                verdict = .pass
            }
            return CheckResult(
                id: check.id, title: check.title, phase: check.phase, threshold: check.threshold,
                source: check.source, verdict: verdict, findings: findings, held: state.held,
                requests: state.requests, measures: state.measures, seconds: seconds, raw: state.raw)
        }
    }
}
