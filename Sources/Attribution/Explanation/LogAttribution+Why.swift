package import AurumCore
internal import Events

/// Which credit is asked about.
package struct WhyQuestion: Sendable {
    package var conversion: String
    /// The event's id.
    package var event: String
    /// Where several apps have an event of this id.
    package var app: String?
    /// Of the result, if not the newest.
    package var version: Int?
    /// nil takes all.
    package var model: LogModel?

    package init(conversion: String, event: String) { (self.conversion, self.event) = (conversion, event) }
}

extension LogAttribution {
    /// Why a run credited a conversion as it did: the journey as the run's walk sees it and what each model makes of
    /// it, by the run's code, definition, milestone and fits, over the rows of the log that the run covers.
    /// - Throws: `noResult`, `unknownEvent`, `erasedEvent`, `notYetRun`, `notCredited`, `tooLarge`, `slow`, `busy`,
    ///   `cancelled`; database errors, and what the log throws.
    package func why(org: String, _ question: WhyQuestion) async throws -> JSONValue {
        try await self.question("explained", org: org) { budget in
            // Events first, and what the journey wants of the database once its time is known.
            let bare = try await again(
                org: org, conversion: question.conversion, version: question.version, joined: nil)
            let event = try await BlockingWork.value {
                try EventSearch(run: bare, budget: budget).event(question.event, app: question.app)
            }
            let known = try Self.checked(event, bare)
            let run = try await again(
                org: org, conversion: question.conversion, version: bare.head.version,
                joined: Self.joinedRange(known.spot.time, bare.plan))
            return try await BlockingWork.value {
                try JourneyExplanation(run: run, event: known, budget: budget).json(model: question.model)
            }
        }
    }

    /// The event, as far as its run may have credited it.
    private static func checked(_ event: EventSearch.Found?, _ run: RunAgain) throws -> EventSearch.Found {
        guard let event else { throw LogAttributionError.unknownEvent }
        switch event.outcome {
        case nil: throw LogAttributionError.erasedEvent
        case .bot?: throw LogAttributionError.notCredited("The event is a bot's, and bots convert nothing.")
        case .duplicate?, .quarantined?:
            throw LogAttributionError.notCredited("The event was refused or a copy; only its outcome is kept.")
        case .stored?, .late?: break
        }
        guard event.position <= run.last else { throw LogAttributionError.notYetRun }
        guard event.person != 0 else {
            throw LogAttributionError.notCredited("The event names no person, and runs credit those of persons alone.")
        }
        let to = run.head.to?.microseconds ?? .max
        guard event.spot.time >= run.plan.from, event.spot.time < to else {
            throw LogAttributionError.notCredited("The event is outside the times that the run was asked for.")
        }
        return event
    }

    /// Times whose joined touches can matter at a conversion: its window and a session on both sides.
    private static func joinedRange(_ time: Int64, _ plan: LogRunPlan) -> ClosedRange<Timestamp> {
        let reach = plan.request.reach.microseconds
        let session = 2 * SessionRule.lengthMax
        let (start, isUnder) = time.subtractingReportingOverflow(reach + session)
        let (end, isOver) = time.addingReportingOverflow(session)
        return Timestamp(microseconds: isUnder ? .min : start)...Timestamp(microseconds: isOver ? .max : end)
    }
}

/// One conversion of a run with everything that its credit comes from. Blocks its thread.
struct JourneyExplanation {
    let run: RunAgain
    let event: EventSearch.Found
    let budget: ReadingBudget

    /// One touch of the answer.
    private struct Line {
        var spot: JourneyWitness.Spot
        var fate: JourneyWitness.Fate
        /// nil where the run keeps nothing of it.
        var record: LogRecord?
        /// nil for a touch of another person that a match of an install joins.
        var row: PersonReading.Row?
    }

