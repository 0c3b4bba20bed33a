internal import AurumCore
internal import Database

/// What the labels of credit are called in a report. Names of labels that nothing was credited to are no part of the
/// shape of its sums: else every new way to write a campaign that a click brings would let all be read again.
struct SumLabels: Sendable {
    /// What sums are kept by: it says the names of all labels that are known.
    let shape: SumShape.Labels
    private let names: [String: String]
    private let isKnownOnly: Bool
    private let known: Set<String>

    /// - Parameter transaction: the one that sums are read in: what is credited there was noted there.
    init(_ org: String, _ question: CreditQuestion, in transaction: Transaction) throws {
        switch question.dimension {
        case .day, .week, .month: self.init(.quarters)
        case .campaign where !question.campaigns.isEmpty:
            let known = try Self.known(org, in: transaction)
            self.init(.campaigns(Self.digest(question.campaigns, known)), question.campaigns, known)
        case .network:
            let known = try Self.known(org, in: transaction)
            self.init(.networks(Self.digest(question.networks, known)), question.networks, known)
        case .campaign, .source, .medium, .channel, .adGroup, .creative, .keyword, .publisher, .buyer:
            self.init(.column(question.dimension))
        }
    }

    private init(_ shape: SumShape.Labels, _ names: [String: String] = [:], _ known: Set<String>? = nil) {
        (self.shape, self.names, self.known, isKnownOnly) = (shape, names, known ?? [], known != nil)
    }

    private static func known(_ org: String, in transaction: Transaction) throws -> Set<String> {
        let credited = try transaction.values(
            String.self, "SELECT campaign FROM attribution_campaigns WHERE org = \(org)")
        return Set(credited + [Credit.organic, Credit.none])
    }

    private static func digest(_ names: [String: String], _ known: Set<String>) -> String {
        PartsDigest.hex(
            known.sorted().flatMap { label in names[label].map { [label, $0] } ?? [] })
    }

    /// The label of a line for that of its rows.
    func label(_ raw: String?) -> String? {
        switch shape {
        case .quarters, .column: raw
        case .campaigns: raw.map { names[$0] ?? $0 }
        case .networks: raw.flatMap { names[$0] } ?? Credit.none
        }
    }

    /// Whether `shape` says what a label is called, so that sums with it may be kept.
    func isKnown(_ raw: String?) -> Bool { !isKnownOnly || raw.map(known.contains) ?? true }
}
