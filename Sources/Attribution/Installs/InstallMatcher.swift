internal import AurumCore

/// Decides which touch led to an install: a pure function of the install, its candidates and their verdicts.
package enum InstallMatcher {
    private struct Candidate {
        var touch: InstallTouch
        var verdict: FraudVerdict
        var method: InstallMethod
        var isInWindow: Bool
        var isEligible: Bool { isInWindow && verdict.outcome != .rejected }
    }

    /// The first method with an eligible click wins, in it the latest; without any click the same over views.
    /// - Parameters:
    ///   - touches: each once, with every method that found it.
    ///   - verdicts: of the install, and of each touch in the same order.
    package static func decide(
        _ install: InstallFacts, _ touches: [InstallTouch], window: InstallWindow,
        verdicts: (install: FraudVerdict, touches: [FraudVerdict]), isReinstall: Bool = false
    ) -> InstallDecision {
        let order = InstallMethod.allCases
        let candidates = touches.enumerated().map { index, touch in
            Candidate(
                touch: touch, verdict: index < verdicts.touches.count ? verdicts.touches[index] : .clean,
                method: order.first { touch.methods.contains($0) } ?? .organic,
                isInWindow: isInWindow(touch, install, window))
        }
        var decision = InstallDecision(window: window)
        (decision.install, decision.isReinstall) = (verdicts.install, isReinstall)
        let winner = winner(candidates)
        if let winner {
            let won = candidates[winner]
            (decision.method, decision.touch, decision.touchVerdict) = (won.method, won.touch, won.verdict)
        }
        let lost = candidates.indices.filter { $0 != winner }.map { candidates[$0] }
            .sorted { left, right in right.touch.isOlder(than: left.touch) }
        let won = winner.map { candidates[$0] }
        decision.runnersUp = lost.prefix(InstallDecision.runnersUpMax).map {
            InstallDecision.RunnerUp(touch: $0.touch, method: $0.method, reason: reason($0, won))
        }
        decision.runnersUpLeftOut = lost.count - decision.runnersUp.count
        return decision
    }

    /// The age of a touch lies in its window, both ends included; what comes after the install led to nothing.
    private static func isInWindow(_ touch: InstallTouch, _ install: InstallFacts, _ window: InstallWindow) -> Bool {
        let (age, isOver) = install.at.microseconds.subtractingReportingOverflow(touch.touch.at.microseconds)
        return !isOver && age >= 0 && age <= window.reach(touch.touch.kind)
    }

    /// The place of the touch that led to the install.
    private static func winner(_ candidates: [Candidate]) -> Int? {
        for kind in CandidateTouch.Kind.allCases {
            for method in InstallMethod.allCases where method != .organic {
                let eligible = candidates.indices.filter {
                    candidates[$0].isEligible && candidates[$0].touch.touch.kind == kind
                        && candidates[$0].method == method
                }
                let latest = eligible.max { candidates[$0].touch.isOlder(than: candidates[$1].touch) }
                if let latest { return latest }
            }
        }
        return nil
    }

    private static func reason(_ lost: Candidate, _ won: Candidate?) -> String {
        if lost.verdict.outcome == .rejected { return "fraud:\(lost.verdict.codes.first ?? "rejected")" }
        guard lost.isInWindow, let won else { return "outside_window" }
        if lost.touch.touch.kind == .view, won.touch.touch.kind == .click { return "view_after_click" }
        return lost.method == won.method ? "older" : "later_method"
    }
}