    func json(model: LogModel?) throws -> JSONValue {
        let witness = JourneyWitness(wanted: event.spot, effects: run.effects)
        let back = try RefundSearch(run: run, budget: budget).refunds(of: event)
        let rows = try run.reading([event.person], budget).walk(witness, withRows: true, refund: back.record)
        guard let seen = witness.seen else {
            guard witness.isLeftOut else {
                throw LogAttributionError.notCredited(
                    "The event is not what the run counted as \(run.head.conversion): see the definition it used.")
            }
            throw LogAttributionError.notCredited(
                "The repeat rule of \(run.head.conversion) leaves the event out: an earlier one counts.")
        }
        let lines = lines(seen, rows)
        let shown = shown(lines)
        let conversion = run.plan.conversions[seen.number]
        let currency = run.plan.currencies.text(seen.currency) ?? ""
        var members: [String: JSONValue] = [
            "result": run.json, "definition": conversion.definition.json,
            "definition_version": .integer(Int64(conversion.version)),
            "conversion": [
                "event": .string(try id(of: event)), "app": .string(event.app),
                "at": .string(Timestamp(microseconds: event.spot.time).rfc3339),
                "person": .string(LogAttribution.personToken(event.person)), "amount_minor": .integer(seen.minor),
                "returned_minor": .integer(seen.returned), "net_minor": .integer(seen.minor - seen.returned),
                "returned": .bool(seen.isReturned),
                "currency": .string(currency), "position": .string(event.position.description),
            ],
            "organic": .bool(seen.journey.isEmpty), "truncated": .bool(!seen.isWhole),
            "milestone_at": seen.milestone.map { .string(Timestamp(microseconds: $0).rfc3339) } ?? .null,
            "journey": .array(seen.journey.indices.map { touchpoint($0, seen) }),
            "touches": .array(try touches(shown)), "touches_left_out": .integer(Int64(lines.count - shown.count)),
            "notes": .array(Self.notes.map { .string($0) }),
        ]
        let all = seen.models.filter { model == nil || $0.model == model }
        if !run.plan.refunds.isEmpty { members["refunds"] = back.json }
        members["models"] = .array(
            seen.journey.isEmpty
                ? LogModel.stored.filter { model == nil || $0 == model }
                    .filter { $0 != .custom || conversion.custom != nil }.map { organic($0, seen) }
                : all.map { self.model($0, seen, conversion) })
        return .object(members)
    }

    private static let notes = [
        "Definition, milestone, fits and rows of the log are those of the run; merges, gaps of sessions, matches of "
            + "installs, verdicts on fraud and erasures are those of now."
    ]

    private func id(of event: EventSearch.Found) throws -> String {
        try run.segments[event.segment].read(event.block)?.event(event.row)?.id ?? ""
    }

    // MARK: touches

    /// Every touch of the person that is known, oldest first.
    private func lines(_ seen: JourneyWitness.Seen, _ rows: [PersonReading.Row]) -> [Line] {
        let time = event.spot.time
        var read: [JourneyWitness.Spot: PersonReading.Row] = [:]
        for row in rows where row.outcome == .stored || row.outcome == .late { read[row.spot] = row }
        var lines: [Line] = []
        for (record, fate) in seen.touches {
            let spot = JourneyWitness.Spot(record)
            let isLater = record.time > time
            lines.append(
                Line(
                    spot: spot, fate: isLater ? .after : fate, record: record,
                    row: read.removeValue(forKey: spot)))
        }
        // The run keeps nothing of what is too old for every conversion, nor of who refuses.
        for row in read.values {
            let isOld = row.spot.time < run.plan.touches.from
            let fate: JourneyWitness.Fate = row.spot.time > time ? .after : isOld ? .outsideWindow : .noConsent
            lines.append(Line(spot: row.spot, fate: fate, record: nil, row: row))
        }
        for row in rows where row.outcome == .bot || row.outcome == .duplicate {
            let fate: JourneyWitness.Fate =
                row.spot.time > time ? .after : row.outcome == .bot ? .bot : .duplicate
            lines.append(Line(spot: row.spot, fate: fate, record: nil, row: row))
        }
        return lines.sorted { JourneyWitness.Spot.isNewer($1.spot, $0.spot) }
    }

