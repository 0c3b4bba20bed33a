package import AurumCore

/// Where a buyer's answer says what it means. What is not mapped is unknown: a status code alone never decides.
package struct ResponseMap: Sendable, Codable, Equatable {
    /// Dot paths into the JSON answer.
    package var outcome = "outcome"
    package var reason = "reason"
    package var id = "id"
    package var price = "price"
    package var currency = "currency"
    package var token = "token"
    /// Values of `outcome`.
    package var bid = ["bid"]
    package var declined = ["decline"]
    package var accepted = ["accepted"]
    package var rejected = ["rejected"]

    package init() {}

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let standard = ResponseMap()
        func text(_ key: CodingKeys, _ fallback: String) throws -> String {
            try container.decodeIfPresent(String.self, forKey: key) ?? fallback
        }
        func list(_ key: CodingKeys, _ fallback: [String]) throws -> [String] {
            try container.decodeIfPresent([String].self, forKey: key) ?? fallback
        }
        outcome = try text(.outcome, standard.outcome)
        reason = try text(.reason, standard.reason)
        id = try text(.id, standard.id)
        price = try text(.price, standard.price)
        currency = try text(.currency, standard.currency)
        token = try text(.token, standard.token)
        bid = try list(.bid, standard.bid)
        declined = try list(.declined, standard.declined)
        accepted = try list(.accepted, standard.accepted)
        rejected = try list(.rejected, standard.rejected)
    }

    /// What an answer to a ping means.
    /// - Parameter body: the parsed body; nil when it was no JSON.
    package func ping(status: Int, body: JSONValue?, expected: Currency) -> PingAnswer {
        guard let body, let outcome = text(body, self.outcome) else { return .unreadable("http_\(status)") }
        if declined.contains(outcome) { return .declined(clipped(text(body, reason))) }
        guard bid.contains(outcome) else { return .unreadable("unmapped_outcome") }
        guard (200...299).contains(status) else { return .unreadable("http_\(status)") }
        guard text(body, currency).map({ Currency($0) == expected }) ?? true else { return .unreadable("currency") }
        guard let price = text(body, self.price).flatMap({ Money(decimal: $0, currency: expected) }),
            (0...10_000_000).contains(price.minorUnits)
        else { return .unreadable("price") }
        return .bid(price, token: text(body, token).map { String($0.prefix(500)) })
    }

    /// What an answer to a post means.
    /// - Parameter hasRetryAfter: the answer named a time for a repeat, so nothing was taken.
    package func post(status: Int, body: JSONValue?, hasRetryAfter: Bool) -> PostAnswer {
        if status == 429 || status == 503 {
            return hasRetryAfter || status == 429 ? .notSent("http_\(status)") : .unknown("http_\(status)")
        }
        if status >= 500 || status == 408 { return .unknown("http_\(status)") }
        let outcome = body.flatMap { text($0, self.outcome) }
        if let body, let outcome {
            if accepted.contains(outcome), (200...299).contains(status) {
                return .accepted(id: text(body, id).map { String($0.prefix(200)) })
            }
            if rejected.contains(outcome) { return .rejected(clipped(text(body, reason))) }
        }
        if status == 401 || status == 403 { return .refused("http_\(status)") }
        return .unknown(outcome == nil ? "unreadable" : "unmapped_outcome")
    }

    /// Text or whole number at a dot path.
    private func text(_ body: JSONValue, _ path: String) -> String? {
        var value: JSONValue? = body
        for name in path.split(separator: ".") { value = value?[String(name)] }
        switch value {
        case .string(let text): return text
        case .integer(let number): return String(number)
        case .number, .bool, .array, .object, .null, nil: return nil
        }
    }

    /// A reason as a code that is safe to log and show: at most 60 plain characters.
    private func clipped(_ reason: String?) -> String {
        let plain = (reason ?? "none").unicodeScalars.map { scalar -> Character in
            scalar.isASCII
                && (scalar.properties.isAlphabetic || (48...57).contains(scalar.value)
                    || "-_. ".unicodeScalars.contains(scalar))
                ? Character(scalar) : "_"
        }
        return String(plain.prefix(60))
    }
}
