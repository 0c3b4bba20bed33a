package import AurumCore

/// Why credits are not stored.
package enum CreditError: Error, Sendable, Equatable {
    /// The parts of a sale do not add up to it under a model.
    case unbalanced(leg: UID, model: CreditModel)
}

extension Credit {
    /// Parts of one sale: a million millionths and the whole price, exactly. Checked before every write.
    package static func check(
        _ credits: [Credit], of price: Money, leg: UID, model: CreditModel
    ) throws(CreditError) {
        let shares = credits.reduce(Int64(0)) { $0 &+ $1.sharePPM }
        let amount = credits.reduce(Int64(0)) { $0 &+ $1.amount.minorUnits }
        let isOneCurrency = credits.allSatisfy { $0.amount.currency == price.currency }
        guard shares == 1_000_000, amount == price.minorUnits, isOneCurrency else {
            throw .unbalanced(leg: leg, model: model)
        }
    }
}