    /// Those that earn, and of the others the newest, as many as one answer names.
    private func shown(_ lines: [Line]) -> [Line] {
        var room = budget.limits.touchesMax
        var isShown = [Bool](repeating: false, count: lines.count)
        func take(_ isWanted: (Line) -> Bool) {
            for index in lines.indices.reversed() where room > 0 && !isShown[index] && isWanted(lines[index]) {
                isShown[index] = true
                room -= 1
            }
        }
        take { if case .touchpoint = $0.fate { true } else { false } }
        take { $0.fate != .after }
        take { _ in true }
        return lines.indices.filter { isShown[$0] }.map { lines[$0] }
    }

    private func touches(_ lines: [Line]) throws -> [JSONValue] {
        var events: [Int: StoredEvent] = [:]
        let places = lines.indices.filter { lines[$0].row != nil }
        let byBlock = Dictionary(grouping: places) { place in
            BlockPlace(segment: lines[place].row?.segment ?? 0, block: lines[place].row?.block ?? 0)
        }
        for (place, members) in byBlock {
            try budget.take(0)
            guard let block = try run.segments[place.segment].read(place.block) else { continue }
            for member in members {
                if let row = lines[member].row { events[member] = try block.event(row.row) }
            }
        }
        return lines.indices.map { touch(lines[$0], events[$0]) }
    }

    private struct BlockPlace: Hashable {
        var segment: Int
        var block: Int
    }

    private func touch(_ line: Line, _ event: StoredEvent?) -> JSONValue {
        var members: [String: JSONValue] = [
            "at": .string(Timestamp(microseconds: line.spot.time).rfc3339),
            "event": event.map { .string($0.id) } ?? .null, "type": event.map { .string($0.type.name) } ?? .null,
            "app": event.map { .string($0.app) } ?? .null, "joined": .bool(line.row == nil),
            "reason": line.fate.reason.map { .string($0) } ?? .null,
        ]
        if let event {
            let names = [event.campaign.name, event.campaign.id]
            let campaign = names.compactMap { $0 }.first { !$0.isEmpty }
            (members["channel"], members["campaign"]) = (.string(event.channel.rawValue), .string(campaign ?? ""))
        } else if let record = line.record {
            members["channel"] = .string(TouchChannel.name(TouchLabel.channel(record.label)))
            members["campaign"] = .string(campaign(record.label))
        }
        switch line.fate {
        case .touchpoint(let place):
            (members["eligible"], members["touchpoint"]) = (true, .integer(Int64(place)))
        case .merged(let place): (members["eligible"], members["touchpoint"]) = (false, .integer(Int64(place)))
        default: (members["eligible"], members["touchpoint"]) = (false, .null)
        }
        return .object(members)
    }

    private func campaign(_ label: UInt32) -> String {
        run.plan.campaigns.text(TouchLabel.campaign(label)) ?? ""
    }

    // MARK: models

    private func touchpoint(_ place: Int, _ seen: JourneyWitness.Seen) -> JSONValue {
        let touch = seen.journey[place]
        let kind = touch.kind == LogRecord.Kind.click ? "click" : touch.kind == LogRecord.Kind.view ? "view" : "visit"
        return [
            "touchpoint": .integer(Int64(place)), "at": .string(Timestamp(microseconds: touch.time).rfc3339),
            "kind": .string(kind), "channel": .string(TouchChannel.name(TouchLabel.channel(touch.label))),
            "campaign": .string(campaign(touch.label)), "milestone": .bool(place == seen.milestonePlace),
            "seconds_before_conversion": .number(Double(event.spot.time - touch.time) / 1_000_000),
        ]
    }

    private func organic(_ model: LogModel, _ seen: JourneyWitness.Seen) -> JSONValue {
        [
            "model": .string(model.name), "formula": "no touchpoint was eligible: the conversion is organic",
            "inputs": [:], "split_equally": false,
            "credits": [
                [
                    "touchpoint": .null, "raw": 1, "weight": 1, "credit_ppm": 1_000_000,
                    "amount_minor": .integer(seen.minor), "returned_minor": .integer(seen.returned),
                ]
            ],
        ]
    }

