package import AurumCore

/// What became of a lead or a sale, for its credit.
package enum CreditStep: Sendable, Equatable {
    case lead(NewLead)
    case sale(Sale)
    case returned(org: String, leg: UID)
    case recognised(org: String, leg: UID, at: Timestamp)

    /// Credits of different leads and sales do not depend on each other.
    fileprivate var isCredit: Bool {
        switch self {
        case .lead, .sale: true
        case .returned, .recognised: false
        }
    }
}

extension AttributionService {
    /// Leads and sales that are credited at the same time: they share what makes a commit durable.
    package static let creditedAtOnce = 16

    /// Does what was told of leads and sales. What follows a sale is done behind everything that was told before it.
    /// Repeating it changes nothing.
    /// - Parameter step: what somebody's telling means for credit; nil for nothing.
    /// - Throws: what `step` throws, `CreditError`, and database errors; what was done stays done.
    package func follow<Told: Sendable>(
        _ told: [Told], _ step: @escaping @Sendable (Told) async throws -> CreditStep?
    ) async throws {
        let steps = try await Self.atOnce(told, step).compactMap { $0 }
        var rest = steps[...]
        while let first = rest.first {
            let run = first.isCredit ? rest.prefix { $0.isCredit } : rest.prefix(1)
            rest = rest.dropFirst(run.count)
            _ = try await Self.atOnce(Array(run)) { try await take($0) }
        }
        await compactBusyChanges()
    }

    private func take(_ step: CreditStep) async throws {
        switch step {
        case .lead(let lead): try await credit(lead)
        case .sale(let sale): try await credit(sale)
        case .returned(let org, let leg): try await reverse(org: org, leg: leg)
        case .recognised(let org, let leg, let at): try await recognise(org: org, leg: leg, at: at)
        }
    }

    /// The answers in the order of the items.
    private static func atOnce<Item: Sendable, Answer: Sendable>(
        _ items: [Item], _ work: @escaping @Sendable (Item) async throws -> Answer
    ) async throws -> [Answer] {
        var answers = [Answer?](repeating: nil, count: items.count)
        try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (place, item) in items.enumerated() {
                if place >= creditedAtOnce, let (done, answer) = try await group.next() { answers[done] = answer }
                group.addTask { (place, try await work(item)) }
            }
            while let (done, answer) = try await group.next() { answers[done] = answer }
        }
        return answers.compactMap { $0 }
    }
}
