internal import AurumCore
internal import Synchronization

/// One run of a plan over a snapshot of the log.
struct QueryRun: Sendable {
    let plan: QueryPlan
    let context: QueryContext
    let resolver: any PersonResolver
    let kept: KeptAnswers?
    let limits: QueryLimits

    /// What came out, and up to where the log was read.
    struct Outcome: Sendable {
        var answer: PartialAnswer
        var position: LogPosition?
    }

    /// Blocks of one segment that make one partial answer.
    private struct Unit: Sendable {
        var segment: ColumnSegment
        var blocks: [Int]
        /// All blocks lie in the time range, so that their answer may be kept.
        var isKept: Bool
    }

    func run(_ segments: [ColumnSegment]) throws -> Outcome {
        var total = PartialAnswer(plan)
        var covered: [CoveredBlocks] = []
        var units = units(segments)
        useKept(&units, &total, &covered)
        var answers = try scan(units)
        for (index, unit) in units.enumerated() where unit.isKept {
            if let answer = answers[index] { keepSegment(unit, answer) }
            try merge(&answers[index], into: &total)
            Self.cover(unit, &covered)
        }
        if !total.isEstimated, total.damagedBlocks == 0, !covered.isEmpty {
            kept?.keep(KeptAnswers.Entry(covered: covered, answer: total), plan.key, scope)
        }
        for (index, unit) in units.enumerated() where !unit.isKept { try merge(&answers[index], into: &total) }
        return Outcome(answer: total, position: try Self.newest(segments))
    }

    private var scope: KeptAnswers.Scope {
        guard let from = plan.query.from, let to = plan.query.to else { return .range(hours: nil) }
        return .range(hours: (to.microseconds - from.microseconds) / 3_600_000_000)
    }

    /// Takes a unit's answer into the whole, and gives up its memory.
    private func merge(_ answer: inout PartialAnswer?, into total: inout PartialAnswer) throws {
        guard let part = answer else { return }
        answer = nil
        let before = total.byteCount
        merge(part, into: &total)
        context.addBytes(total.byteCount - before - part.byteCount)
        if context.mustEstimate { try shrink(&total) }
        try check(total)
    }

    private func shrink(_ answer: inout PartialAnswer) throws {
        let exact = answer.byteCount
        answer.estimate(resolver, plan)
        context.addBytes(answer.byteCount - exact)
        if context.isOverMemory { throw QueryError.tooLarge("more memory than a query may have") }
    }

    /// Where the newest row stands that a query over these segments covers.
    static func newest(_ segments: [ColumnSegment]) throws -> LogPosition? {
        for segment in segments.reversed() {
            if let newest = segment.newest { return newest }
            for index in segment.blocks.indices.reversed() where segment.blocks[index].rowCount > 0 {
                if let block = try segment.read(index) { return block.position(block.rowCount - 1) }
            }
        }
        return nil
    }

    // MARK: what to scan

    private func units(_ segments: [ColumnSegment]) -> [Unit] {
        var units: [Unit] = []
        for segment in segments {
            let held = segment.blocks.indices.filter { plan.filter.mayHold(segment.blocks[$0]) }
            let whole = held.filter { plan.filter.spans(segment.blocks[$0]) }
            let cut = held.filter { !plan.filter.spans(segment.blocks[$0]) }
            if !whole.isEmpty { units.append(Unit(segment: segment, blocks: whole, isKept: true)) }
            if !cut.isEmpty { units.append(Unit(segment: segment, blocks: cut, isKept: false)) }
        }
        return units
    }

    /// Takes from what was kept whatever lies in the time range, and leaves in `units` what still has to be read.
    private func useKept(_ units: inout [Unit], _ total: inout PartialAnswer, _ covered: inout [CoveredBlocks]) {
        guard let kept else { return }
        if let entry = kept.entry(plan.key, scope), take(entry.covered, from: &units) {
            total = entry.answer
            covered = entry.covered
            context.addKept(total.rowsRead)
        }
        for index in units.indices where units[index].isKept && !units[index].blocks.isEmpty {
            let identity = units[index].segment.identity
            guard let entry = kept.entry(plan.key, .segment(identity)) else { continue }
            var one = [units[index]]
            guard take(entry.covered, from: &one) else { continue }
            var taken = units[index]
            taken.blocks = entry.covered.flatMap { $0.blocks.keys }
            Self.cover(taken, &covered)
            units[index] = one[0]
            context.addKept(entry.answer.rowsRead)
            merge(entry.answer, into: &total)
        }
        units.removeAll { $0.blocks.isEmpty }
    }

    /// Takes covered blocks out of the units. False, and nothing taken, when one of them is in none.
    private func take(_ covered: [CoveredBlocks], from units: inout [Unit]) -> Bool {
        var left = units
        for part in covered {
            guard let index = left.firstIndex(where: { $0.isKept && $0.segment.identity == part.segment }) else {
                return false
            }
            let unit = left[index]
            left[index].blocks.removeAll { part.blocks[$0] == unit.segment.blocks[$0].rowCount }
            guard unit.blocks.count - left[index].blocks.count == part.blocks.count else { return false }
        }
        units = left
        return true
    }

    private static func cover(_ unit: Unit, _ covered: inout [CoveredBlocks]) {
        let blocks = Dictionary(
            unit.blocks.map { ($0, unit.segment.blocks[$0].rowCount) }, uniquingKeysWith: { $1 })
        if let index = covered.firstIndex(where: { $0.segment == unit.segment.identity }) {
            covered[index].blocks.merge(blocks) { $1 }
        } else {
            covered.append(CoveredBlocks(segment: unit.segment.identity, blocks: blocks))
        }
    }

