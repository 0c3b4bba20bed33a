package import AurumCore

/// What a summary of postbacks is asked.
package struct PostbackQuestion: Sendable, Equatable {
    package enum Dimension: String, Sendable, CaseIterable {
        /// What the network calls it, within the network.
        case campaign
        case network, app, window
        /// Of the reception, UTC: when an app was opened first is only known as a range.
        case day
    }

    package var dimension = Dimension.campaign
    package var appID: Int64?
    /// nil: `days` before `to`.
    package var from: CivilDate?
    /// Not included; nil: tomorrow.
    package var to: CivilDate?
    package var days = 30

    package static let daysMax = 400
    package static let linesMax = 1000

    package init() {}
}

/// Postbacks that have a day, app, network, campaign, window, version and claim in common.
struct PostbackGroup: Sendable {
    /// Of the reception, UTC, days since 1970.
    let day: Int64
    let appID: Int64?
    let network: String
    let campaign: String
    let window: Int
    let timing: PostbackTiming
    /// Versions that do not say so are sent by winners only.
    let didWin: Bool
    let claim: ConversionClaim
    let postbacks: Int64
}

/// Sums over counted postbacks of production. What values say is not signed.
struct PostbackFigures: Sendable, Equatable {
    struct Revenue: Sendable, Equatable {
        var postbacks: Int64 = 0
        var least: Int128 = 0
        var most: Int128 = 0
    }

    var postbacks: Int64 = 0
    var won: Int64 = 0
    /// Won, of the first window: each once.
    var conversions: Int64 = 0
    var fine: Int64 = 0
    var coarse: Int64 = 0
    var decoded: Int64 = 0
    var uncertain: Int64 = 0
    var gaps: [ConversionSchemaBook.Reading.Gap: Int64] = [:]
    var events: [String: Int64] = [:]
    var revenue: [Currency: Revenue] = [:]

    mutating func add(_ group: PostbackGroup, _ reading: ConversionSchemaBook.Reading) {
        let count = group.postbacks
        postbacks += count
        // Whoever lost has no value to tell.
        guard group.didWin else { return }
        won += count
        if group.window == 0 { conversions += count }
        switch group.claim {
        case .fine: fine += count
        case .coarse: coarse += count
        case .none, .unknown: break
        }
        if reading.isUncertain { uncertain += count }
        if let gap = reading.gap { gaps[gap, default: 0] += count }
        guard let meaning = reading.meaning, let currency = reading.currency else { return }
        decoded += count
        for event in meaning.events { events[event, default: 0] += count }
        var sum = revenue[currency] ?? Revenue()
        sum.postbacks += count
        sum.least += Int128(meaning.leastMinor) * Int128(count)
        sum.most += Int128(meaning.mostMinor) * Int128(count)
        revenue[currency] = sum
    }

    /// Of those that won; nil without any.
    var shareWithoutValue: Double? {
        won == 0 ? nil : Double(gaps[.noValue] ?? 0) / Double(won)
    }

    var members: [String: JSONValue] {
        [
            "postbacks": .integer(postbacks), "won": .integer(won), "lost": .integer(postbacks - won),
            "conversions": .integer(conversions), "fine": .integer(fine), "coarse": .integer(coarse),
            "decoded": .integer(decoded), "uncertain": .integer(uncertain),
            "not_decoded": .object(
                Dictionary(
                    uniqueKeysWithValues: ConversionSchemaBook.Reading.Gap.allCases.map {
                        ($0.rawValue, .integer(gaps[$0] ?? 0))
                    })),
            "share_without_value": shareWithoutValue.map { .number($0) } ?? .null,
            "events": .object(events.mapValues { .integer($0) }),
            "revenue": .array(
                revenue.sorted { $0.key.code < $1.key.code }.map { currency, sum in
                    [
                        "currency": .string(currency.code), "postbacks": .integer(sum.postbacks),
                        "low_minor": .integer(Int64(clamping: sum.least)),
                        "mid_minor": .integer(Int64(clamping: (sum.least + sum.most) / 2)),
                        "high_minor": .integer(Int64(clamping: sum.most)),
                    ]
                }),
        ]
    }
}

/// Puts groups of postbacks together by one dimension.
struct PostbackTally: Sendable {
    struct Key: Hashable, Sendable {
        var network: String?
        var campaign: String?
        var appID: Int64?
        var window: Int?
        var day: Int64?

        var members: [String: JSONValue] {
            var members: [String: JSONValue] = [:]
            members["network"] = network.map { .string($0) }
            members["campaign"] = campaign.map { .string($0) }
            members["app_id"] = appID.map { .integer($0) }
            members["window"] = window.map { .integer(Int64($0)) }
            members["day"] = day.map { .string(CivilDate(daysSince1970: Int($0)).description) }
            return members
        }
    }

    private let dimension: PostbackQuestion.Dimension
    private let book: ConversionSchemaBook
    private var found: [Key: PostbackFigures] = [:]
    private var totals = PostbackFigures()

    init(_ dimension: PostbackQuestion.Dimension, _ book: ConversionSchemaBook) {
        (self.dimension, self.book) = (dimension, book)
    }

    mutating func add(_ group: PostbackGroup) {
        let reading = book.read(
            group.claim, appID: group.appID, window: group.window, timing: group.timing, day: group.day)
        found[key(group), default: PostbackFigures()].add(group, reading)
        totals.add(group, reading)
    }

    private func key(_ group: PostbackGroup) -> Key {
        switch dimension {
        case .campaign: Key(network: group.network, campaign: group.campaign)
        case .network: Key(network: group.network)
        case .app: Key(appID: group.appID)
        case .window: Key(window: group.window)
        case .day: Key(day: group.day)
        }
    }

    /// Days newest first and windows in order, others by their postbacks.
    var lines: [(key: Key, figures: PostbackFigures)] {
        found.map { ($0.key, $0.value) }.sorted { one, other in
            if let day = one.key.day, let next = other.key.day { return day > next }
            if let window = one.key.window, let next = other.key.window { return window < next }
            if one.figures.postbacks != other.figures.postbacks {
                return one.figures.postbacks > other.figures.postbacks
            }
            return (one.key.network ?? "", one.key.campaign ?? "", one.key.appID ?? 0)
                < (other.key.network ?? "", other.key.campaign ?? "", other.key.appID ?? 0)
        }
    }

    /// Members of the answer.
    var members: [String: JSONValue] {
        let lines = lines
        return [
            "lines": .array(
                lines.prefix(PostbackQuestion.linesMax).map { line in
                    .object(line.key.members.merging(line.figures.members) { $1 })
                }),
            "totals": .object(totals.members), "is_cut": .bool(lines.count > PostbackQuestion.linesMax),
        ]
    }
}
