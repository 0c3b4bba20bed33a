package import AurumCore
internal import Foundation
internal import Synchronization

/// An advertising network that takes conversions, as its documentation describes it. All decisions are here and
/// synchronous; `FakesServer` only carries them over HTTP.
///
/// Some requests are done and never answered: which, the seed decides, so a repeated run loses the same ones.
package final class FakeNetwork: Sendable {
    package enum Kind: String, Sendable, CaseIterable { case meta, google }

    /// A conversion as the network counts it after taking repeats away.
    package struct Conversion: Sendable, Hashable {
        package var id: String
        package var event: String
        /// In minor units of a currency with two digits.
        package var valueMinor: Int64
        package var at: Timestamp
        /// Everything by which the network may know the person.
        package var identifiers: Set<String>
        /// How often it was sent.
        package var sightings: Int
    }

    private struct State {
        var conversions: [String: Conversion] = [:]
        /// Of Meta, by event and id: seconds since 1970 of the sighting that counts.
        var firstSeen: [String: Int64] = [:]
        var identifiers: Set<String> = []
        var requests = 0
        var refused = 0
        var lost = 0
        var repeats = 0
        var isDown = false
        var tokenSeconds: Int64 = 3600
        var random: SeededRandom
    }

    package let kind: Kind
    /// Credentials that are taken; all others are refused.
    package static let token = "fake-network-token"
    package static let refreshToken = "fake-refresh-token"
    /// Conversions remembered at most; more are refused.
    private static let remembered = 1_000_000
    private let clock: any WallClock
    /// Of a thousand requests, how many are done and never answered.
    private let lostPerThousand: Int
    private let state: Mutex<State>

    package init(
        _ kind: Kind, lostPerThousand: Int = 0, seed: UInt64 = 7, clock: any WallClock = SystemWallClock()
    ) {
        (self.kind, self.lostPerThousand, self.clock) = (kind, lostPerThousand, clock)
        state = Mutex(State(random: SeededRandom(seed: seed)))
    }

    package var conversions: [Conversion] { state.withLock { Array($0.conversions.values) } }
    /// Everything by which persons were ever named, in requests that were refused too.
    package var identifiers: Set<String> { state.withLock { $0.identifiers } }
    package var requests: Int { state.withLock { $0.requests } }
    package var refused: Int { state.withLock { $0.refused } }
    package var lost: Int { state.withLock { $0.lost } }
    /// Conversions that came again and were counted once.
    package var repeats: Int { state.withLock { $0.repeats } }
    package var totalMinor: Int64 { state.withLock { $0.conversions.values.reduce(0) { $0 &+ $1.valueMinor } } }

    /// Whether every request is answered 503.
    package func setDown(_ isDown: Bool) { state.withLock { $0.isDown = isDown } }

    /// How long the access tokens last that it gives out, as it says.
    package func setTokenSeconds(_ seconds: Int64) { state.withLock { $0.tokenSeconds = seconds } }

    package var document: JSONValue {
        state.withLock { state in
            [
                "network": .string(kind.rawValue), "conversions": .integer(Int64(state.conversions.count)),
                "total_minor": .integer(state.conversions.values.reduce(0) { $0 &+ $1.valueMinor }),
                "requests": .integer(Int64(state.requests)), "refused": .integer(Int64(state.refused)),
                "lost": .integer(Int64(state.lost)), "repeats": .integer(Int64(state.repeats)),
                "ids": .array(state.conversions.values.map(\.id).sorted().prefix(1000).map(JSONValue.string)),
            ]
        }
    }

    private func lose(_ answer: FakeAnswer, _ state: inout State) -> FakeAnswer {
        guard Int.random(in: 0..<1000, using: &state.random) < lostPerThousand else { return answer }
        state.lost += 1
        var answer = answer
        answer.hangs = true
        return answer
    }

    private func isKnown(_ authorization: String?) -> Bool { authorization == "Bearer \(Self.token)" }

    // MARK: Meta

    /// `POST /{version}/{pixel}/events`. Source: Meta, Conversions API: at most 1,000 events; one that is more than
    /// seven days old refuses them all; the same `event_id` and `event_name` within 48 hours count once, the first.
    package func metaEvents(_ body: JSONValue?, authorization: String?) -> FakeAnswer {
        state.withLock { state in
            state.requests += 1
            if state.isDown { return FakeAnswer(status: 503, body: #"{"error":{"code":2,"message":"unavailable"}}"#) }
            func refuse(_ code: Int, _ subcode: Int, _ message: String) -> FakeAnswer {
                state.refused += 1
                let error: JSONValue = [
                    "error": [
                        "message": .string(message), "type": "OAuthException", "code": .integer(Int64(code)),
                        "error_subcode": .integer(Int64(subcode)), "fbtrace_id": "fake",
                    ]
                ]
                return FakeAnswer(status: code == 190 ? 401 : 400, body: error.canonical)
            }
            guard isKnown(authorization) else { return refuse(190, 463, "Invalid OAuth access token") }
            guard let data = body?["data"]?.array, (1...1000).contains(data.count) else {
                return refuse(100, 2_804_001, "data must hold 1 to 1000 events")
            }
            for event in data { state.identifiers.formUnion(Self.metaIdentifiers(event["user_data"])) }
            let now = clock.now.microseconds / 1_000_000
            var taken: [Conversion] = []
            for event in data {
                guard let name = event["event_name"]?.string, let seconds = event["event_time"]?.integer,
                    let id = event["event_id"]?.string, event["action_source"]?.string != nil
                else { return refuse(100, 2_804_002, "a required field is missing") }
                guard seconds <= now + 60, seconds >= now - 7 * 86_400 else {
                    return refuse(100, 2_804_003, "event_time is not within the last seven days")
                }
                let identifiers = Self.metaIdentifiers(event["user_data"])
                guard !identifiers.isEmpty else { return refuse(100, 2_804_050, "user_data is empty") }
                let minor = ((event["custom_data"]?["value"]?.double ?? 0) * 100).rounded()
                guard let value = Int64(exactly: minor), value >= 0 else { return refuse(100, 2_804_008, "bad value") }
                taken.append(
                    Conversion(
                        id: id, event: name, valueMinor: value, at: Timestamp(microseconds: seconds * 1_000_000),
                        identifiers: identifiers, sightings: 1))
            }
            guard state.conversions.count + taken.count <= Self.remembered else { return refuse(4, 0, "too many") }
            for conversion in taken { countOnce(conversion, "\(conversion.event) \(conversion.id)", now, &state) }
            return lose(
                FakeAnswer(status: 200, body: #"{"events_received":\#(data.count),"messages":[],"fbtrace_id":"fake"}"#),
                &state)
        }
    }

    /// Once within 48 hours of the first; a later one is a conversion of its own.
    private func countOnce(_ conversion: Conversion, _ key: String, _ now: Int64, _ state: inout State) {
        if let first = state.firstSeen[key], now - first <= 48 * 3600 {
            state.conversions["\(key) \(first)"]?.sightings += 1
            state.repeats += 1
        } else {
            state.firstSeen[key] = now
            state.conversions["\(key) \(now)"] = conversion
        }
    }

    private static func metaIdentifiers(_ user: JSONValue?) -> Set<String> {
        var found: Set<String> = []
        for name in ["em", "ph", "external_id"] {
            for value in user?[name]?.array ?? [] { if let text = value.string { found.insert(text) } }
        }
        for name in ["fbc", "fbp"] { if let text = user?[name]?.string { found.insert(text) } }
        return found
    }

    /// `GET /{version}/{pixel}`.
    package func metaPixel(_ pixel: String, authorization: String?) -> FakeAnswer {
        guard isKnown(authorization) else {
            return FakeAnswer(status: 401, body: #"{"error":{"code":190,"message":"Invalid OAuth access token"}}"#)
        }
        return FakeAnswer(status: 200, body: JSONValue.object(["id": .string(pixel)]).canonical)
    }

    // MARK: Google

    /// `POST /v1/events:ingest`. Source: Google, Data Manager API: at most 2,000 events and here five identifiers each;
    /// a `transactionId` that is known for its conversion action restates it, and is refused once it is 54 days old;
    /// one event that is wrong refuses all, and the answer names it.
    package func googleEvents(_ body: JSONValue?, authorization: String?) -> FakeAnswer {
        state.withLock { state in
            state.requests += 1
            if state.isDown { return FakeAnswer(status: 503, body: #"{"error":{"status":"UNAVAILABLE"}}"#) }
            guard isKnown(authorization) else {
                state.refused += 1
                return FakeAnswer(status: 401, body: #"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#)
            }
            func refuse(_ field: String, _ reason: String) -> FakeAnswer {
                state.refused += 1
                let error: JSONValue = [
                    "error": [
                        "code": 400, "status": "INVALID_ARGUMENT",
                        "details": [
                            [
                                "@type": "type.googleapis.com/google.rpc.BadRequest",
                                "fieldViolations": [["field": .string(field), "reason": .string(reason)]],
                            ]
                        ],
                    ]
                ]
                return FakeAnswer(status: 400, body: error.canonical)
            }
            let destinations = body?["destinations"]?.array ?? []
            guard !destinations.isEmpty,
                destinations.allSatisfy({
                    $0["operatingAccount"]?["accountId"]?.string != nil && $0["productDestinationId"]?.string != nil
                })
            else { return refuse("destinations", "REQUIRED_FIELD_MISSING") }
            guard let events = body?["events"]?.array, (1...2000).contains(events.count) else {
                return refuse("events", "TOO_MANY_EVENTS")
            }
            for event in events { state.identifiers.formUnion(Self.googleIdentifiers(event)) }
            var taken: [Conversion] = []
            for (place, event) in events.enumerated() {
                switch googleConversion(event, state.conversions) {
                case .success(let conversion): taken.append(conversion)
                case .failure(let wrong):
                    return refuse("events.events[\(place)].\(wrong.field)", wrong.reason)
                }
            }
            guard state.conversions.count + taken.count <= Self.remembered else {
                return FakeAnswer(status: 429, body: #"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#)
            }
            if body?["validateOnly"]?.bool != true { for one in taken { restate(one, &state) } }
            return lose(FakeAnswer(status: 200, body: #"{"requestId":"fake-\#(state.requests)"}"#), &state)
        }
    }

    private struct Wrong: Error {
        var field: String
        var reason: String
    }

    private func googleConversion(
        _ event: JSONValue, _ known: [String: Conversion]
    ) -> Result<Conversion, Wrong> {
        guard let id = event["transactionId"]?.string, !id.isEmpty else {
            return .failure(Wrong(field: "transaction_id", reason: "REQUIRED_FIELD_MISSING"))
        }
        guard let at = event["eventTimestamp"]?.string.flatMap({ Timestamp(rfc3339: $0) }) else {
            return .failure(Wrong(field: "event_timestamp", reason: "INVALID_TIMESTAMP"))
        }
        let action = event["destinationReferences"]?.array?.first?.string ?? ""
        let age = clock.now - at
        let ageMax: Duration = .seconds((known["\(action) \(id)"] == nil ? 90 : 54) * 86_400)
        guard age <= ageMax, age >= .seconds(-60) else {
            return .failure(Wrong(field: "event_timestamp", reason: "EVENT_TIME_INVALID"))
        }
        guard event["userData"]?["userIdentifiers"]?.array?.count ?? 0 <= 5 else {
            return .failure(Wrong(field: "user_data.user_identifiers", reason: "TOO_MANY_USER_IDENTIFIERS"))
        }
        let identifiers = Self.googleIdentifiers(event)
        guard !identifiers.isEmpty else {
            return .failure(Wrong(field: "user_data", reason: "NO_IDENTIFIERS_PROVIDED"))
        }
        let minor = ((event["conversionValue"]?.double ?? 0) * 100).rounded()
        guard let value = Int64(exactly: minor), value >= 0 else {
            return .failure(Wrong(field: "conversion_value", reason: "INVALID_VALUE"))
        }
        return .success(
            Conversion(
                id: id, event: action, valueMinor: value, at: at, identifiers: identifiers, sightings: 1))
    }

    private func restate(_ conversion: Conversion, _ state: inout State) {
        let key = "\(conversion.event) \(conversion.id)"
        if let known = state.conversions[key] {
            state.repeats += 1
            state.conversions[key]?.sightings = known.sightings + 1
            state.conversions[key]?.valueMinor = conversion.valueMinor
        } else {
            state.conversions[key] = conversion
        }
    }

    private static func googleIdentifiers(_ event: JSONValue) -> Set<String> {
        var found: Set<String> = []
        for one in event["userData"]?["userIdentifiers"]?.array ?? [] {
            for name in ["emailAddress", "phoneNumber"] { if let text = one[name]?.string { found.insert(text) } }
        }
        for name in ["gclid", "gbraid", "wbraid"] {
            if let text = event["adIdentifiers"]?[name]?.string { found.insert(text) }
        }
        return found
    }

    /// `POST /token`: an access token for the refresh token.
    package func googleToken(_ form: String) -> FakeAnswer {
        let fields = form.split(separator: "&").map(String.init)
        guard fields.contains("grant_type=refresh_token"), fields.contains("refresh_token=\(Self.refreshToken)") else {
            return FakeAnswer(status: 400, body: #"{"error":"invalid_grant"}"#)
        }
        let seconds = state.withLock { $0.tokenSeconds }
        let answer: JSONValue = [
            "access_token": .string(Self.token), "expires_in": .integer(seconds), "token_type": "Bearer",
        ]
        return FakeAnswer(status: 200, body: answer.canonical)
    }
}
