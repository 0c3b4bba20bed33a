package import Attribution
package import AurumCore
internal import Foundation

/// Meta Conversions API: `POST {endpoint}/{pixel}/events`.
///
/// Source: developers.facebook.com/docs/marketing-api/conversions-api, "Using the API" (address, `data`, at most 1,000
/// events, `events_received`), "Server event parameters" (`event_time` in seconds and at most 7 days old, or the whole
/// request is refused; `event_id` and `event_name` tell a repeat within 48 hours), "Customer information parameters"
/// (what is hashed; `fbc` is `fb.1.{milliseconds}.{fbclid}`; a telephone number is hashed as digits with its country
/// code). It has no way to restate or retract what was sent: both are answered with `correction_unsupported`.
package struct MetaConversions: ConversionSink {
    package let rules = SinkRules(
        batchMax: 1000, ageMax: .seconds(7 * 86_400), correctionAgeMax: .seconds(7 * 86_400),
        repeatsWithin: .seconds(48 * 3600))
    private let caller: NetworkCaller

    package init(_ caller: NetworkCaller) { self.caller = caller }

    package func send(_ batch: [UploadConversion], to target: UploadTarget) async -> [UploadOutcome] {
        // The whole request would be refused for one without any identifier.
        let known = batch.indices.filter { Self.hasIdentifier(batch[$0].person) }
        let settled = await NetworkCaller.settle(known.map { batch[$0] }) { await request($0, target) }
        var outcomes = [UploadOutcome](repeating: .rejected("no_identifiers"), count: batch.count)
        for (place, outcome) in zip(known, settled) { outcomes[place] = outcome }
        return outcomes
    }

    package func restate(_ batch: [UploadConversion], at target: UploadTarget) async -> [UploadOutcome] {
        batch.map { _ in .rejected("correction_unsupported") }
    }

    package func retract(_ batch: [UploadConversion], at target: UploadTarget) async -> [UploadOutcome] {
        batch.map { _ in .rejected("correction_unsupported") }
    }

    package func preview(
        _ action: UploadAction, _ conversion: UploadConversion, at target: UploadTarget
    ) -> JSONValue {
        action == .send ? Self.event(conversion, target) : .null
    }

    package func check(_ target: UploadTarget) async -> UploadOutcome {
        guard let token = target.credentials.accessToken else { return .notSent("no_credentials") }
        let url = "\(target.settings.endpoint)/\(target.settings.account)?fields=id"
        switch await caller.get(url, token: token, for: target) {
        case .notSent(let reason), .broken(let reason): return .notSent(reason)
        case .answered(let status, let body, _):
            guard (200..<300).contains(status) else {
                return switch Self.verdict(status, body, count: 1) {
                case .all(let outcome): outcome
                case .refused(_, let reason): .rejected(reason)
                }
            }
            return body?["id"]?.string == target.settings.account ? .accepted : .rejected("unreadable_answer")
        }
    }

    private func request(_ batch: [UploadConversion], _ target: UploadTarget) async -> RequestVerdict {
        guard let token = target.credentials.accessToken else { return .all(.notSent("no_credentials")) }
        let body: JSONValue = ["data": .array(batch.map { Self.event($0, target) })]
        let url = "\(target.settings.endpoint)/\(target.settings.account)/events"
        switch await caller.post(Array(body.canonical.utf8), to: url, token: token, for: target) {
        case .notSent(let reason): return .all(.notSent(reason))
        case .broken(let reason): return .all(.unknown(reason))
        case .answered(let status, let body, _): return Self.verdict(status, body, count: batch.count)
        }
    }

    // MARK: what is said

    private static func hasIdentifier(_ person: UploadPerson) -> Bool {
        person.email != nil || person.phone != nil || person.externalID != nil || person.click(.fbclid) != nil
            || person.browserID != nil
    }

    private static func event(_ conversion: UploadConversion, _ target: UploadTarget) -> JSONValue {
        var members: [String: JSONValue] = [
            "event_name": .string(conversion.event), "event_id": .string(conversion.id.hex),
            "event_time": .integer(conversion.at.microseconds / 1_000_000),
            "action_source": .string(target.settings.actionSource), "user_data": user(conversion.person),
        ]
        if conversion.kind == .sale {
            members["custom_data"] = [
                "value": conversion.amount, "currency": .string(conversion.value.currency.code),
                "order_id": .string(conversion.id.hex),
            ]
        }
        return .object(members)
    }

    private static func user(_ person: UploadPerson) -> JSONValue {
        var members: [String: JSONValue] = [:]
        members["em"] = person.email.map { [.string(HashedIdentifier.email($0))] }
        members["ph"] = person.phone.map { [.string(HashedIdentifier.phone($0, withPlus: false))] }
        members["external_id"] = person.externalID.map { [.string(HashedIdentifier.hash($0))] }
        members["fbc"] = person.click(.fbclid).map { .string("fb.1.\($0.at.milliseconds).\($0.value)") }
        members["fbp"] = person.browserID.map(JSONValue.string)
        members["client_user_agent"] = person.userAgent.map(JSONValue.string)
        return .object(members)
    }

    // MARK: what is answered

    /// Source: developers.facebook.com/docs/graph-api/guides/error-handling: `error.code`, `error_subcode`,
    /// `is_transient`; rate limits are 4, 17, 32, 613 and 80000 to 80014.
    static func verdict(_ status: Int, _ body: JSONValue?, count: Int) -> RequestVerdict {
        if (200..<300).contains(status) {
            guard let received = body?["events_received"]?.integer else { return .all(.unknown("unreadable_answer")) }
            return .all(received == Int64(count) ? .accepted : .unknown("partly_received"))
        }
        let error = body?["error"]
        let (code, subcode) = (error?["code"]?.integer ?? 0, error?["error_subcode"]?.integer ?? 0)
        switch (status, code) {
        case (500..., _): return .all(.unknown("server_error"))
        case (429, _), (_, 4), (_, 17), (_, 32), (_, 613), (_, 80_000...80_014): return .all(.notSent("rate_limited"))
        case (401, _), (403, _), (_, 102), (_, 190), (_, 10), (_, 200...299):
            return .all(.notSent("credentials_refused"))
        case (404, _): return .all(.notSent("unknown_account"))
        case (_, 100) where subcode == 33: return .all(.notSent("unknown_account"))
        case (400..., _):
            if error?["is_transient"]?.bool == true { return .all(.unknown("server_error")) }
            return .refused([], subcode == 0 ? "meta_\(code)" : "meta_\(code)_\(subcode)")
        default: return .all(.unknown("unreadable_answer"))
        }
    }
}