    /// Keeps a sealed segment's own answer as soon as it is whole, for ranges that begin or end elsewhere.
    private func keepSegment(_ unit: Unit, _ answer: PartialAnswer) {
        guard unit.segment.isSealed, !answer.isEstimated, answer.damagedBlocks == 0 else { return }
        var covered: [CoveredBlocks] = []
        Self.cover(unit, &covered)
        kept?.keep(KeptAnswers.Entry(covered: covered, answer: answer), plan.key, .segment(unit.segment.identity))
    }

    private func merge(_ answer: PartialAnswer, into total: inout PartialAnswer) {
        if context.mustEstimate { total.estimate(resolver, plan) }
        total.merge(answer, resolver, plan)
    }

    private func check(_ answer: PartialAnswer) throws(QueryError) {
        try context.check()
        guard answer.groups.count <= limits.groupsMax else {
            throw .tooLarge("more than \(limits.groupsMax) groups")
        }
    }

    // MARK: scanning

    /// A few blocks of one unit: what a thread takes at a time.
    private struct Piece: Sendable {
        var unit: Int
        var blocks: ArraySlice<Int>
    }

    /// Reads all units on a bounded number of threads; one partial answer a unit.
    private func scan(_ units: [Unit]) throws -> [PartialAnswer?] {
        let total = units.reduce(0) { $0 + $1.blocks.count }
        guard total > 0 else { return [] }
        let threads = min(limits.threads > 0 ? limits.threads : ScanThreads.count, total)
        let size = max(4, total / (threads * 8))
        var pieces: [Piece] = []
        for (number, unit) in units.enumerated() {
            for start in stride(from: 0, to: unit.blocks.count, by: size) {
                pieces.append(
                    Piece(unit: number, blocks: unit.blocks[start..<min(unit.blocks.count, start + size)]))
            }
        }
        let work = Work(units: units, pieces: pieces, plan: plan)
        ScanThreads.run(min(threads, pieces.count)) { drain(work) }
        do { return try work.answers() } catch {
            // A query that ran out of time begins where it ended when it is asked again.
            for (unit, answer) in work.whole() where unit.isKept { keepSegment(unit, answer) }
            throw error
        }
    }

    /// What the threads of one scan share.
    private final class Work: Sendable {
        let units: [Unit]
        let pieces: [Piece]
        private let next = Atomic<Int>(0)
        private let found: Mutex<[PartialAnswer?]>
        /// Pieces of each unit whose answers were not handed in yet.
        private let missing: Mutex<[Int]>
        private let failure = Mutex<(any Error)?>(nil)

        init(units: [Unit], pieces: [Piece], plan: QueryPlan) {
            (self.units, self.pieces) = (units, pieces)
            found = Mutex(units.map { _ in nil })
            missing = Mutex(units.indices.map { unit in pieces.count { $0.unit == unit } })
        }

        func take() -> Piece? {
            guard failure.withLock({ $0 == nil }) else { return nil }
            let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
            return index < pieces.count ? pieces[index] : nil
        }

        func fail(_ error: any Error) {
            failure.withLock { if $0 == nil { $0 = error } }
        }

        /// nil when the place was free; otherwise what another thread put there meanwhile.
        func put(_ answer: PartialAnswer, _ unit: Int) -> PartialAnswer? {
            found.withLock { answers in
                if let other = answers[unit] {
                    answers[unit] = nil
                    return other
                }
                answers[unit] = answer
                return nil
            }
        }

        func handedIn(_ unit: Int, pieces: Int) { missing.withLock { $0[unit] -= pieces } }

        /// The units that were read to their end.
        func whole() -> [(Unit, PartialAnswer)] {
            let missing = missing.withLock { $0 }
            return found.withLock { found in
                units.indices.compactMap { unit in
                    missing[unit] == 0 ? found[unit].map { (units[unit], $0) } : nil
                }
            }
        }

        func answers() throws -> [PartialAnswer?] {
            if let error = failure.withLock({ $0 }) { throw error }
            return found.withLock { $0 }
        }
    }

    private func drain(_ work: Work) {
        let aggregator = BlockAggregator(plan)
        var unit: Int?
        var pieces = 0
        var answer = PartialAnswer(plan)
        do {
            while let piece = work.take() {
                if piece.unit != unit {
                    if let unit { hand(answer, unit, work, pieces) }
                    answer = PartialAnswer(plan)
                    pieces = 0
                    unit = piece.unit
                    aggregator.beginAnswer()
                }
                let segment = work.units[piece.unit].segment
                for index in piece.blocks { try add(segment, index, aggregator, &answer) }
                pieces += 1
            }
            if let unit { hand(answer, unit, work, pieces) }
        } catch { work.fail(error) }
    }

    private func hand(_ answer: PartialAnswer, _ unit: Int, _ work: Work, _ pieces: Int) {
        var answer = answer
        defer { work.handedIn(unit, pieces: pieces) }
        while let other = work.put(answer, unit) {
            let bytes = answer.byteCount + other.byteCount
            answer.merge(other, resolver, plan)
            context.addBytes(answer.byteCount - bytes)
        }
    }

    private func add(
        _ segment: ColumnSegment, _ index: Int, _ aggregator: BlockAggregator, _ answer: inout PartialAnswer
    ) throws {
        try context.check()
        guard let block = try segment.read(index) else {
            answer.damagedBlocks += 1
            return
        }
        let before = answer.byteCount
        do {
            try aggregator.add(block, to: &answer)
        } catch BlockView.Failure.damaged {
            answer.damagedBlocks += 1
            return
        }
        context.addScanned(block.rowCount)
        context.addBytes(answer.byteCount - before)
        if context.mustEstimate { try shrink(&answer) }
        try check(answer)
    }
}
