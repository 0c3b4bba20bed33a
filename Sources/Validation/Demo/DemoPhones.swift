internal import AurumCore
internal import Foundation

/// Phones that clicked on an advertisement for the demo's app in the last days, installed it and perhaps bought a plan,
/// and a publisher who sells installs that nobody made.
///
/// Seeded: ids repeat with the seed, and times count back from the moment that is given.
struct DemoPhones {
    static let app = "solar-home"
    /// Who cheats.
    static let cheat = DemoAdvertiser(
        network: "orbit-ads", source: "orbit", medium: "display", campaign: "home-app-reward", publisher: "pub-9041")
    private static let honest = [
        DemoAdvertiser(network: "google", source: "google", medium: "cpc", campaign: "home-app-search"),
        DemoAdvertiser(
            network: "meta", source: "facebook", medium: "paid_social", campaign: "home-app-video",
            publisher: "feed"),
        DemoAdvertiser(
            network: "orbit-ads", source: "orbit", medium: "display", campaign: "home-app-network",
            publisher: "pub-2207"),
    ]
    /// What a day of each costs, in cents; the cheat asks for the most.
    static let dailyCents: [(advertiser: DemoAdvertiser, cents: Int64)] =
        Array(zip(honest + [cheat], [460, 380, 260, 710]))
    private static let honestCount = 150
    private static let cheatCount = 64
    private static let reinstalls = 8
    /// Installs that they make, the one after the burst of clicks among them.
    static let installs = honestCount + cheatCount + reinstalls + 1
    private static let hour = 3600.0
    private static let plans = ["4.99", "4.99", "4.99", "49.00"]

    private let seed: UInt64
    private let now: Timestamp
    private var random: SeededRandom
    private var phones: [[JSONValue]] = []
    private(set) var lastInstall = ""

    init(seed: UInt64, now: Timestamp) {
        (self.seed, self.now) = (seed, now)
        random = SeededRandom(seed: seed &+ 0x50_48_4f_4e)
        for number in 0..<Self.honestCount { addHonest(number) }
        addBurst()
        addReinstalls()
        for number in 0..<Self.cheatCount { addCheat(number) }
    }

    /// Bodies for `POST /v1/events`, in their order: what belongs to one phone is in one of them, so that no install
    /// is there before its click.
    var requests: [[JSONValue]] {
        var requests: [[JSONValue]] = [[]]
        for phone in phones {
            if requests[requests.count - 1].count + phone.count > 200 { requests.append([]) }
            requests[requests.count - 1] += phone
        }
        return requests
    }

    static func id(_ seed: UInt64, _ what: String) -> String { "\(app)-\(seed)-\(what)" }

    // MARK: people

    private mutating func addHonest(_ number: Int) {
        let name = "p\(number)"
        let installed = Double.random(in: 1...110, using: &random) * Self.hour
        // From half a minute to a day, as many in the first ten minutes as in the hours after them.
        let delay = exp(Double.random(in: log(25)...log(80_000), using: &random))
        let source = Self.honest[number % Self.honest.count]
        let isAndroid = Bool.random(using: &random)
        var click: [String: JSONValue] = [:]
        var install: [String: JSONValue] = ["device_id": .string(device(name))]
        let clickID = Self.id(seed, name + "-ad")
        switch number % 5 {
        case 0: break  // found the app without an advertisement
        case 1, 2: click["device_id"] = install["device_id"]
        case 3: (click["click_id"], install["click_id"]) = (.string(clickID), .string(clickID))
        default:
            click["click_id"] = .string(clickID)
            install["install_referrer"] = .string("click_id=\(clickID)&utm_source=\(source.source)")
        }
        var events: [JSONValue] = []
        let phone = DemoPhone(isAndroid: isAndroid, address: address())
        if !click.isEmpty {
            click["campaign"] = source.json
            events.append(event("click", name + "-click", installed + delay, phone, click))
        }
        events.append(event("install", name + "-install", installed, phone, install))
        if Double.random(in: 0..<1, using: &random) < 0.3 {
            let later = Double.random(in: 0.1...1, using: &random) * installed
            let plan = Self.plans[Int.random(in: 0..<Self.plans.count, using: &random)]
            let purchase: [String: JSONValue] = [
                "device_id": .string(device(name)), "name": "purchase", "value": .string(plan), "currency": "USD",
                "order_id": .string(Self.id(seed, name + "-order")),
            ]
            events.append(event("conversion", name + "-purchase", installed - later, phone, purchase))
        }
        phones.append(events)
    }

