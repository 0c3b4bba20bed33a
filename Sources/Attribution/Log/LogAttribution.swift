package import AurumCore
package import Database
package import Events
internal import Foundation
package import Logging
package import Telemetry

/// Attribution from the event log: what counts as a conversion, runs over the log, and what they found.
package struct LogAttribution: Sendable {
    package let definitions: DefinitionStore
    let results: LogResultStore
    package let experiments: ExperimentStore
    package let schedules: RunScheduleStore
    /// Windows of networks and campaigns.
    package let windows: WindowStore
    let source: any ColumnSource
    let persons: @Sendable (_ org: String) -> any PersonResolver
    let sessions: @Sendable (_ org: String) -> SessionRules
    let folder: String
    /// One for all organisations: there is one such value in a server.
    package let gate = LogRunGate()
    /// Lets one question about single conversions read the log at a time.
    let reading = LogRunGate()
    let clock: any WallClock
    let registry: MetricRegistry
    let logger: Logger
    package var settings = LogRunSettings()
    /// Bounds of questions about single conversions.
    package var limits = ExplanationLimits()
    /// Touches from one moment to another that matches of installs join to journeys.
    package typealias Joined =
        @Sendable (_ org: String, _ from: Timestamp, _ to: Timestamp) async throws ->
        [JoinedTouch]
    package var joined: Joined = { _, _, _ in [] }

    /// - Parameters:
    ///   - persons: who is who in an organisation at the moment of the call, after merges.
    ///   - sessions: what an organisation's apps call a session.
    ///   - folder: for temporary files, which no other process uses.
    package init(
        database: Database, source: any ColumnSource, persons: @escaping @Sendable (String) -> any PersonResolver,
        sessions: @escaping @Sendable (String) -> SessionRules = { _ in SessionRules() }, folder: String,
        clock: any WallClock, registry: MetricRegistry, logger: Logger
    ) {
        definitions = DefinitionStore(database: database)
        results = LogResultStore(database: database)
        experiments = ExperimentStore(database: database)
        schedules = RunScheduleStore(database: database)
        windows = WindowStore(database: database)
        (self.source, self.persons, self.sessions, self.folder) = (source, persons, sessions, folder)
        (self.clock, self.registry, self.logger) = (clock, registry, logger)
    }

    /// Removes the temporary files of a process that ended in the middle of a run. Before the first run only.
    package func clean() { SpillFiles.clean(folder) }

    // MARK: runs

    /// What is asked of a run: read and checked.
    package struct Wish: Sendable, Equatable {
        /// nil means all.
        package var conversion: String?
        package var from: Timestamp?
        package var to: Timestamp?
        package var reason = "asked"
        /// Whether a result that the same log and the same settings gave may stand.
        package var onlyIfChanged = false
        /// Whether the credit of live leads and sales of the time is looked at again as well: by another job, so it is
        /// no part of `key` and `json`.
        package var isOfLive = false
        package static let reasonBytesMax = 200

        package init(conversion: String? = nil, from: Timestamp? = nil, to: Timestamp? = nil, reason: String = "asked")
        {
            (self.conversion, self.from, self.to, self.reason) = (conversion, from, to, reason)
        }

        /// - Throws: `LogAttributionError.invalid`.
        package init(_ body: JSONValue) throws(LogAttributionError) {
            guard let members = body.object else { throw .invalid("body", "must be an object.") }
            let known: Set = ["from", "to", "conversion", "reason", "only_if_changed", "live"]
            guard known.isSuperset(of: members.keys) else {
                throw .invalid("body", "has other members than \(known.sorted().joined(separator: ", ")).")
            }
            func text(_ name: String) throws(LogAttributionError) -> String? {
                guard let member = members[name], member != .null else { return nil }
                guard let text = member.string else { throw .invalid(name, "must be text.") }
                return text
            }
            conversion = try text("conversion")
            (from, to) = (try Self.moment("from", try text("from")), try Self.moment("to", try text("to")))
            if let from, let to, from >= to { throw .invalid("to", "must be later than from.") }
            if let member = members["only_if_changed"] {
                guard let isWanted = member.bool else { throw .invalid("only_if_changed", "must be true or false.") }
                onlyIfChanged = isWanted
            }
            // Nothing narrows it but a time.
            isOfLive = conversion == nil && !onlyIfChanged
            if let member = members["live"] {
                guard let isWanted = member.bool else { throw .invalid("live", "must be true or false.") }
                isOfLive = isWanted
            }
            reason = try text("reason") ?? reason
            guard reason.utf8.count <= Self.reasonBytesMax, !reason.utf8.contains(0) else {
                throw .invalid("reason", "must have at most \(Self.reasonBytesMax) bytes.")
            }
        }

        /// A date, midnight UTC, or RFC 3339.
        package static func moment(_ name: String, _ text: String?) throws(LogAttributionError) -> Timestamp? {
            guard let text else { return nil }
            guard let time = DefinitionStore.midnight(text) ?? Timestamp(rfc3339: text) else {
                throw .invalid(name, "must be a date or RFC 3339.")
            }
            return time
        }

        /// The same for wishes that compute the same, whatever their reason.
        package var key: String {
            let parts = [conversion ?? "", from?.rfc3339 ?? "", to?.rfc3339 ?? ""]
            return (parts + (onlyIfChanged ? ["only_if_changed"] : [])).joined(separator: "|")
        }

        /// Of a run's job: a server of the release before reads it too.
        package var json: JSONValue {
            var members: [String: JSONValue] = ["reason": .string(reason)]
            if let conversion { members["conversion"] = .string(conversion) }
            if let from { members["from"] = .string(from.rfc3339) }
            if let to { members["to"] = .string(to.rfc3339) }
            if onlyIfChanged { members["only_if_changed"] = true }
            return .object(members)
        }
    }

    /// Whether there is such a conversion.
    /// - Throws: `unknownConversion`; database errors.
    package func check(_ wish: Wish, org: String) async throws {
        _ = try await definitions.inForce(org: org, names: wish.conversion.map { [$0] })
    }

    /// Computes and stores: what was there before answers until all of it is done.
    ///
    /// Waits while another run works in this process.
    /// - Parameter id: of the run; its temporary files bear it.
    /// - Returns: what was found, by conversion.
    /// - Throws: `LogAttributionError`; database errors, and what the log throws.
    @discardableResult
    package func run(
        _ wish: Wish, org: String, id: UID, control: LogRunControl = LogRunControl()
    ) async throws -> LogRunSummary {
        // One at a time, whatever the organisation: memory has room for one.
        let began = ContinuousClock.now
        try await gate.take()
        defer { gate.give() }
        do {
            let summary = try await compute(wish, org: org, id: id, control)
            let elapsed = ContinuousClock.now - began
            registry.counter(.attributionLogRuns, summary.isUnchanged ? "unchanged" : "done").increment()
            registry.gauge(.attributionLogSucceeded).set(Double(clock.now.microseconds) / 1e6)
            if !summary.isUnchanged {
                registry.histogram(.attributionLogSeconds).observe(elapsed)
                registry.counter(.attributionLogTouches).increment(by: summary.result.touches)
            }
            log(summary, org, elapsed)
            await note(summary.isUnchanged ? .unchanged : .done, wish, org: org, elapsed: elapsed)
            return summary
        } catch {
            registry.counter(.attributionLogRuns, "failed").increment()
            let tag = (error as? LogAttributionError)?.tag ?? "attribution_failed"
            logger.error("attribution from the log failed", metadata: ["code": "\(tag)", "org": "\(org)"])
            // Who gave it up, gave it up: it is done again.
            if error as? LogAttributionError != .cancelled, !(error is CancellationError) {
                await note(.failed, code: tag, wish, org: org, elapsed: ContinuousClock.now - began)
            }
            throw error
        }
    }

    private func compute(
        _ wish: Wish, org: String, id: UID, _ control: LogRunControl
    ) async throws -> LogRunSummary {
        let (asked, persons, source) = (try await request(wish, org: org), persons(org), source)
        let (segments, basis) = try await BlockingWork.value {
            let segments = try source.segments()
            return (segments, try RunBasis.hex(asked, segments: segments, persons: persons))
        }
        if wish.onlyIfChanged, let versions = try await standing(asked, basis) {
            return LogRunSummary(result: LogRunResult(), versions: versions, isUnchanged: true)
        }
        // An attempt that was given up may still be at work in its own folder.
        let attempt = String(UInt64.random(in: 0 ... .max), radix: 16)
        let (place, now) = ("\(folder)/\(id.hex)-\(attempt)", clock.now)
        let result = try await withTaskCancellationHandler {
            try await BlockingWork.value {
                try LogRun(asked, segments: segments, resolver: persons, folder: place, now: now, control: control)
                    .run()
            }
        } onCancel: {
            control.cancel()
        }
        let used: JSONValue = .array(
            asked.definitions.map { known in
                var members = known.definition.json.object ?? [:]
                members["version"] = .integer(Int64(known.version))
                return .object(members)
            })
        let facts = Dictionary(
            uniqueKeysWithValues: result.results.map { found -> (String, JSONValue) in
                var members = found.facts(result).object ?? [:]
                members[Self.milestoneFact] = asked.milestone?.json ?? .null
                members[Self.basisFact] = .string(basis)
                if !asked.windows.isEmpty { members[Self.windowsFact] = .array(asked.windows.map(\.json)) }
                return (found.name, .object(members))
            })
        let versions = try await results.store(
            result, org: org,
            LogResultStore.Occasion(run: id, cause: wish.reason, from: wish.from, to: wish.to, settings: used),
            facts: facts)
        do { try await results.sweep(org: org) } catch {
            // The result stands; what is left over goes with the next run.
            logger.warning("old results of attribution are not removed yet", metadata: ["org": "\(org)"])
        }
        return LogRunSummary(result: result, versions: versions)
    }

    private func request(_ wish: Wish, org: String) async throws -> LogRunRequest {
        let inForce = try await definitions.inForce(org: org, names: wish.conversion.map { [$0] })
        var request = LogRunRequest(org: org, definitions: inForce, from: wish.from, to: wish.to)
        request.milestone = try await milestone(org: org)
        request.sessions = sessions(org)
        request.settings = settings
        request.windows = try await windows.versions(org: org)
        let reach = request.reach
        request.joined = try await joined(
            org, wish.from.map { $0 - reach } ?? Timestamp(microseconds: .min),
            wish.to ?? Timestamp(microseconds: .max))
        request.rejected = try await FraudStore(database: results.database).rejected(org: org)
        return request
    }

    /// The versions that answer, if a run would find the same for each of them.
    private func standing(_ request: LogRunRequest, _ basis: String) async throws -> [String: Int]? {
        var versions: [String: Int] = [:]
        for name in Set(request.definitions.map(\.definition.name)) {
            let newest = try await results.heads(org: request.org, conversion: name, limit: 1).first
            guard let newest, newest.facts[Self.basisFact]?.string == basis else { return nil }
            versions[name] = newest.version
        }
        return versions
    }

    /// The member of a result's facts that names what it was computed from.
    static let basisFact = "basis"
    /// The member of a result's facts that holds the windows of networks and campaigns; absent where there were none.
    static let windowsFact = "windows"
    /// The member of a result's facts that says what its milestone was.
    static let milestoneFact = "milestone"

    /// What runs call the milestone now; nil for nothing.
    func milestone(org: String) async throws -> ConversionDefinition? {
        let all = try await definitions.inForce(org: org, names: nil)
        return all.last { $0.definition.name == ConversionDefinition.milestone }?.definition
    }

    private func log(_ summary: LogRunSummary, _ org: String, _ elapsed: Duration) {
        let result = summary.result
        if summary.isUnchanged {
            return logger.info(
                "nothing has changed since the last run of attribution",
                metadata: ["code": "attribution_unchanged", "org": "\(org)"])
        }
        logger.info(
            "attribution from the log is done",
            metadata: [
                "code": "attribution_run", "org": "\(org)", "milliseconds": "\(Int(elapsed.seconds * 1000))",
                "rows": "\(result.rowsScanned)", "touchpoints": "\(result.touches)", "persons": "\(result.persons)",
                "conversions": "\(result.results.reduce(0) { $0 + $1.conversions })",
                "spilled_bytes": "\(result.spilledBytes)", "partitions": "\(result.partitions)",
            ])
    }

    // MARK: reports

    /// Results that can be asked for, newest first.
    package func runs(org: String, conversion: String? = nil, limit: Int = 100) async throws -> [LogResultHead] {
        try await results.heads(org: org, conversion: conversion, limit: limit)
    }

    /// Results of one run with all that is kept of them, by conversion; none where they are gone, or never were.
    package func runResults(org: String, run: UID) async throws -> [JSONValue] {
        try await results.heads(org: org, run: run).map(\.whole)
    }

    /// The newest result of a conversion, or an older one.
    /// - Throws: `noResult`; database errors.
    package func head(org: String, conversion: String, version: Int? = nil) async throws -> LogResultHead {
        let heads = try await results.heads(org: org, conversion: conversion, limit: LogResultStore.versionsKept + 1)
        let found = version.map { version in heads.first { $0.version == version } }
        guard let head = version == nil ? heads.max(by: { $0.version < $1.version }) : found ?? nil else {
            throw LogAttributionError.noResult(conversion)
        }
        return head
    }

    /// Credit of a conversion under one model by channel, campaign or day.
    /// - Parameters:
    ///   - from: days since 1970 of conversions, UTC.
    ///   - to: the day that they lie before.
    /// - Throws: `noResult`, `noCustomWeights`, `tooLarge` for amounts that do not fit 64 bits; database errors.
    package func report(
        org: String, conversion: String, model: LogModel, by dimension: LogDimension, version: Int? = nil,
        from: Timestamp? = nil, to: Timestamp? = nil
    ) async throws -> JSONValue {
        let head = try await head(org: org, conversion: conversion, version: version)
        if model == .custom, !head.has(model) { throw LogAttributionError.noCustomWeights(conversion) }
        let (first, end) = (from.map { Int($0.microseconds.flooredDay) }, to.map { Int($0.microseconds.flooredDay) })
        if model == .dataDriven { return try await dataDriven(head, org: org, by: dimension, from: first, to: end) }
        let lines = try await results.lines(
            head, org: org, model: model.name, by: dimension, from: first, to: end)
        return .object(try Self.answer(model, dimension, head, lines))
    }

    static func answer(
        _ model: LogModel, _ dimension: LogDimension, _ head: LogResultHead, _ lines: [LogReportLine]
    ) throws(LogAttributionError) -> [String: JSONValue] {
        [
            "model": .string(model.name), "group_by": .string(dimension.rawValue), "result": head.json,
            "split": "per_conversion", "lines": .array(lines.prefix(LogResultStore.linesMax).map(\.json)),
            // Of all lines, those that are not shown among them.
            "totals": .object(try Self.totals(lines)),
        ]
    }

    private static func totals(_ lines: [LogReportLine]) throws(LogAttributionError) -> [String: JSONValue] {
        func sums(_ amount: (LogReportLine) -> Int64) throws(LogAttributionError) -> JSONValue {
            var amounts: [String: Int64] = [:]
            for line in lines where !line.currency.isEmpty {
                let (sum, isOver) = amounts[line.currency, default: 0].addingReportingOverflow(amount(line))
                guard !isOver else { throw CreditTally.pastSums }
                amounts[line.currency] = sum
            }
            return .object(amounts.mapValues { .integer($0) })
        }
        return [
            "conversions": .number(Double(lines.reduce(0) { $0 + $1.creditPPM }) / 1_000_000),
            "amount_minor": try sums { $0.amountMinor }, "returned_minor": try sums { $0.returnedMinor },
            "net_minor": try sums { $0.netMinor },
        ]
    }

    /// The most frequent journeys that converted.
    /// - Throws: `noResult`; database errors.
    package func journeys(org: String, conversion: String, version: Int? = nil, limit: Int) async throws -> JSONValue {
        let head = try await head(org: org, conversion: conversion, version: version)
        let paths = try await results.paths(head, org: org, limit: limit)
        return [
            "result": head.json,
            "journeys": .array(
                paths.map { ["path": .string($0.path), "conversions": .integer(Int64($0.conversions))] }),
        ]
    }
}

