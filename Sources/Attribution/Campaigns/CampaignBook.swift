internal import AurumCore
internal import Database
internal import Events

/// Which campaigns of an organisation are known, and what is known of them: how spend finds its campaign.
struct CampaignBook: Sendable {
    /// The label of spend whose campaign nobody ever came from.
    static let unmatched = "unmatched"

    /// By lower-case name, as touches spell it.
    private var names: [String: String] = [:]
    /// The name that most events with the id give; none where no event names it.
    private var ids: [String: String] = [:]
    /// Lower-case names that events gave as names; other labels may be ids.
    private var given: Set<String> = []
    /// Every label of touches and credits, by the campaign it stands for.
    private var spellings: [String: Set<String>] = [:]
    /// By campaign and column: the value that most of its events have, however they write it.
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
            guard let label = one.name ?? one.id else { continue }
            add(label)
            guard let name = one.name else { continue }
            given.insert(name.lowercased())
            if let id = one.id, ids[id] == nil { ids[id] = name }
        }
        for one in credited { add(one.campaign) }
        // Only now is it known which campaign a label means.
        for one in sightings {
            guard let label = one.name ?? one.id else { continue }
            note(label, [(dimension, one.value)])
        }
        for one in credited {
            note(one.campaign, [(.source, one.source), (.medium, one.medium), (.channel, one.channel)])
        }
    }

    private mutating func note(_ label: String, _ values: [(CreditQuestion.Dimension, String?)]) {
        guard let name = name(ofLabel: label) else { return }
        spellings[name, default: []].insert(label)
        for case (let dimension, let value?) in values where facts[name]?[dimension] == nil {
            facts[name, default: [:]][dimension] = value
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

    /// The campaign that a report names for a label: `label` itself for what nobody ever came from.
    func key(ofLabel label: String) -> String { name(ofLabel: label) ?? label }

    /// The campaigns of labels that are other ways to write them.
    var campaigns: [String: String] {
        spellings.reduce(into: [:]) { campaigns, pair in
            for label in pair.value where label != pair.key { campaigns[label] = pair.key }
        }
    }

    /// By every label of a campaign.
    var networks: [String: String] {
        facts.reduce(into: [:]) { networks, pair in
            guard let network = pair.value[.network] else { return }
            for label in labels(of: pair.key) { networks[label] = network }
        }
    }

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
