package import Attribution
package import AurumCore
internal import Foundation

/// Google Data Manager API: `POST {endpoint}/v1/events:ingest`.
///
/// Source: developers.google.com/data-manager/api and googleapis/googleapis, google/ads/datamanager/v1
/// (`IngestEventsRequest`: `destinations`, at most 2,000 `events`, `encoding`, `validateOnly`, answered with
/// `requestId`; `Event`: `transactionId`, `eventTimestamp`, `userData.userIdentifiers`, `consent`, `adIdentifiers`,
/// `currency`, `conversionValue`; `Destination`: `operatingAccount`, `loginAccount`, `productDestinationId`), and
/// "Conversion adjustments": an event with the `transactionId` of an earlier one of the same conversion action restates
/// it. There is no retraction of its own: what was given back is restated to nothing. Conversions of the last 54 days
/// can be adjusted, those of the last 90 days sent. A person has at most five identifiers here, as older rules want.
///
/// An accepted request was taken in; what Google makes of it later it shows in its own diagnostics.
package struct GoogleDataManager: ConversionSink {
    package let rules = SinkRules(
        batchMax: 2000, ageMax: .seconds(90 * 86_400), correctionAgeMax: .seconds(54 * 86_400))
    static let identifiersMax = 5
    private let caller: NetworkCaller
    private let tokens: GoogleTokens

    package init(_ caller: NetworkCaller, clock: any WallClock) {
        self.caller = caller
        tokens = GoogleTokens(caller: caller, clock: clock)
    }

    package func send(_ batch: [UploadConversion], to target: UploadTarget) async -> [UploadOutcome] {
        await ingest(batch, target)
    }

    package func restate(_ batch: [UploadConversion], at target: UploadTarget) async -> [UploadOutcome] {
        await ingest(batch, target)
    }

    package func retract(_ batch: [UploadConversion], at target: UploadTarget) async -> [UploadOutcome] {
        await ingest(batch.map { Self.emptied($0) }, target)
    }

    package func preview(
        _ action: UploadAction, _ conversion: UploadConversion, at target: UploadTarget
    ) -> JSONValue {
        Self.event(action == .retract ? Self.emptied(conversion) : conversion)
    }

    package func check(_ target: UploadTarget) async -> UploadOutcome {
        let now = tokens.now
        var person = UploadPerson()
        person.clicks = [NetworkClick(.gclid, "aurum-test", at: now)]
        let event = target.settings.conversions.values.min() ?? ""
        let probe = UploadConversion(
            id: UID(now: now), kind: .lead, event: event, at: now, value: .usd(cents: 0), person: person)
        switch await request([probe], target, validateOnly: true) {
        case .all(let outcome): return outcome
        case .refused(_, let reason): return .rejected(reason)
        }
    }

    private func ingest(_ batch: [UploadConversion], _ target: UploadTarget) async -> [UploadOutcome] {
        let known = batch.indices.filter { Self.hasIdentifier(batch[$0].person) }
        let settled = await NetworkCaller.settle(known.map { batch[$0] }) {
            await request($0, target, validateOnly: false)
        }
        var outcomes = [UploadOutcome](repeating: .rejected("no_identifiers"), count: batch.count)
        for (place, outcome) in zip(known, settled) { outcomes[place] = outcome }
        return outcomes
    }

    private func request(
        _ batch: [UploadConversion], _ target: UploadTarget, validateOnly: Bool
    ) async -> RequestVerdict {
        let token: String
        switch await tokens.token(target) {
        case .token(let known): token = known
        case .refused(let reason): return .all(.notSent(reason))
        }
        let body: JSONValue = [
            "destinations": .array(Self.destinations(batch, target)), "events": .array(batch.map { Self.event($0) }),
            "encoding": "HEX", "validateOnly": .bool(validateOnly),
        ]
        let url = target.settings.endpoint + "/v1/events:ingest"
        switch await caller.post(Array(body.canonical.utf8), to: url, token: token, for: target) {
        case .notSent(let reason): return .all(.notSent(reason))
        case .broken(let reason): return .all(.unknown(reason))
        case .answered(let status, let body, _):
            if status == 401 { await tokens.forget(target) }
            return Self.verdict(status, body, validateOnly: validateOnly)
        }
    }

    // MARK: what is said

    private static func emptied(_ conversion: UploadConversion) -> UploadConversion {
        var conversion = conversion
        conversion.value.minorUnits = 0
        return conversion
    }

    private static func hasIdentifier(_ person: UploadPerson) -> Bool {
        person.email != nil || person.phone != nil
            || [.gclid, .gbraid, .wbraid].contains { person.click($0) != nil }
    }

    /// One for each conversion action of the batch; events point at theirs by its id.
    private static func destinations(_ batch: [UploadConversion], _ target: UploadTarget) -> [JSONValue] {
        func account(_ id: String) -> JSONValue { ["accountType": "GOOGLE_ADS", "accountId": .string(id)] }
        return Set(batch.map(\.event)).sorted().map { action in
            var members: [String: JSONValue] = [
                "reference": .string(action), "operatingAccount": account(target.settings.account),
                "productDestinationId": .string(action),
            ]
            members["loginAccount"] = target.settings.loginAccount.map(account)
            return .object(members)
        }
    }

    private static func event(_ conversion: UploadConversion) -> JSONValue {
        let person = conversion.person
        var members: [String: JSONValue] = [
            "destinationReferences": [.string(conversion.event)], "transactionId": .string(conversion.id.hex),
            "eventTimestamp": .string(conversion.at.rfc3339), "eventSource": "OTHER",
        ]
        var identifiers: [JSONValue] = []
        if let email = person.email {
            identifiers.append(["emailAddress": .string(HashedIdentifier.googleEmail(email))])
        }
        if let phone = person.phone {
            identifiers.append(["phoneNumber": .string(HashedIdentifier.phone(phone, withPlus: true))])
        }
        if !identifiers.isEmpty {
            members["userData"] = ["userIdentifiers": .array(Array(identifiers.prefix(identifiersMax)))]
        }
        // One click at most: the most exact.
        for kind in [NetworkClick.Kind.gclid, .gbraid, .wbraid] {
            guard let click = person.click(kind) else { continue }
            members["adIdentifiers"] = .object([kind.rawValue: .string(click.value)])
            break
        }
        if person.isConsentGiven {
            members["consent"] = ["adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"]
        }
        if conversion.kind == .sale {
            members["currency"] = .string(conversion.value.currency.code)
            members["conversionValue"] = conversion.amount
        }
        return .object(members)
    }

    // MARK: what is answered

    /// Source: google.rpc.Status; `details` of the type BadRequest name the fields, such as
    /// `events.events[1].event_timestamp`.
    static func verdict(_ status: Int, _ body: JSONValue?, validateOnly: Bool = false) -> RequestVerdict {
        switch status {
        case 200..<300:
            guard validateOnly || body?["requestId"]?.string?.isEmpty == false else {
                return .all(.unknown("unreadable_answer"))
            }
            return .all(.accepted)
        case 401, 403: return .all(.notSent("credentials_refused"))
        case 404: return .all(.notSent("unknown_account"))
        case 429: return .all(.notSent("rate_limited"))
        case 400..<500:
            let details = body?["error"]?["details"]?.array ?? []
            let violations = details.flatMap { $0["fieldViolations"]?.array ?? [] }
            let places = violations.compactMap { place($0["field"]?.string ?? "") }
            // A destination that is wrong makes no conversion so.
            if places.isEmpty, violations.contains(where: { $0["field"]?.string?.contains("destination") == true }) {
                return .all(.notSent("unknown_account"))
            }
            let word = violations.compactMap { $0["reason"]?.string }.first ?? body?["error"]?["status"]?.string
            return .refused(places, code(word ?? "") ?? "google_\(status)")
        default: return .all(.unknown("server_error"))
        }
    }

    /// The number in `events[3]`.
    private static func place(_ field: String) -> Int? {
        guard let start = field.range(of: "events[")?.upperBound else { return nil }
        return Int(field[start...].prefix { $0.isNumber })
    }

    /// A word such as `INVALID_ARGUMENT` as a code of ours.
    private static func code(_ word: String) -> String? {
        guard (1...60).contains(word.utf8.count),
            word.utf8.allSatisfy({ (65...90).contains($0) || (48...57).contains($0) || $0 == 95 })
        else { return nil }
        return "google_" + word.lowercased()
    }
}

