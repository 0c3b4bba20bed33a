package import AurumCore
package import Foundation

/// A lead buyer as an operator configures it. Holds no credentials.
package struct Buyer: Sendable, Codable, Equatable {
    package enum State: String, Sendable, Codable { case draft, active, paused, closed }

    package var code: String
    package var name: String
    package var state: State
    package var ping: String?
    package var post: String
    package var leadTypes: [String]
    /// Takes a lead alone; otherwise shares it with up to `maxLegs` buyers.
    package var exclusive: Bool
    package var maxLegs: Int
    /// IANA name; caps count in its days.
    package var timeZone: String
    package var currency: Currency
    /// Contract price, bid when the buyer has no ping.
    package var price: Money?
    /// Lowest price at which this buyer may have a lead; replaces the tier's reserve price.
    package var reservePrice: Money?
    package var minScore: Int
    /// Cents a month.
    package var minBill: Int64
    /// Served ZIP codes; empty: all.
    package var zips: Set<String>
    package var caps: [Cap]
    package var pingTimeoutMilliseconds: Int
    package var postTimeoutMilliseconds: Int
    package var responseMap: ResponseMap
    /// A repeat of a post with the same key is safe: an unknown answer is asked for again.
    package var idempotent: Bool
    package var networkFeeBasisPoints: Int
    package var returnWindowDays: Int

    /// The zone of `timeZone`; checked when the buyer was configured.
    package var zone: TimeZone { TimeZone(identifier: timeZone) ?? .gmt }
    package var returnWindow: Duration { .seconds(returnWindowDays * 86_400) }
}

/// What a buyer is proven to with. Never part of any answer.
package struct BuyerCredentials: Sendable, Equatable {
    /// Key of `Aurum-Signature`.
    package var secret: Secret?
    package var bearerToken: Secret?

    package init(secret: Secret? = nil, bearerToken: Secret? = nil) {
        self.secret = secret
        self.bearerToken = bearerToken
    }
}

/// Reads a buyer's configuration and lists everything that is wrong with it.
package struct BuyerBody {
    package let buyer: Buyer
    /// Credentials given in this body; absent ones leave the stored ones as they are.
    package let credentials: BuyerCredentials

    /// - Parameter allowLoopback: plain HTTP to this machine is permitted; elsewhere endpoints must be HTTPS.
    /// - Throws: `LeadIntakeError.invalid` with all problems.
    package init(
        _ body: JSONValue, code: String, leadTypes: [String], allowLoopback: Bool
    ) throws(LeadIntakeError) {
        var reader = BuyerReader(body: body, allowLoopback: allowLoopback)
        let buyer = reader.read(code: code, leadTypes: leadTypes)
        guard reader.problems.isEmpty else { throw .invalid(reader.problems) }
        self.buyer = buyer
        credentials = BuyerCredentials(
            secret: body["secret"]?.string.map { Secret($0) },
            bearerToken: body["bearerToken"]?.string.map { Secret($0) })
    }
}

private struct BuyerReader {
    let body: JSONValue
    let allowLoopback: Bool
    var problems: [LeadProblem] = []

    private static let known: Set = [
        "code", "name", "state", "ping", "post", "leadTypes", "exclusive", "maxLegs", "timeZone", "currency", "price",
        "reservePrice", "minScore", "minBill", "zips", "caps", "pingTimeoutMilliseconds", "postTimeoutMilliseconds",
        "responseMap", "idempotent", "networkFeeBasisPoints", "returnWindowDays", "secret", "bearerToken",
        "secretSet", "bearerTokenSet",
    ]

    mutating func read(code: String, leadTypes known: [String]) -> Buyer {
        for name in (body.object ?? [:]).keys.sorted() where !Self.known.contains(name) {
            report(String(name.prefix(80)), "unknown", "there is no such member")
        }
        if body.object == nil { report("", "type", "the body must be a JSON object") }
        checkCode(code)
        let currency = currency()
        let zone = text("timeZone") ?? "America/New_York"
        if TimeZone(identifier: zone) == nil { report("timeZone", "choice", "not an IANA time zone") }
        let exclusive = flag("exclusive") ?? true
        let maxLegs = integer("maxLegs", 1...5) ?? (exclusive ? 1 : 3)
        if exclusive, maxLegs != 1 { report("maxLegs", "range", "an exclusive buyer has one leg") }
        let ping = text("ping")
        let price = money("price", currency)
        if ping == nil, price == nil { report("price", "missing", "a buyer without ping needs a contract price") }
        return Buyer(
            code: code, name: required("name"), state: state(), ping: ping.map { endpoint("ping", $0) },
            post: endpoint("post", required("post")), leadTypes: types(known), exclusive: exclusive, maxLegs: maxLegs,
            timeZone: zone, currency: currency, price: price, reservePrice: money("reservePrice", currency),
            minScore: integer("minScore", 0...100) ?? 0, minBill: Int64(integer("minBill", 0...100_000_000) ?? 0),
            zips: zips(), caps: caps(), pingTimeoutMilliseconds: integer("pingTimeoutMilliseconds", 500...5000) ?? 2000,
            postTimeoutMilliseconds: integer("postTimeoutMilliseconds", 500...15_000) ?? 15_000,
            responseMap: responseMap(), idempotent: flag("idempotent") ?? false,
            networkFeeBasisPoints: integer("networkFeeBasisPoints", 0...10_000) ?? 0,
            returnWindowDays: integer("returnWindowDays", 0...365) ?? 14)
    }