    // MARK: cheats

    /// Four kinds in turn: a click in the second of the install, a click after the store had begun to install, a few
    /// seconds on an emulator, and one that nothing can be said against.
    private mutating func addCheat(_ number: Int) {
        let name = "x\(number)"
        let installed = Double.random(in: 2...60, using: &random) * Self.hour
        let phone = DemoPhone(isAndroid: true, isEmulator: number % 4 == 2, address: address())
        var install: [String: JSONValue] = ["device_id": .string(device(name))]
        var delay = 0.0
        switch number % 4 {
        case 0: delay = Double.random(in: 0.1...0.8, using: &random)
        case 1:
            delay = Double.random(in: 15...40, using: &random)
            install["install_began_at"] = .string(time(installed + delay + 30))
        case 2: delay = Double.random(in: 2...9, using: &random)
        default: delay = Double.random(in: 600...20_000, using: &random)
        }
        phones.append([
            click(name, installed + delay, phone), event("install", name + "-install", installed, phone, install),
        ])
        lastInstall = Self.id(seed, name + "-install")
    }

    /// Clicks of one phone faster than anybody taps, in the hope that one of them is the last before an install.
    private mutating func addBurst() {
        let phone = DemoPhone(isAndroid: true, address: address())
        let installed = 30 * Self.hour
        var events = (0..<26).map { number in
            click("burst", number: number, installed + 90 - Double(number), phone)
        }
        events.append(event("install", "burst-install", installed, phone, ["device_id": .string(device("burst"))]))
        phones.append(events)
    }

    /// One phone that installs the app again and again, each time after another click.
    private mutating func addReinstalls() {
        let phone = DemoPhone(isAndroid: true, address: address())
        var events: [JSONValue] = []
        for number in 0..<Self.reinstalls {
            let installed = (20 - Double(number)) * Self.hour
            events.append(click("again", number: number, installed + 300, phone))
            events.append(
                event(
                    "install", "again-install-\(number)", installed, phone, ["device_id": .string(device("again"))]))
        }
        phones.append(events)
    }

    // MARK: events

    private func click(_ name: String, number: Int? = nil, _ age: Double, _ phone: DemoPhone) -> JSONValue {
        let members: [String: JSONValue] = ["device_id": .string(device(name)), "campaign": Self.cheat.json]
        return event("click", name + "-click" + (number.map { "-\($0)" } ?? ""), age, phone, members)
    }

    /// - Parameter age: seconds before now.
    private func event(
        _ type: String, _ name: String, _ age: Double, _ phone: DemoPhone, _ members: [String: JSONValue]
    ) -> JSONValue {
        var all: [String: JSONValue] = [
            "id": .string(Self.id(seed, name)), "type": .string(type), "ts": .string(time(age)),
            "consent": ["analytics": "granted", "ads": "granted"], "context": phone.context,
        ]
        all.merge(members) { $1 }
        return .object(all)
    }

    private func time(_ age: Double) -> String { (now - .milliseconds(Int64(age * 1000))).rfc3339 }

    private func device(_ name: String) -> String { Self.id(seed, name) }

    /// Of the block that is set aside for measurements. Source: RFC 2544.
    private mutating func address() -> String {
        "198.18.\(Int.random(in: 0...255, using: &random)).\(Int.random(in: 1...254, using: &random))"
    }
}

/// Where a click on an advertisement for the app is bought.
struct DemoAdvertiser {
    var network: String
    var source: String
    var medium: String
    var campaign: String
    var publisher: String?

    var json: JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(campaign), "network": .string(network), "source": .string(source),
            "medium": .string(medium),
        ]
        members["publisher_id"] = publisher.map { .string($0) }
        return .object(members)
    }
}

/// What an event says of the phone.
struct DemoPhone {
    var isAndroid: Bool
    var isEmulator = false
    var address: String

    static let android =
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile "
        + "Safari/537.36"
    static let iPhone =
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
        + "Mobile/15E148 Safari/604.1"

    var context: JSONValue {
        var members: [String: JSONValue] = [
            "ip": .string(address), "platform": .string(isAndroid ? "android" : "ios"),
            "user_agent": .string(isAndroid ? Self.android : Self.iPhone),
        ]
        if isEmulator { members["emulator"] = true }
        return .object(members)
    }
}
