package import AurumCore
internal import Synchronization

/// Events of one second.
package struct SecondCount: Sendable, Equatable, Codable {
    package var at: Timestamp
    package var count: Int
}

/// What the dashboard shows of one organisation's events.
package struct LiveTotals: Sendable, Equatable {
    /// Events received since the log began, whatever became of them.
    package var events: Int { counts.total }
    package var stored: Int { counts.stored }
    package var duplicate: Int { counts.duplicate }
    package var quarantined: Int { counts.quarantined }
    package var bot: Int { counts.bot }
    package var late: Int { counts.late }
    package var counts = OutcomeCounts()
    /// The last 60 whole seconds, oldest first.
    package var series: [SecondCount] = []
    /// Mean of the last five whole seconds.
    package var perSecond = 0.0
}

/// Counts by organisation, kept up with every commit; never scanned for.
final class TotalsView: Sendable {
    private struct Organisation {
        var counts = OutcomeCounts()
        /// One place a second, by second modulo its size.
        var ring = [(second: Int64, count: Int)](repeating: (-1, 0), count: TotalsView.ringSeconds)
    }

    private static let seconds = 60
    private static let ringSeconds = 64
    /// Organisations that are counted apart; more are counted in sum only.
    static let organisationsMax = 10_000

    private let organisations = Mutex<[String: Organisation]>([:])
    /// The last correction that the counts hold. Changed and written down under the lock of the counts.
    private let corrected = Mutex<Int64>(0)
    /// Under this name a checkpoint keeps it: no organisation has it.
    private static let correctionName = ""

    /// Adds what one request brought.
    ///
    /// - Parameter isReplay: the events are in the counts already, as quarantined: now they are what became of them.
    func add(org: String, _ counts: OutcomeCounts, isReplay: Bool = false, at moment: Timestamp?) {
        organisations.withLock { all in
            guard all[org] != nil || all.count < Self.organisationsMax else { return }
            all[org, default: Organisation()].counts += counts
            if isReplay { all[org]?.counts.quarantined -= counts.total }
            guard let moment, !isReplay else { return }
            let second = moment.microseconds.quotientRoundingDown(1_000_000)
            let place = Int(second & Int64(Self.ringSeconds - 1))
            guard let known = all[org]?.ring[place], known.second <= second else { return }
            let before = known.second == second ? known.count : 0
            all[org]?.ring[place] = (second, before + counts.total)
        }
    }

    func totals(org: String, now: Timestamp) -> LiveTotals {
        let known = organisations.withLock { $0[org] }
        var totals = LiveTotals()
        totals.counts = known?.counts ?? OutcomeCounts()
        let current = now.microseconds.quotientRoundingDown(1_000_000)
        for second in (current - Int64(Self.seconds))..<current {
            let place = known?.ring[Int(second & Int64(Self.ringSeconds - 1))]
            let count = place?.second == second ? place?.count ?? 0 : 0
            totals.series.append(SecondCount(at: Timestamp(microseconds: second * 1_000_000), count: count))
        }
        totals.perSecond = Double(totals.series.suffix(5).reduce(0) { $0 + $1.count }) / 5
        return totals
    }

    /// All counts as JSON, for the first block of a segment.
    var checkpoint: [UInt8] {
        let (all, last) = organisations.withLock { organisations -> ([String: OutcomeCounts], Int64) in
            (organisations.mapValues(\.counts), corrected.withLock { $0 })
        }
        var members = all.mapValues { counts in
            JSONValue.array(EventOutcome.allCases.map { JSONValue.integer(Int64(counts[$0])) })
        }
        if last > 0 { members[Self.correctionName] = .array([.integer(last)]) }
        return Array(JSONValue.object(members).canonical.utf8)
    }

    /// The last correction that the counts hold.
    var corrections: Int64 { corrected.withLock { $0 } }

    /// The last correction that a checkpoint holds.
    static func corrections(in checkpoint: [UInt8]) -> Int64 {
        let members = try? checkpoint.withUnsafeBufferPointer { try JSONReader.object($0) }
        return members?[correctionName]?.array?.first?.integer ?? 0
    }

    /// Counts what turned out to be second copies as such; corrections that are in already change nothing.
    ///
    /// - Parameter segment: corrections of archives behind it are in as well.
    func correct(_ corrections: [CountCorrection], before segment: UInt32 = .max) {
        organisations.withLock { all in
            let last = corrected.withLock { $0 }
            for correction in corrections where correction.sequence > last && correction.last < segment {
                for outcome in EventOutcome.allCases {
                    all[correction.org]?.counts[outcome] -= correction.duplicates[outcome]
                }
                let found = correction.duplicates.total
                all[correction.org]?.counts.duplicate += found
            }
            let newest = corrections.map(\.sequence).max() ?? 0
            corrected.withLock { $0 = max(last, newest) }
        }
    }

    /// Takes the counts of a checkpoint; false when it cannot be read.
    func restore(_ checkpoint: [UInt8]) -> Bool {
        guard let members = try? checkpoint.withUnsafeBufferPointer({ try JSONReader.object($0) }) else { return false }
        organisations.withLock { all in
            all = [:]
            let last = members[Self.correctionName]?.array?.first?.integer ?? 0
            corrected.withLock { $0 = last }
            for (org, values) in members where org != Self.correctionName {
                var entry = Organisation()
                for (outcome, value) in zip(EventOutcome.allCases, values.array ?? []) {
                    entry.counts[outcome] = Int(value.integer ?? 0)
                }
                all[org] = entry
            }
        }
        return true
    }
}