    private mutating func checkCode(_ code: String) {
        let allowed = code.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 95 }
        if code.isEmpty || code.utf8.count > 40 || !allowed {
            report("code", "format", "1 to 40 of a-z, 0-9, - and _")
        }
        if let own = body["code"]?.string, own != code { report("code", "choice", "is not the code of the address") }
    }

    private mutating func report(_ field: String, _ code: String, _ detail: String) {
        problems.append(LeadProblem(field: field, code: code, detail: detail))
    }

    private mutating func text(_ name: String) -> String? {
        guard let value = body[name], value != .null else { return nil }
        guard let text = value.string, !text.isEmpty, text.count <= 2000 else {
            report(name, "type", "must be text of 1 to 2000 characters")
            return nil
        }
        return text
    }

    private mutating func required(_ name: String) -> String {
        let before = problems.count
        let value = text(name)
        if value == nil, problems.count == before { report(name, "missing", "is required") }
        return value ?? ""
    }

    private mutating func integer(_ name: String, _ range: ClosedRange<Int>) -> Int? {
        guard let value = body[name], value != .null else { return nil }
        guard let number = value.integer.map(Int.init), range.contains(number) else {
            report(name, "range", "must be an integer in \(range.lowerBound)…\(range.upperBound)")
            return nil
        }
        return number
    }

    private mutating func flag(_ name: String) -> Bool? {
        guard let value = body[name], value != .null else { return nil }
        if value.bool == nil { report(name, "type", "must be true or false") }
        return value.bool
    }

    private mutating func currency() -> Currency {
        guard let text = text("currency") else { return .usd }
        if let currency = Currency(text) { return currency }
        report("currency", "format", "must be three letters")
        return .usd
    }

    private mutating func money(_ name: String, _ currency: Currency) -> Money? {
        guard let text = text(name) else { return nil }
        guard let money = Money(decimal: text, currency: currency), (0...10_000_000).contains(money.minorUnits) else {
            report(name, "format", "must be a decimal text such as \"150.00\", at most 100000.00")
            return nil
        }
        return money
    }

    private mutating func state() -> Buyer.State {
        guard let text = text("state") else { return .active }
        if let state = Buyer.State(rawValue: text) { return state }
        report("state", "choice", "must be draft, active, paused or closed")
        return .draft
    }

    private mutating func endpoint(_ name: String, _ text: String) -> String {
        guard !text.isEmpty else { return text }
        guard let url = URL(string: text), let scheme = url.scheme, let host = url.host, !host.isEmpty,
            url.user == nil, url.password == nil
        else {
            report(name, "format", "must be an absolute URL without user or password")
            return text
        }
        if !PlainAddress.isAllowed(scheme: scheme, host: host, allowLoopback: allowLoopback) {
            report(name, "choice", "must be https: leads are personal data")
        }
        return text
    }

    private mutating func types(_ known: [String]) -> [String] {
        let given = body["leadTypes"]?.array?.compactMap(\.string) ?? []
        if given.isEmpty { report("leadTypes", "missing", "needs at least one of \(known.joined(separator: ", "))") }
        for type in given where !known.contains(type) {
            report("leadTypes", "choice", "\(type.prefix(40)) is not one of \(known.joined(separator: ", "))")
        }
        return given
    }

    private mutating func zips() -> Set<String> {
        guard let value = body["zips"], value != .null else { return [] }
        let texts = value.array?.compactMap(\.string) ?? []
        let valid = texts.filter { $0.utf8.count == 5 && $0.utf8.allSatisfy { (48...57).contains($0) } }
        if valid.count != value.array?.count || valid.count > 50_000 {
            report("zips", "format", "must be a list of five-digit texts, at most 50000")
        }
        return Set(valid)
    }

    private mutating func caps() -> [Cap] {
        guard let value = body["caps"], value != .null else { return [] }
        let rows = value.array ?? []
        var caps: [Cap] = []
        for row in rows {
            if let unit = row["unit"]?.string.flatMap(Cap.Unit.init(rawValue:)), let limit = row["limit"]?.integer,
                (0...1_000_000).contains(limit), !caps.contains(where: { $0.unit == unit })
            {
                caps.append(Cap(unit: unit, limit: Int(limit)))
            }
        }
        if value.array == nil || caps.count != rows.count {
            report("caps", "format", "must be a list of {unit: hour|day|week|month, limit}, each unit once")
        }
        return caps
    }

    private mutating func responseMap() -> ResponseMap {
        guard let value = body["responseMap"], value != .null else { return ResponseMap() }
        do {
            return try JSONDecoder().decode(ResponseMap.self, from: Data(value.canonical.utf8))
        } catch {
            report("responseMap", "type", "members are dot paths and lists of texts")
            return ResponseMap()
        }
    }
}
