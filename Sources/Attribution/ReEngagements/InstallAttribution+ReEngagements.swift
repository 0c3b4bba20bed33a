package import AurumCore
internal import Events
internal import Telemetry

/// Re-engagements: opens of an app, by a click or a link, on a device that had it and was away. They take over from the
/// install what the person does in the app in the 30 days after.
extension InstallAttribution {
    // MARK: deciding

    /// Decides every open that waits, an organisation at a time.
    /// - Throws: what one organisation has wrong, once all others are done; without a database at once.
    func decideOpens() async throws {
        var isOver = false
        var failed: [String: any Error] = [:]
        while !isOver {
            try Task.checkCancellation()
            let waiting = try await waitingOpens(without: Array(failed.keys))
            for (org, some) in Dictionary(grouping: waiting, by: \.install.facts.org) {
                do { _ = try await decideOpens(some, org: org, cause: "followed") } catch {
                    try InstallFollower.rethrow(error)
                    failed[org] = error
                }
            }
            isOver = waiting.count < InstallFollower.decidedEach
        }
        if let failure = failed.values.first { throw failure }
    }

    /// Opens that wait for a decision, the longest waiting first, some at a time.
    /// - Parameter without: organisations that are left out.
    package func waitingOpens(without: [String] = []) async throws -> [KeptOpen] {
        try await opens.waiting(limit: InstallFollower.decidedEach, without: without)
    }

    /// Decides opens of an organisation by what is known when it is written, whatever came since they were read.
    /// - Parameter anew: also those that wait no more.
    /// - Returns: decisions that changed.
    package func decideOpens(
        _ some: [KeptOpen], org: String, cause: String, anew: Bool = false
    ) async throws -> Int {
        try await decideOpens(some, org: org, cause: cause, anew: anew, readBack: nil)
    }

    /// - Parameter readBack: where everything about some of them was just read once more.
    func decideOpens(
        _ some: [KeptOpen], org: String, cause: String, anew: Bool, readBack: ReadBack?
    ) async throws -> Int {
        let basis = try await opens.basis(org: org)
        var count = 0
        for start in stride(from: 0, to: some.count, by: ReEngagementStore.decidedTogether) {
            let part = Array(some[start..<min(some.count, start + ReEngagementStore.decidedTogether)])
            let written = try await opens.decide(part, by: basis, cause: cause, anew: anew, readBack: readBack)
            for one in written {
                let outcome = one.open.install.version > 0 ? "restated" : one.decision.outcome.rawValue
                registry.counter(.attributionReEngagements, outcome).increment()
            }
            count += written.count
        }
        return count
    }

    // MARK: settings

    /// Every version of what makes a re-engagement, of all apps.
    package func reEngagementRules(org: String) async throws -> JSONValue {
        let rules = try await opens.rules(org: org)
        return ["standard": ReEngagementRule.standard.json, "rules": .array(rules.map(\.json))]
    }

    /// Saves a version: opens from its time on go by it, earlier ones never. What was decided already stays until it
    /// is recomputed.
    /// - Throws: `LogAttributionError`; database errors.
    package func saveReEngagementRule(_ body: JSONValue, org: String) async throws -> JSONValue {
        let rule = try ReEngagementRule(body, now: clock.now)
        return try await opens.save(rule, org: org).json
    }

    // MARK: answers

    /// Opens that were decided, newest first, a page at a time: those that are re-engagements unless told.
    package func reEngagements(org: String, _ filter: ReEngagementFilter) async throws -> JSONValue {
        let found = try await opens.list(org: org, filter)
        let isFull = found.count == filter.limit
        return [
            "re_engagements": .array(found.map(\.json)),
            "next": isFull ? found.last.map { .string($0.mark.text) } ?? .null : .null,
        ]
    }

    /// One open with its decision; nil where there is none of this id, or none of this version.
    package func reEngagement(
        org: String, id: String, app: String? = nil, version: Int? = nil
    ) async throws -> JSONValue? {
        guard let found = try await opens.one(org: org, id: id, app: app, version: version) else { return nil }
        if version != nil, found.body == nil { return nil }
        var members = found.json.object ?? [:]
        let versions = try await opens.versions(org: org, app: found.open.install.facts.app, id: id)
        members["versions"] = .array(versions.map { .integer(Int64($0)) })
        return .object(members)
    }

    /// What became of the device of an install since.
    /// - Parameter at: a moment: whose a conversion in the app is then.
    func device(org: String, _ install: KeptInstall, at: Timestamp) async throws -> [String: JSONValue] {
        let (facts, keys) = (install.facts, install.keys)
        let some = try await opens.ofDevice(
            keys, org: org, app: facts.app, from: facts.at, limit: Self.opensOfDeviceMax)
        // Whoever was installed or came back last.
        let own = facts.at <= at ? (id: install.eventID, at: facts.at) : nil
        let newest = try await opens.newestInstall(keys, org: org, app: facts.app, until: at) ?? own
        let taken = try await opens.inForce(keys, org: org, app: facts.app, since: newest?.at, at: at)
        // The decision that holds, whichever was asked for.
        var decision: JSONValue?
        if let newest { decision = try await store.one(org: org, id: newest.id, app: facts.app, version: nil)?.body }
        let isCredited = decision != nil && decision?["fraud"]?["verdict"] != "rejected"
        var members: [String: JSONValue] = ["at": .string(at.rfc3339)]
        let body = taken?.body ?? (isCredited ? decision : nil)
        members["source"] = .string(taken != nil ? "re_engagement" : isCredited ? "install" : "none")
        members["id"] = taken.map { .string($0.open.install.eventID) } ?? .null
        if taken == nil, isCredited { members["id"] = newest.map { .string($0.id) } ?? .null }
        for name in ["method", "network", "campaign", "publisher", "creative", "ad_group", "channel"] {
            members[name] = body?[name] ?? .null
        }
        members["until"] = taken?.body?["until"] ?? .null
        return ["re_engagements": .array(some.map(\.json)), "in_force": .object(members)]
    }

    /// Opens of one device that are listed, the newest.
    private static let opensOfDeviceMax = 100

    /// Re-engagements by campaign, and what else opens by clicks and links were.
    package func reEngagementSummary(org: String, _ filter: ReEngagementFilter) async throws -> JSONValue {
        let lines = try await opens.summary(org: org, filter)
        let outcomes = try await opens.outcomes(org: org, filter)
        let counts = ReEngagementDecision.Outcome.allCases.map { outcome in
            (outcome.rawValue, JSONValue.integer(outcomes[outcome.rawValue] ?? 0))
        }
        return [
            "lines": .array(lines.map(\.json)),
            "outcomes": .object(Dictionary(counts) { first, _ in first }),
            "waiting": .integer(outcomes["waiting"] ?? 0),
        ]
    }
}
