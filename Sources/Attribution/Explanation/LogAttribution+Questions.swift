internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// A run's result with the plan that the run had.
struct RunAgain: Sendable {
    var head: LogResultHead
    var plan: LogRunPlan
    /// The last row of the log that the run covers.
    var last: LogPosition
    var segments: [ColumnSegment]
    var workers: Int
    /// For temporary files of this question alone.
    var folder: String

    /// The result in answers.
    var json: JSONValue {
        [
            "conversion": .string(head.conversion), "version": .integer(Int64(head.version)),
            "run": .string(head.run.hex), "cause": .string(head.cause),
            "from": head.from.map { .string($0.rfc3339) } ?? .null, "to": head.to.map { .string($0.rfc3339) } ?? .null,
            "position": head.position.map { .string($0) } ?? .null,
            "finished_at": head.finishedAt.map { .string($0.rfc3339) } ?? .null,
        ]
    }

    /// By place in `LogModel.fitted`: the effects that the run divided by, of 32 channels; nil where it left a model
    /// out.
    var effects: [[Double]?] {
        LogModel.fitted.map { model in
            guard case .markov = model else { return [Double](repeating: 1, count: 32) }
            guard let known = head.facts["fits"]?[model.name]?["removal_effects"]?.object else { return nil }
            var effects = [Double](repeating: 0, count: 32)
            for (place, channel) in TouchChannel.names.enumerated() where place < effects.count {
                effects[place] = known[channel]?.double ?? 0
            }
            return effects
        }
    }

    func reading(_ persons: Set<UInt64>, _ budget: ReadingBudget) -> PersonReading {
        PersonReading(
            plan: plan, segments: segments, persons: persons, last: last, budget: budget, workers: workers,
            folder: "\(folder)-\(String(UInt64.random(in: 0 ... .max), radix: 16))")
    }
}

extension LogAttribution {
    /// The result of a run, and what the run was asked for: definitions, windows and milestone as they were. Sessions,
    /// merges, joined touches and verdicts on fraud are those of now.
    /// - Parameter joined: the times of touches that matches of installs join; nil takes none.
    /// - Throws: `noResult`, `notYetRun` for a run over an empty log; database errors, and what the log throws.
    func again(
        org: String, conversion: String, version: Int?, joined range: ClosedRange<Timestamp>?
    ) async throws -> RunAgain {
        let head = try await head(org: org, conversion: conversion, version: version)
        guard let last = head.position.flatMap({ LogPosition($0) }) else { throw LogAttributionError.notYetRun }
        var request = LogRunRequest(
            org: org, definitions: try await used(head, org: org), from: head.from, to: head.to)
        switch head.facts[Self.milestoneFact] {
        case .null?: request.milestone = nil
        case let body?:
            request.milestone = try ConversionDefinition(body, name: ConversionDefinition.milestone, now: clock.now)
        case nil: request.milestone = try await milestone(org: org)
        }
        request.windows = try (head.facts[Self.windowsFact]?.array ?? []).map { try WindowOverride($0, now: clock.now) }
        request.sessions = sessions(org)
        request.settings = settings
        if let range {
            request.joined = try await joined(org, range.lowerBound, range.upperBound)
            request.rejected = try await FraudStore(database: results.database).rejected(org: org)
        }
        let cores = ProcessInfo.processInfo.activeProcessorCount
        return RunAgain(
            head: head, plan: try LogRunPlan(request, resolver: persons(org), now: clock.now), last: last,
            segments: try source.segments(), workers: max(1, settings.workers > 0 ? settings.workers : cores),
            folder: "\(folder)/question-\(head.run.hex)")
    }

    /// The definitions that a run took, with the times that each was in force then: versions that were saved later were
    /// not known to it.
    private func used(_ head: LogResultHead, org: String) async throws -> [DefinitionInForce] {
        var bodies: [Int: JSONValue] = [:]
        for body in head.settings.array ?? [] where body["name"]?.string == head.conversion {
            if let version = body["version"]?.integer.flatMap({ Int(exactly: $0) }) { bodies[version] = body }
        }
        let newest = bodies.keys.max() ?? 0
        let known = try await definitions.versions(org: org, name: head.conversion).filter { $0.version <= newest }
        return try DefinitionStore.inForce(known).map { known in
            guard let body = bodies[known.version] else { return known }
            var used = known
            used.definition = try ConversionDefinition(body, name: head.conversion, now: clock.now)
            return used
        }
    }

    /// One question at a time, in order of arrival, for at most `limits.duration`.
    /// - Throws: `busy` when others wait; what `body` throws.
    func question<Value: Sendable>(
        _ name: String, org: String, _ body: (ReadingBudget) async throws -> Value
    ) async throws -> Value {
        let began = ContinuousClock.now
        do {
            try await reading.take()
            defer { reading.give() }
            let budget = ReadingBudget(limits)
            let value = try await withTaskCancellationHandler {
                try await body(budget)
            } onCancel: {
                budget.control.cancel()
            }
            registry.counter(.attributionExplanations, "done").increment()
            registry.histogram(.attributionExplanationSeconds).observe(ContinuousClock.now - began)
            logger.info(
                "a question about single conversions is answered",
                metadata: [
                    "code": "attribution_\(name)", "org": "\(org)", "rows": "\(budget.rowsRead)",
                    "milliseconds": "\(Int((ContinuousClock.now - began).seconds * 1000))",
                ])
            return value
        } catch {
            let tag = (error as? LogAttributionError)?.tag ?? "attribution_failed"
            registry.counter(.attributionExplanations, tag).increment()
            logger.info(
                "a question about single conversions has no answer",
                metadata: ["code": "\(tag)", "org": "\(org)", "question": "\(name)"])
            throw error
        }
    }
}
