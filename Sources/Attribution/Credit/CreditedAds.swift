internal import AurumCore
internal import Database
internal import Events

/// The ads of credited touches as tables keep them: what an ad says of itself once, and a short key with each credit.
enum CreditedAds {
    /// The key of a credit whose touch names no ad.
    static let noKey = ""

    /// By what the ads say, the key of each.
    static func keys(of credits: some Sequence<Credit>) -> [AdNames: String] {
        var keys: [AdNames: String] = [:]
        for credit in credits where keys[credit.ad] == nil { keys[credit.ad] = key(credit.ad) }
        return keys
    }

    private static func key(_ ad: AdNames) -> String {
        ad.isEmpty
            ? noKey
            : PartsDigest.hex([ad.adGroup ?? "", ad.creative ?? "", ad.keyword ?? "", ad.publisher ?? ""])
    }

    /// Stores what is new. In the order of the keys, so that two who store the same never wait for each other.
    static func note(_ keys: [AdNames: String], org: String, in transaction: Transaction) throws {
        for (ad, key) in keys.sorted(by: { $0.value < $1.value }) where key != noKey {
            try transaction.run(
                """
                INSERT INTO attribution_ads (org, ad, ad_group, creative, keyword, publisher, created_at)
                VALUES (\(org), \(key), \(ad.adGroup ?? ""), \(ad.creative ?? ""), \(ad.keyword ?? ""),
                        \(ad.publisher ?? ""), \(transaction.now))
                ON CONFLICT (org, ad) DO NOTHING
                """)
        }
    }
}

extension AdNames {
    /// The same as every database keeps it.
    var storable: AdNames {
        var ad = self
        (ad.adGroup, ad.creative) = (adGroup?.storable, creative?.storable)
        (ad.keyword, ad.publisher) = (keyword?.storable, publisher?.storable)
        return ad
    }

    /// What a report calls a name as an event or a file of spend writes it.
    static func label(_ text: String?) -> String {
        guard let text, !text.isEmpty else { return Credit.notSet }
        return cut(text).storable
    }

    /// From the columns of `attribution_ads`; NULL and empty where the touch does not say.
    init(row: Row) throws {
        func name(_ column: String) throws -> String? {
            try row.optional(column, as: String.self).flatMap { $0.isEmpty ? nil : $0 }
        }
        self.init()
        (adGroup, creative) = (try name("ad_group"), try name("creative"))
        (keyword, publisher) = (try name("keyword"), try name("publisher"))
    }
}
