internal import AurumCore
internal import Database
internal import Events

/// Which campaigns of an organisation are known, and what is known of them: how spend finds its campaign.
struct CampaignBook: Sendable {
    /// The label of spend whose campaign nobody ever came from.
    static let unmatched = "unmatched"

    /// By lower-case name, as touches spell it.
    private var names: [String: String] = [:]
    private var ids: [String: String] = [:]
    /// Lower-case names that events gave as names; other labels may be ids.
    private var given: Set<String> = []
    /// Every label of touches and credits, by the campaign it stands for.
    private var spellings: [String: Set<String>] = [:]
    /// By name and column: the value that most events have.
    private var facts: [String: [CreditQuestion.Dimension: String]] = [:]

    /// Events of one campaign with one value of the column that a report is about.
    struct Sighting: Sendable {
        var name: String?
        var id: String?
        var value: String?
        var events: Int64
    }

    /// - Parameter sightings: those with most events first.
    init(_ sightings: [Sighting], _ dimension: CreditQuestion.Dimension, credited: [CreditedCampaign]) {
        for one in sightings {
            guard let name = one.name ?? one.id else { continue }
            add(name)
            if let name = one.name { given.insert(name.lowercased()) }
            if let id = one.id, ids[id] == nil { ids[id] = name }
            if let value = one.value, facts[name]?[dimension] == nil { facts[name, default: [:]][dimension] = value }
        }
        for one in credited {
            add(one.campaign)
            for (dimension, value) in [
                (CreditQuestion.Dimension.source, one.source), (.medium, one.medium), (.channel, one.channel),
            ] where facts[one.campaign]?[dimension] == nil {
                facts[one.campaign, default: [:]][dimension] = value
            }
        }
        for label in sightings.compactMap({ $0.name ?? $0.id }) + credited.map(\.campaign) {
            if let name = name(ofLabel: label) { spellings[name, default: []].insert(label) }
        }
    }

    private mutating func add(_ name: String) {
        let key = name.lowercased()
        if names[key] == nil { names[key] = name }
    }

    /// The campaign that spend is for, as touches spell it: by its id, else by its name, whatever its case. nil when
    /// nobody ever came from it.
    func name(of campaign: SpendCampaign) -> String? {
        if !campaign.id.isEmpty, let name = ids[campaign.id] ?? names[campaign.id.lowercased()] { return name }
        return campaign.name.isEmpty ? nil : names[campaign.name.lowercased()]
    }

    /// The campaign that a label of a touch, a credit or a person means, as touches spell it: by its name, whatever its
    /// case, else by its id. nil when nobody ever came from it.
    func name(ofLabel label: String) -> String? {
        let key = label.lowercased()
        return given.contains(key) ? names[key] : ids[label] ?? names[key]
    }

    /// Every way in which touches and credits write a campaign, itself first.
    func labels(of name: String) -> [String] { [name] + (spellings[name] ?? []).subtracting([name]).sorted() }

    /// The source, medium, channel or network of a known campaign.
    func value(of campaign: String, _ dimension: CreditQuestion.Dimension) -> String? { facts[campaign]?[dimension] }

    /// By campaign.
    var networks: [String: String] { facts.compactMapValues { $0[.network] } }

    mutating func setNetwork(_ network: String, of campaign: String) {
        facts[campaign, default: [:]][.network] = network
    }
}

/// A campaign that a sale or a lead was credited to.
struct CreditedCampaign: RowDecodable, Sendable {
    let campaign: String
    let source: String
    let medium: String
    let channel: String

    init(row: Row) throws {
        campaign = try row.get("campaign")
        source = try row.get("source")
        medium = try row.get("medium")
        channel = try row.get("channel")
    }
}
