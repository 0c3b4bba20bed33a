internal import Synchronization

/// The blocks of a segment that an answer covers.
struct CoveredBlocks: Sendable {
    var segment: UInt64
    /// Number and rows of each.
    var blocks: [Int: Int]
}

/// Partial answers of earlier queries: over single sealed segments, and over everything a query read. Least recently
/// used ones leave when the bound is reached.
///
/// A segment's answer covers blocks that lie wholly in the time range, and serves every range that they lie in; the
/// answer over everything serves the same range again. What a kept answer lacks is scanned and merged, so that answers
/// stay exact.
final class KeptAnswers: Sendable {
    struct Entry: Sendable {
        var covered: [CoveredBlocks]
        var answer: PartialAnswer
    }

    private struct Key: Hashable {
        var plan: QueryPlan.Key
        var scope: Scope
    }

    /// What an answer is over.
    enum Scope: Hashable {
        case segment(UInt64)
        /// Everything that a query of a time range read, in microseconds since 1970: ranges such as the last 30 days
        /// are of whole days, and stay the same all day.
        case range(from: Int64, to: Int64)
    }

    private struct Place {
        var entry: Entry
        var byteCount: Int
        var used: UInt64
    }

    private struct State {
        var places: [Key: Place] = [:]
        var byteCount = 0
        var clock: UInt64 = 0
    }

    private let state = Mutex(State())
    private let bytesMax: Int

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    var byteCount: Int { state.withLock { $0.byteCount } }

    func entry(_ plan: QueryPlan.Key, _ scope: Scope) -> Entry? {
        state.withLock { state in
            state.clock += 1
            let key = Key(plan: plan, scope: scope)
            state.places[key]?.used = state.clock
            return state.places[key]?.entry
        }
    }

    /// Keeps an answer, unless it would push out most of the others. Single segments' answers get less room, because
    /// the answer over all of them mostly serves.
    func keep(_ entry: Entry, _ plan: QueryPlan.Key, _ scope: Scope) {
        var share = 2
        if case .segment = scope { share = 32 }
        let byteCount =
            entry.answer.byteCount + 512 + entry.covered.reduce(0) { $0 + 48 + $1.blocks.count * 32 }
        guard byteCount <= bytesMax / share else { return }
        state.withLock { state in
            let key = Key(plan: plan, scope: scope)
            state.clock += 1
            state.byteCount += byteCount - (state.places[key]?.byteCount ?? 0)
            state.places[key] = Place(entry: entry, byteCount: byteCount, used: state.clock)
            while state.byteCount > bytesMax, let oldest = state.places.min(by: { $0.value.used < $1.value.used }) {
                state.places[oldest.key] = nil
                state.byteCount -= oldest.value.byteCount
            }
        }
    }
}