/// What a run found and under which version it is stored.
package struct LogRunSummary: Sendable {
    package var result: LogRunResult
    package var versions: [String: Int]
    /// Nothing was computed: these versions say what a run would find.
    package var isUnchanged = false

    package var json: JSONValue {
        if isUnchanged {
            return ["unchanged": true, "versions": .object(versions.mapValues { .integer(Int64($0)) })]
        }
        let results = result.results.map { found -> JSONValue in
            var members = found.facts(result).object ?? [:]
            members["conversion"] = .string(found.name)
            members["version"] = .integer(Int64(versions[found.name] ?? 0))
            return .object(members)
        }
        return [
            "results": .array(results), "rows_scanned": .integer(Int64(result.rowsScanned)),
            "touchpoints": .integer(Int64(result.touches)), "persons": .integer(Int64(result.persons)),
            "position": result.position.map { .string($0) } ?? .null,
            "seconds": .array(result.seconds.map { .number($0) }),
        ]
    }
}

extension LogConversionResult {
    func facts(_ result: LogRunResult) -> JSONValue {
        var members: [String: JSONValue] = [
            "conversions": .integer(Int64(conversions)), "organic": .integer(Int64(organic)),
            "repeated": .integer(Int64(repeated)), "journeys_without_conversion": .integer(Int64(nulls)),
            "truncated": .integer(Int64(truncated)), "touches": .integer(Int64(touches)),
            "split_equally": .integer(Int64(flat)), "refused_consent": .integer(Int64(result.refusedConsent)),
            "rejected_as_fraud": .integer(Int64(result.rejectedTouches)),
            "notes": .array(result.notes.map { .string($0) }),
        ]
        var models: [String: JSONValue] = [:]
        for fit in fits {
            models[fit.model.name] = [
                "conversion_probability": fit.conversion.map { .number($0) } ?? .null,
                "states": fit.states.map { .integer(Int64($0)) } ?? .null,
                "removal_effects": .object(fit.effects.mapValues { .number($0) }),
                "totals": .object(fit.totals.mapValues { .number($0) }),
            ]
        }
        members["fits"] = .object(models)
        members.merge(refunds?.members ?? [:]) { $1 }
        return .object(members)
    }
}