/// Access tokens of Google: those that were given, and those that a refresh token gets, kept until shortly before they
/// end.
///
/// Source: developers.google.com/identity/protocols/oauth2/web-server, "Refreshing an access token".
actor GoogleTokens {
    enum Answer: Sendable {
        case token(String)
        case refused(String)
    }

    private struct Kept {
        var refreshToken: String
        var token: String
        var until: Timestamp
    }

    private static let keptMax = 1000
    private static let standard = "https://oauth2.googleapis.com/token"
    private let caller: NetworkCaller
    private let clock: any WallClock
    private var kept: [UID: Kept] = [:]

    init(caller: NetworkCaller, clock: any WallClock) { (self.caller, self.clock) = (caller, clock) }

    nonisolated var now: Timestamp { clock.now }

    func forget(_ target: UploadTarget) { kept[target.id] = nil }

    func token(_ target: UploadTarget) async -> Answer {
        let credentials = target.credentials
        if let token = credentials.accessToken { return .token(token) }
        guard let id = credentials.clientID, let secret = credentials.clientSecret,
            let refresh = credentials.refreshToken
        else { return .refused("no_credentials") }
        if let known = kept[target.id], known.refreshToken == refresh, known.until > clock.now {
            return .token(known.token)
        }
        let form = [
            ("grant_type", "refresh_token"), ("client_id", id), ("client_secret", secret), ("refresh_token", refresh),
        ].map { "\($0)=\($1.percentEncoded)" }.joined(separator: "&")
        let isStandard = target.settings.endpoint == UploadSettings.endpoint(.google)
        let url = isStandard ? Self.standard : target.settings.endpoint + "/token"
        let exchange = await caller.post(
            Array(form.utf8), to: url, token: nil, type: "application/x-www-form-urlencoded", for: target)
        switch exchange {
        case .notSent(let reason), .broken(let reason): return .refused(reason)
        case .answered(let status, let body, _):
            guard (200..<300).contains(status), let token = body?["access_token"]?.string,
                token.utf8.allSatisfy({ (33...126).contains($0) })
            else { return .refused(status >= 500 ? "server_error" : "credentials_refused") }
            let seconds = min(max(body?["expires_in"]?.integer ?? 0, 60), 86_400) - 60
            if kept.count >= Self.keptMax { kept = [:] }
            kept[target.id] = Kept(refreshToken: refresh, token: token, until: clock.now + .seconds(seconds))
            return .token(token)
        }
    }
}
