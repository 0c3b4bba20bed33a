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
        /// All blocks lie in the time range: their answer serves every range that they lie in.
        var isWhole: Bool
        /// How many of them the segment has, those among them that a kept answer covers.
        var blockCount: Int
    }

    func run(_ segments: [ColumnSegment]) throws -> Outcome {
        var total = PartialAnswer(plan)
        var covered: [CoveredBlocks] = []
        var units = units(segments)
        useKept(&units, &total, &covered)
        let work = scan(units)
        if let failure = work.failure {
            if case QueryError.timeout = failure { keep(work, &total, &covered) }
            throw failure
        }
        var answers = work.answers
        for (unit, answer) in zip(units, answers) { keepSegment(unit, answer) }
        do {
            for (index, unit) in units.enumerated() {
                try merge(&answers[index], into: &total)
                Self.cover(unit, &covered)
                try check(total)
            }
        } catch {
            if case QueryError.timeout = error { keep(total, covered) }
            throw error
        }
        keep(total, covered)
        return Outcome(answer: total, position: try Self.newest(segments))
    }

    /// Keeps what was read in time: the same query goes on from there when it is asked again.
    private func keep(_ work: Work, _ total: inout PartialAnswer, _ covered: inout [CoveredBlocks]) {
        for (answer, unit) in zip(work.answers, work.unitsRead) {
            keepSegment(unit, answer)
            guard let answer else { continue }
            merge(answer, into: &total)
            Self.cover(unit, &covered)
        }
        keep(total, covered)
    }

    private func keep(_ total: PartialAnswer, _ covered: [CoveredBlocks]) {
        guard !total.isEstimated, total.damagedBlocks == 0, !covered.isEmpty else { return }
        kept?.keep(KeptAnswers.Entry(covered: covered, answer: total), plan.key, scope)
    }

    private var scope: KeptAnswers.Scope { .range(from: plan.filter.from, to: plan.filter.to) }

    /// Takes a unit's answer into the whole, and gives up its memory.
    private func merge(_ answer: inout PartialAnswer?, into total: inout PartialAnswer) throws {
        guard let part = answer else { return }
        answer = nil
        let before = total.byteCount
        merge(part, into: &total)
        context.addBytes(total.byteCount - before - part.byteCount)
        if context.mustEstimate { try shrink(&total) }
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
            if !whole.isEmpty { units.append(unit(segment, whole, isWhole: true)) }
            if !cut.isEmpty { units.append(unit(segment, cut, isWhole: false)) }
        }
        return units
    }

    private func unit(_ segment: ColumnSegment, _ blocks: [Int], isWhole: Bool) -> Unit {
        Unit(segment: segment, blocks: blocks, isWhole: isWhole, blockCount: blocks.count)
    }

    /// Takes from what was kept whatever lies in the time range, and leaves in `units` what still has to be read.
    private func useKept(_ units: inout [Unit], _ total: inout PartialAnswer, _ covered: inout [CoveredBlocks]) {
        guard let kept else { return }
        if let entry = kept.entry(plan.key, scope), take(entry.covered, from: &units) {
            total = entry.answer
            covered = entry.covered
            context.addKept(total.rowsRead)
        }
        for index in units.indices where units[index].isWhole && !units[index].blocks.isEmpty {
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
            var missing = part.blocks.count
            for index in left.indices where left[index].segment.identity == part.segment {
                let unit = left[index]
                left[index].blocks.removeAll { part.blocks[$0] == unit.segment.blocks[$0].rowCount }
                missing -= unit.blocks.count - left[index].blocks.count
            }
            guard missing == 0 else { return false }
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
    private func keepSegment(_ unit: Unit, _ answer: PartialAnswer?) {
        guard let answer, unit.isWhole, unit.blocks.count == unit.blockCount, unit.segment.isSealed,
            !answer.isEstimated, answer.damagedBlocks == 0
        else { return }
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

    /// Reads all units on a bounded number of threads.
    private func scan(_ units: [Unit]) -> Work {
        let total = units.reduce(0) { $0 + $1.blocks.count }
        let threads = min(limits.threads > 0 ? limits.threads : ScanThreads.count, total)
        let size = max(4, total / max(1, threads * 8))
        var pieces: [Piece] = []
        for (number, unit) in units.enumerated() {
            for start in stride(from: 0, to: unit.blocks.count, by: size) {
                pieces.append(
                    Piece(unit: number, blocks: unit.blocks[start..<min(unit.blocks.count, start + size)]))
            }
        }
        let work = Work(units: units, pieces: pieces)
        if !pieces.isEmpty { ScanThreads.run(min(threads, pieces.count)) { drain(work) } }
        return work
    }

    /// What the threads of one scan share.
    private final class Work: Sendable {
        private struct State {
            /// One a unit, over what was read of it.
            var answers: [PartialAnswer?]
            /// Blocks of each unit that the answers cover.
            var blocks: [[Int]]
            var failure: (any Error)?
        }

        let units: [Unit]
        private let pieces: [Piece]
        private let next = Atomic<Int>(0)
        private let state: Mutex<State>

        init(units: [Unit], pieces: [Piece]) {
            (self.units, self.pieces) = (units, pieces)
            state = Mutex(State(answers: units.map { _ in nil }, blocks: units.map { _ in [] }))
        }

        func take() -> Piece? {
            guard failure == nil else { return nil }
            let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
            return index < pieces.count ? pieces[index] : nil
        }

        func fail(_ error: any Error) {
            state.withLock { if $0.failure == nil { $0.failure = error } }
        }

        /// nil when the place was free; otherwise what another thread put there meanwhile.
        func put(_ answer: PartialAnswer, _ unit: Int) -> PartialAnswer? {
            state.withLock { state in
                if let other = state.answers[unit] {
                    state.answers[unit] = nil
                    return other
                }
                state.answers[unit] = answer
                return nil
            }
        }

        func cover(_ unit: Int, _ blocks: [Int]) { state.withLock { $0.blocks[unit] += blocks } }

        var failure: (any Error)? { state.withLock { $0.failure } }
        var answers: [PartialAnswer?] { state.withLock { $0.answers } }

        /// The units with those of their blocks that were read.
        var unitsRead: [Unit] {
            let blocks = state.withLock { $0.blocks }
            return zip(units, blocks).map { unit, blocks in
                Unit(segment: unit.segment, blocks: blocks, isWhole: unit.isWhole, blockCount: unit.blockCount)
            }
        }
    }

    private func drain(_ work: Work) {
        let aggregator = BlockAggregator(plan)
        var unit: Int?
        var blocks: [Int] = []
        var answer = PartialAnswer(plan)
        func handIn() {
            if let unit, !blocks.isEmpty { hand(answer, unit, work, blocks) }
        }
        do {
            while let piece = work.take() {
                if piece.unit != unit {
                    handIn()
                    answer = PartialAnswer(plan)
                    blocks = []
                    unit = piece.unit
                    aggregator.beginAnswer()
                }
                let segment = work.units[piece.unit].segment
                for index in piece.blocks {
                    try context.check()
                    try add(segment, index, aggregator, &answer)
                    blocks.append(index)
                    if context.mustEstimate { try shrink(&answer) }
                    try check(answer)
                }
            }
        } catch { work.fail(error) }
        handIn()
    }

    private func hand(_ answer: PartialAnswer, _ unit: Int, _ work: Work, _ blocks: [Int]) {
        var answer = answer
        work.cover(unit, blocks)
        while let other = work.put(answer, unit) {
            let bytes = answer.byteCount + other.byteCount
            answer.merge(other, resolver, plan)
            context.addBytes(answer.byteCount - bytes)
        }
    }

    private func add(
        _ segment: ColumnSegment, _ index: Int, _ aggregator: BlockAggregator, _ answer: inout PartialAnswer
    ) throws {
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
    }
}
