internal import AurumCore

/// What the rules say of an install or of one of its touches, with why.
package struct FraudDecision: Sendable, Equatable {
    package var outcome: FraudVerdict.Outcome
    /// In the order of their names.
    package var codes: [FraudCode]
    /// The entry of a list that decided.
    package var reason: String?
    /// Nothing at all may be credited to the touch.
    package var isBarred = false

    static let clean = FraudDecision(outcome: .clean, codes: [])

    var verdict: FraudVerdict { FraudVerdict(outcome: outcome, codes: codes.map(\.rawValue)) }

    /// From what was found: one rejecting code rejects, and so do as many suspect ones as the setting says.
    init(_ found: [(code: FraudCode, rejects: Bool)], _ limits: FraudLimits) {
        let known = found.filter { !limits.off.contains($0.code) }
        let rejecting = Set(known.filter(\.rejects).map(\.code))
        let codes = Set(known.map(\.code))
        self.codes = codes.sorted { $0.rawValue < $1.rawValue }
        let isCrowd = codes.subtracting(rejecting).count >= limits.count(.suspects)
        outcome = !rejecting.isEmpty || isCrowd ? .rejected : codes.isEmpty ? .clean : .suspect
        isBarred = isCrowd || rejecting.contains(where: \.barsTouch)
    }

    init(outcome: FraudVerdict.Outcome, codes: [FraudCode]) { (self.outcome, self.codes) = (outcome, codes) }

    init(_ entry: FraudEntry) {
        switch entry.list {
        case .allow: self.init(outcome: .clean, codes: [.allowListed])
        case .deny: self.init(outcome: .rejected, codes: [.denyListed])
        case .suspend: self.init(outcome: .rejected, codes: [.suspended])
        }
        reason = entry.reason
        isBarred = outcome == .rejected
    }
}

/// The verdict of an install and those of its touches, in their order.
package struct FraudDecisions: Sendable, Equatable {
    package var install: FraudDecision
    package var touches: [FraudDecision]
}

/// Each rule as a pure function of facts.
enum FraudJudgement {
    private static let second: Int64 = 1_000_000

    /// - Parameters:
    ///   - velocity: of the app, of these facts among others.
    ///   - patterns: what was found of publishers of the app, and still stands.
    ///   - limits: that hold for a network at the install's time.
    static func decide(
        _ install: FraudInstall, _ velocity: FraudVelocity, _ lists: FraudLists,
        patterns: [FraudSource: Set<FraudCode>], _ limits: (_ network: String?) -> FraudLimits
    ) -> FraudDecisions {
        var own: [(code: FraudCode, rejects: Bool)] = []
        if install.isEmulator { own.append((.emulator, false)) }
        if install.isFromDataCentre { own.append((.datacentreIP, false)) }
        if velocity.farmed.contains(install.id) { own.append((.deviceFarm, true)) }
        if velocity.repeated.contains(install.id) { own.append((.installVelocity, true)) }
        let touches = install.touches.map { touch in
            if let entry = lists.entry(install, touch) { return FraudDecision(entry) }
            let limits = limits(touch.network)
            return FraudDecision(
                own + delays(install, touch, limits) + marks(install, touch, velocity)
                    + patterned(install, touch, patterns, limits), limits)
        }
        let entry = lists.entry(install, nil)
        return FraudDecisions(
            install: entry.map { FraudDecision($0) } ?? FraudDecision(own, limits(nil)), touches: touches)
    }

    /// Time from click to install: < 1 s, 1–10 s, > 30 d or negative; and clicks after the store began to install.
    static func delays(
        _ install: FraudInstall, _ touch: FraudTouch, _ limits: FraudLimits
    ) -> [(code: FraudCode, rejects: Bool)] {
        guard touch.kind == .click else { return [] }
        var found: [(code: FraudCode, rejects: Bool)] = []
        if let began = install.beganAt, began < touch.at { found.append((.clickAfterInstallStart, true)) }
        guard let delay = install.delay(touch), delay >= 0, delay <= limits.span(.longDays, FraudVelocity.day) else {
            return found + [(.ctitLong, true)]
        }
        if delay < limits.span(.impossibleSeconds, second) {
            found.append((.ctitImpossible, true))
        } else if delay <= limits.span(.fastSeconds, second) {
            found.append((.ctitFast, false))
        }
        return found
    }

    private static func marks(
        _ install: FraudInstall, _ touch: FraudTouch, _ velocity: FraudVelocity
    ) -> [(code: FraudCode, rejects: Bool)] {
        var found: [(code: FraudCode, rejects: Bool)] = []
        if velocity.crowded.contains(touch.id) {
            found.append((.clickVelocity, velocity.excess.contains(touch.id)))
        }
        if let clicked = touch.system?.lowercased(), let installed = install.system?.lowercased(), clicked != installed
        {
            found.append((.userAgentMismatch, false))
        }
        return found
    }

    private static func patterned(
        _ install: FraudInstall, _ touch: FraudTouch, _ patterns: [FraudSource: Set<FraudCode>], _ limits: FraudLimits
    ) -> [(code: FraudCode, rejects: Bool)] {
        guard let source = touch.source, let codes = patterns[source] else { return [] }
        var isFast = false
        if touch.kind == .click, let delay = install.delay(touch) {
            isFast = delay >= 0 && delay <= limits.span(.fastSeconds, second)
        }
        return codes.map { ($0, $0 == .injectionPattern && isFast) }
    }
}
