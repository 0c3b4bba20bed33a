internal import Synchronization

/// Estimates by everything that went into them, the date included; an entry can never be stale, only forgotten.
final class EstimateCache: Sendable {
    /// Entries kept; at the limit all are forgotten and made again when asked for.
    static let entriesMax = 10_000

    private let estimator: SolarEstimator
    private let entries = Mutex<[EstimateInput: SolarEstimate]>([:])

    init(estimator: SolarEstimator) { self.estimator = estimator }

    func estimate(_ input: EstimateInput) throws(EstimateError) -> SolarEstimate {
        if let known = entries.withLock({ $0[input] }) { return known }
        let estimate = try estimator.estimate(input)
        entries.withLock { entries in
            if entries.count >= Self.entriesMax { entries.removeAll(keepingCapacity: true) }
            entries[input] = estimate
        }
        return estimate
    }
}
