internal import AurumCore
internal import Events
internal import Synchronization

/// Finds an event of the log by its id. Blocks its thread.
struct EventSearch {
    /// Where an event stands, and what a run would call it.
    struct Found {
        var spot: JourneyWitness.Spot
        /// After merges; 0 for nobody.
        var person: UInt64
        var outcome: EventOutcome?
        var position: LogPosition
        var app: String
        var segment: Int
        var block: Int
        var row: Int

        /// Whether runs read it.
        var isRead: Bool { outcome == .stored || outcome == .late }
    }

    let run: RunAgain
    let budget: ReadingBudget

    /// - Parameter app: of this app alone; nil takes the first that is met, the newest blocks first.
    /// - Returns: the event that counts, else a copy that was sent again, refused or taken out; nil for none.
    /// - Throws: `slow`, `cancelled`; what the log throws.
    func event(_ id: String, app: String?) throws -> Found? {
        let org = run.plan.request.org
        var places: [(segment: Int, block: Int)] = []
        for (number, segment) in run.segments.enumerated().reversed() {
            for (index, summary) in segment.blocks.enumerated().reversed() where summary.rowCount > 0 {
                let mayHold = summary.sources.contains { $0.org == org && (app == nil || $0.app == app) }
                if mayHold { places.append((number, index)) }
            }
        }
        let tasks = places
        let next = Atomic(0)
        let isDone = Atomic(false)
        let all = Mutex<[Found]>([])
        try LogWorkers.share(run.workers) { isOver in
            while !isOver(), !isDone.load(ordering: .relaxed) {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < tasks.count else { break }
                let (segment, number) = tasks[index]
                try budget.take(run.segments[segment].blocks[number].rowCount)
                guard let block = try run.segments[segment].read(number) else { continue }
                let rows = try block.rows(ofEvent: id)
                guard !rows.isEmpty else { continue }
                let found = try found(rows, block, app: app, segment: segment, number: number)
                if found.contains(where: { $0.isRead || $0.outcome == .bot }) { isDone.store(true, ordering: .relaxed) }
                all.withLock { $0 += found }
            }
        }
        // Of several the one that counts, the newest of those; a bot's before a copy or what was taken out.
        func rank(_ found: Found) -> Int {
            switch found.outcome {
            case .stored?, .late?: 3
            case .bot?: 2
            case nil: 1
            case .duplicate?, .quarantined?: 0
            }
        }
        return all.withLock { $0 }.max { (rank($0), $0.position) < (rank($1), $1.position) }
    }

    private func found(
        _ rows: [UInt32], _ block: any ColumnBlock, app: String?, segment: Int, number: Int
    ) throws -> [Found] {
        let (times, outcomes) = (try block.times(), try block.outcomes())
        let (plan, org) = (run.plan, run.plan.request.org)
        var all: [Found] = []
        for row in rows {
            let request = block.requests.first {
                $0.firstRow <= Int(row) && Int(row) < $0.firstRow + $0.rowCount
            }
            guard let request, request.org == org, app == nil || request.app == app else { continue }
            let outcome = EventOutcome(rawValue: outcomes[Int(row)])
            var found = Found(
                spot: JourneyWitness.Spot(time: times[Int(row)], id: 0, tail: 0), person: 0, outcome: outcome,
                position: block.position(Int(row)), app: request.app, segment: segment, block: number, row: Int(row))
            if found.isRead {
                let facts = try block.touchRows([row], org: org)
                (found.spot.id, found.spot.tail) = (facts.orders[0], facts.tails[0])
                found.person = facts.persons[0] == 0 ? 0 : plan.resolver.person(facts.persons[0])
            }
            all.append(found)
        }
        return all
    }
}

/// Finds the events that a run took for conversions, the newest first. Blocks its thread.
struct ConversionSearch {
    struct Found {
        var spot: JourneyWitness.Spot
        /// After merges.
        var person: UInt64
        /// Of the conversion in the plan.
        var number: Int
        var segment: Int
        var block: Int
        var row: Int
    }

    let run: RunAgain
    let budget: ReadingBudget

    /// - Parameters:
    ///   - from: microseconds since 1970, and `to`: conversions at or after the one and before the other.
    ///   - after: of a page before: only what is older.
    ///   - limit: events, at most.
    /// - Returns: events that fit the definition, those among them that its repeat rule leaves out.
    func newest(from: Int64, to: Int64, after: JourneyWitness.Spot?, limit: Int) throws -> [Found] {
        let plan = run.plan
        var places: [(latest: Int64, segment: Int, block: Int)] = []
        for (number, segment) in run.segments.enumerated() {
            for (index, summary) in segment.blocks.enumerated() {
                guard summary.rowCount > 0, summary.latest >= from, summary.earliest < to || to == .max,
                    after.map({ summary.earliest <= $0.time }) != false,
                    plan.conversions.contains(where: { $0.filter.mayHold(summary) })
                else { continue }
                places.append((summary.latest, number, index))
            }
        }
        places.sort { ($0.latest, $0.segment, $0.block) > ($1.latest, $1.segment, $1.block) }
        let scanners = plan.conversions.map { RowScanner($0.filter) }
        var found: [Found] = []
        for place in places {
            // Blocks come by their latest event: what follows is older than all of a full page.
            if found.count >= limit, let last = found.last, place.latest < last.spot.time { break }
            try budget.take(run.segments[place.segment].blocks[place.block].rowCount)
            guard let bare = try run.segments[place.segment].read(place.block) else { continue }
            let block = MemoBlock(bare)
            for (number, scanner) in scanners.enumerated() {
                let rows = try scanner.select(block).rows(of: block.rowCount)
                if rows.isEmpty { continue }
                found += try self.found(rows, block, number, (place.segment, place.block)).filter { one in
                    one.spot.time >= from && (one.spot.time < to || to == .max)
                        && after.map { JourneyWitness.Spot.isNewer($0, one.spot) } != false
                }
            }
            found.sort { JourneyWitness.Spot.isNewer($0.spot, $1.spot) }
            if found.count > limit { found.removeLast(found.count - limit) }
        }
        return found
    }

    private func found(
        _ rows: [UInt32], _ block: MemoBlock, _ number: Int, _ place: (segment: Int, block: Int)
    ) throws -> [Found] {
        let plan = run.plan
        let facts = try block.touchRows(rows, org: plan.request.org)
        let times = try block.times()
        return rows.indices.compactMap { index in
            let row = Int(rows[index])
            guard facts.persons[index] != 0, block.position(row) <= run.last else { return nil }
            return Found(
                spot: JourneyWitness.Spot(time: times[row], id: facts.orders[index], tail: facts.tails[index]),
                person: plan.resolver.person(facts.persons[index]), number: number, segment: place.segment,
                block: place.block, row: row)
        }
    }
}
