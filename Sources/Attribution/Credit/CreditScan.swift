internal import AurumCore
internal import Events

/// What a part of the log says of persons whose credit may be another now. Keys are those of the log, before merges.
struct CreditSigns: Sendable {
    /// The earliest and the latest touch of each person in it.
    var touched: [UInt64: ClosedRange<Int64>] = [:]
    /// Who was said to be somebody.
    var linked: Set<UInt64> = []
    /// Persons were merged or taken apart by hand: it may be anybody.
    var isOfAll = false

    /// Whether the leads and sales of a whole month have to be looked at.
    var isWide: Bool { isOfAll || !linked.isEmpty }
    /// What it says of persons alone.
    var links: CreditSigns { CreditSigns(linked: linked, isOfAll: isOfAll) }
    /// What it says of touches alone.
    var touches: CreditSigns { CreditSigns(touched: touched) }
    var isEmpty: Bool { touched.isEmpty && linked.isEmpty && !isOfAll }
    var earliest: Timestamp { Timestamp(microseconds: touched.values.map(\.lowerBound).min() ?? .max) }

    /// Why the credit of a lead or a sale may be another now; nil when it cannot be.
    /// - Parameter keys: of its person, after merges.
    func cause(_ keys: Set<UInt64>, _ live: LiveCredit) -> RestatementCause? {
        let until = (live.at + CreditFollower.tolerance).microseconds
        let from = (live.at - LookbackWindow.leadSale.click - CreditFollower.tolerance).microseconds
        let isTouched = keys.contains { key in
            guard let times = touched[key] else { return false }
            return times.lowerBound <= until && times.upperBound >= from
        }
        if isTouched { return .late }
        return isOfAll || keys.contains(where: linked.contains) ? .merge : nil
    }

    mutating func add(_ other: CreditSigns) {
        touched.merge(other.touched) { min($0.lowerBound, $1.lowerBound)...max($0.upperBound, $1.upperBound) }
        linked.formUnion(other.linked)
        isOfAll = isOfAll || other.isOfAll
    }

    fileprivate mutating func touch(_ key: UInt64, at time: Int64) {
        guard let known = touched[key] else {
            touched[key] = time...time
            return
        }
        touched[key] = min(known.lowerBound, time)...max(known.upperBound, time)
    }
}

/// Reads one snapshot of the log from a position on, in its order. What it hands out may have been handed out before:
/// archives hold their rows in another order and are read as a whole.
final class CreditScan: @unchecked Sendable {  // one call at a time, by the one actor that reads
    struct Batch: Sendable {
        /// By organisation.
        var signs: [String: CreditSigns] = [:]
        var rows = 0
        /// Everything up to here was read.
        var position: LogPosition?
    }

    /// Rows of one batch; one block more at most.
    static let rowsMax = 500_000
    private let segments: [ColumnSegment]
    private let orgs: Set<String>
    private var places: [(segment: Int, block: Int)] = []
    private var cursor = 0

    /// Finds the blocks behind a position, from the end of the log.
    /// - Parameter orgs: whose touches are wanted.
    init(_ segments: [ColumnSegment], of orgs: Set<String>, after: LogPosition) throws {
        (self.segments, self.orgs) = (segments, orgs)
        var isOver = false
        for number in segments.indices.reversed() where !isOver {
            let segment = segments[number]
            if let newest = segment.newest, newest <= after { break }
            for index in segment.blocks.indices.reversed() where segment.blocks[index].rowCount > 0 {
                if segment.newest == nil {
                    guard let block = try segment.read(index), block.rowCount > 0 else { continue }
                    isOver = block.position(block.rowCount - 1) <= after
                    if isOver { break }
                }
                places.append((number, index))
            }
        }
        places.reverse()
    }

    /// nil at the end. Blocks its thread.
    func next() throws -> Batch? {
        guard cursor < places.count else { return nil }
        var batch = Batch()
        while cursor < places.count, batch.rows < Self.rowsMax {
            let place = places[cursor]
            cursor += 1
            let segment = segments[place.segment]
            if let block = try segment.read(place.block), block.rowCount > 0 {
                batch.rows += block.rowCount
                // What is damaged says nothing, and what stands behind it goes on.
                _ = try block.readable { try take(block, &batch) }
                if segment.newest == nil { batch.position = block.position(block.rowCount - 1) }
            }
            let isLast = cursor == places.count || places[cursor].segment != place.segment
            if isLast, let newest = segment.newest { batch.position = newest }
        }
        return batch
    }

    private func take(_ block: any ColumnBlock, _ batch: inout Batch) throws {
        guard block.requests.contains(where: { orgs.contains($0.org) }) else { return }
        let (types, outcomes, times) = (try block.types(), try block.outcomes(), try block.times())
        var names: TextColumn?
        for request in block.requests where orgs.contains(request.org) {
            let end = min(block.rowCount, request.firstRow + request.rowCount)
            guard request.firstRow < end else { continue }
            let people = try block.persons(org: request.org)
            var signs = batch.signs.removeValue(forKey: request.org) ?? CreditSigns()
            for row in request.firstRow..<end {
                let outcome = outcomes[row]
                guard outcome == EventOutcome.stored.rawValue || outcome == EventOutcome.late.rawValue else { continue }
                let code = Int(people.codes[row])
                let key = code > 0 && code < people.keys.count ? people.keys[code] : 0
                switch types[row] {
                case EventType.identify.rawValue, EventType.alias.rawValue:
                    if key != 0 { signs.linked.insert(key) }
                case EventType.internal.rawValue:
                    if names == nil { names = try block.text(.name) }
                    guard let names, names.codes[row] != 0 else { continue }
                    let name = names.dictionary.text(names.codes[row])
                    if name == "identity.merged" || name == "identity.unmerged" { signs.isOfAll = true }
                case let type where LogBlockReader.mayTouch(type):
                    if key != 0 { signs.touch(key, at: times[row]) }
                default: continue
                }
            }
            if !signs.isEmpty { batch.signs[request.org] = signs }
        }
    }
}
