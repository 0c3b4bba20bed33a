package import AurumCore

/// The columns of a file of spend, in the order of the template. Those through `currency` are the key of a row.
package enum SpendColumn: String, Sendable, CaseIterable {
    case date, network
    case accountID = "account_id"
    case campaignID = "campaign_id"
    case campaign
    case adGroupID = "ad_group_id"
    case creativeID = "creative_id"
    case country, currency, spend, impressions, clicks, conversions, value

    /// Columns that a header must have; of `campaign` and `campaign_id` one.
    static let required: [SpendColumn] = [.date, .network, .currency, .spend]
}

/// What a day's money was spent on: everything of a row's key but its date.
package struct SpendLine: Hashable, Sendable {
    /// Lower case, as networks stand in events: `google`, `meta`.
    package var network: String
    package var accountID: String
    package var campaignID: String
    package var campaign: String
    package var adGroupID: String
    package var creativeID: String
    /// Two upper-case letters, or empty.
    package var country: String
    package var currency: Currency

    package init(
        network: String, accountID: String = "", campaignID: String = "", campaign: String, adGroupID: String = "",
        creativeID: String = "", country: String = "", currency: Currency
    ) {
        (self.network, self.accountID, self.campaignID, self.campaign) = (network, accountID, campaignID, campaign)
        (self.adGroupID, self.creativeID, self.country, self.currency) = (adGroupID, creativeID, country, currency)
    }

    /// 32 hex digits that stand for the line in tables.
    var id: String {
        PartsDigest.hex([network, accountID, campaignID, campaign, adGroupID, creativeID, country, currency.code])
    }
}

/// The figures of one line on one day; nil for what the file does not say.
package struct SpendFigures: Hashable, Sendable {
    package var spendMinor: Int64
    package var impressions: Int64?
    package var clicks: Int64?
    /// Networks count parts of conversions.
    package var conversionsMillionths: Int64?
    package var valueMinor: Int64?

    package init(
        spendMinor: Int64, impressions: Int64? = nil, clicks: Int64? = nil, conversionsMillionths: Int64? = nil,
        valueMinor: Int64? = nil
    ) {
        (self.spendMinor, self.impressions, self.clicks) = (spendMinor, impressions, clicks)
        (self.conversionsMillionths, self.valueMinor) = (conversionsMillionths, valueMinor)
    }
}

/// A row of a file that was read.
package struct SpendRow: Sendable, Equatable {
    /// Days since 1970-01-01 by the account's calendar.
    package var day: Int32
    /// Index into the file's lines.
    package var line: Int32
    package var figures: SpendFigures
    /// Line of the file, or number of the JSON row, from 1.
    package var source: Int32
}

/// A file of spend that was read and checked, its rows ordered by day and line.
package struct SpendFile: Sendable {
    package var lines: [SpendLine] = []
    /// `SpendLine.id` of each.
    var lineIDs: [String] = []
    package var rows: [SpendRow] = []
    /// The first `problemsMax` of them.
    package var problems: [BadRow] = []
    package var refused = 0
    /// Columns of the header that mean nothing here.
    package var ignoredColumns: [String] = []

    package static let problemsMax = 1000
    package static let rowsMax = 1_000_000
    package static let bytesMax = 64 << 20
}

/// Why a file of spend is refused as a whole.
package enum SpendError: Error, Sendable, Equatable {
    case input(InputError)
    case malformedJSON
    case notRows
    case tooManyRows(Int)
    case unknownTimeZone
    /// Bad rows, and nobody asked to skip them. Nothing was stored.
    case badRows([BadRow], count: Int)
    /// Another import of this organisation is under way.
    case importRunning
    /// This import took so long that another began in its place; nothing of it counts.
    case overtaken
    /// Figures add up to more than 64 bits hold.
    case figuresTooLarge

    /// One sentence for whoever sent the file.
    package var sentence: String {
        switch self {
        case .input(let error): error.sentence
        case .malformedJSON: "The body is no JSON."
        case .notRows: "The body must be an array of rows, or an object with an array `rows`."
        case .tooManyRows(let most): "There are more than \(most) rows; send them in parts."
        case .unknownTimeZone: "There is no such time zone; give a name such as America/New_York."
        case .badRows(_, let count):
            "\(count) \(count == 1 ? "row is" : "rows are") bad and nothing was stored; mend them, or send "
                + "on_error=skip to store the others."
        case .importRunning: "Another import of this organisation is under way; try again in a moment."
        case .overtaken: "The import took too long and another began in its place; nothing of it was stored."
        case .figuresTooLarge:
            "The figures add up to more than can be counted; ask for fewer days, or mend the rows that are too large."
        }
    }
}
