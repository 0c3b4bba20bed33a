package import AurumCore
internal import Events
internal import Logging
internal import Telemetry

/// What is asked of a recomputation of installs.
package struct InstallWish: Sendable, Equatable {
    /// Installs with `from` ≤ time < `to`; nil for no bound.
    package var from: Timestamp?
    package var to: Timestamp?
    /// A run over the log is to credit what comes out, once it is done.
    package var credits = false

    package init(from: Timestamp? = nil, to: Timestamp? = nil, credits: Bool = false) {
        (self.from, self.to, self.credits) = (from, to, credits)
    }

    /// - Throws: `LogAttributionError.invalid`.
    package init(_ body: JSONValue) throws(LogAttributionError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        guard Set(members.keys).isSubset(of: ["from", "to", "credit"]) else {
            throw .invalid("body", "has other members than from, to, credit.")
        }
        if let member = members["credit"], member != .null {
            guard member == true || member == false else { throw .invalid("credit", "must be true or false.") }
            credits = member == true
        }
        func moment(_ name: String) throws(LogAttributionError) -> Timestamp? {
            guard let member = members[name], member != .null else { return nil }
            guard let text = member.string else { throw .invalid(name, "must be a date or RFC 3339.") }
            return try LogAttribution.Wish.moment(name, text)
        }
        (from, to) = (try moment("from"), try moment("to"))
        if let from, let to, from >= to { throw .invalid("to", "must be later than from.") }
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [:]
        if let from { members["from"] = .string(from.rfc3339) }
        if let to { members["to"] = .string(to.rfc3339) }
        if credits { members["credit"] = true }
        return .object(members)
    }

    /// The same for wishes that do the same.
    package var key: String {
        [from?.rfc3339 ?? "", to?.rfc3339 ?? "", credits ? "credit" : ""].joined(separator: "|")
    }
}

extension InstallAttribution {
    /// How long touches that were brought back stay without a further word.
    private static let heldFor: Duration = .seconds(3600)

    /// Reads the log once more and decides every install of a time range anew. What comes out otherwise than before is
    /// a new version; the old ones stay readable. May be given up and begun again at any moment.
    /// - Parameters:
    ///   - run: stands in the cause of the decisions.
    ///   - progress: told how many installs were looked at.
    /// - Returns: installs that were looked at, and decisions that changed.
    package func recompute(
        _ wish: InstallWish, org: String, run: UID, progress: @Sendable (Int) async throws -> Void = { _ in }
    ) async throws -> (installs: Int, changed: Int) {
        let reach = max(Self.longest(try await windows(org: org)), try await opens.reach(org: org))
        let (from, to) = (wish.from?.microseconds ?? .min, wish.to?.microseconds ?? .max)
        let (earliest, isOver) = from.subtractingReportingOverflow(reach)
        let first = isOver ? Int64.min : earliest
        var bounds = InstallScanBounds(org: org)
        bounds.touches = first...to
        bounds.installs = (from, to)
        bounds.apps = Set(try await store.owners().filter { $0.org == org })
        // Those of devices with opens are read when the opens are known.
        bounds.devices = []
        let held = Timestamp(microseconds: first)
        try await store.hold(org: org, run: run, reach: held, until: clock.now + Self.heldFor)
        let source = source
        let scan = try await BlockingWork.value { [bounds] in
            InstallScan(try source.segments(), after: nil, bounds: bounds)
        }
        var heldAt = clock.now
        func stay() async throws {
            try Task.checkCancellation()
            guard clock.now - heldAt > .seconds(60) else { return }
            heldAt = clock.now
            try await store.hold(org: org, run: run, reach: held, until: heldAt + Self.heldFor)
        }
        while var batch = try await BlockingWork.value({ try scan.next() }) {
            try await stay()
            batch.reopens = false
            try await store.keep(batch, log: nil)
            try await progress(0)
        }
        var (looked, changed) = (0, 0)
        var mark: InstallPageMark?
        while true {
            try await stay()
            let page = try await store.page(
                org: org, from: from, to: to, after: mark, limit: InstallFollower.decidedEach)
            guard let last = page.last else { break }
            changed += try await decide(page, cause: "recomputed \(run.hex)")
            looked += page.count
            mark = InstallPageMark(at: last.facts.at, app: last.facts.app, eventID: last.eventID)
            try await progress(looked)
        }
        changed += try await recomputeOpens(org: org, from: from, to: to, run: run, stay)
        try await store.release(org: org, run: run)
        if changed > 0 { registry.counter(.attributionRestatements, "recomputed").increment(by: changed) }
        logger.info(
            "installs were decided anew",
            metadata: [
                "code": "installs_recomputed", "org": "\(org)", "installs": "\(looked)", "changed": "\(changed)",
                "damaged_blocks": "\(scan.damaged)",
            ])
        return (looked, changed)
    }
}