    private func model(
        _ made: JourneyWitness.Weighed, _ seen: JourneyWitness.Seen, _ conversion: LogRunPlan.Conversion
    ) -> JSONValue {
        let credits = seen.journey.indices.map { place -> JSONValue in
            [
                "touchpoint": .integer(Int64(place)), "raw": .number(made.raw[place]),
                "weight": .number(made.weights[place]), "credit_ppm": .integer(made.credits[place]),
                "amount_minor": .integer(made.parts[place]), "returned_minor": .integer(made.returned[place]),
            ]
        }
        return [
            "model": .string(made.model.name), "formula": .string(Self.formula(made.model)),
            "inputs": .object(inputs(made, seen, conversion)), "split_equally": .bool(made.isFlat),
            "credits": .array(credits),
        ]
    }

    private func inputs(
        _ made: JourneyWitness.Weighed, _ seen: JourneyWitness.Seen, _ conversion: LogRunPlan.Conversion
    ) -> [String: JSONValue] {
        switch made.model {
        case .rule(.timeDecay):
            let newest = seen.journey.last?.time ?? 0
            return [
                "half_life_seconds": .number(conversion.halfLifeSeconds),
                "seconds_before_last": .array(seen.journey.map { .number(Double(newest - $0.time) / 1_000_000) }),
            ]
        case .rule(.wShaped), .rule(.wShaped30303010):
            return ["milestone": seen.milestonePlace < 0 ? .null : .integer(Int64(seen.milestonePlace))]
        case .rule(.first), .rule(.last), .rule(.linear), .rule(.position):
            return ["touchpoints": .integer(Int64(seen.journey.count))]
        case .rule(.lastNonDirect):
            let direct = seen.journey.indices.filter {
                TouchLabel.channel(seen.journey[$0].label) == TouchChannel.direct
            }
            return ["direct": .array(direct.map { .integer(Int64($0)) })]
        case .custom:
            return [
                "weights": conversion.definition.custom?.json ?? .null,
                "milestone": seen.milestonePlace < 0 ? .null : .integer(Int64(seen.milestonePlace)),
            ]
        case .markov, .shapley, .dataDriven:
            var (effects, counts): ([String: JSONValue], [String: Int]) = ([:], [:])
            for (place, touch) in seen.journey.enumerated() {
                let channel = TouchChannel.name(TouchLabel.channel(touch.label))
                effects[channel] = .number(made.raw[place])
                counts[channel, default: 0] += 1
            }
            let name = made.model == .shapley ? "value" : "removal_effects"
            return [
                name: .object(effects), "touches_of_channel": .object(counts.mapValues { .integer(Int64($0)) }),
            ]
        }
    }

    /// How the weights come about, in the words of docs/attribution.md.
    static func formula(_ model: LogModel) -> String {
        switch model {
        case .rule(.first): "all to the first touch"
        case .rule(.last): "all to the last touch"
        case .rule(.lastNonDirect): "all to the last touch whose channel is not direct; all direct: the last"
        case .rule(.linear): "1/n"
        case .rule(.timeDecay): "0.5^(seconds before the last touch / half-life), divided by the sum"
        case .rule(.position): "1; 0.5, 0.5; 0.4, 0.2 shared between, 0.4"
        case .rule(.wShaped): "0.3 first, 0.3 milestone, 0.4 last; no milestone: 3/7 and 4/7"
        case .rule(.wShaped30303010):
            "0.3 first, 0.3 milestone, 0.3 last, 0.1 shared by the others, divided by the sum"
        case .custom:
            "the definition's weights of first, middle (shared by the others), milestone and last, times the factor of "
                + "the channel, divided by the sum"
        case .markov: "removal effect of the channel / sum over the journey's channels / touches of the channel"
        case .shapley: "1 / channels of the journey / touches of the channel"
        case .dataDriven: "credit of markov1 times the factor of the channel; the rest is the baseline"
        }
    }
}
