package import AurumCore
internal import Foundation

/// What may stand in a callback's address and body.
package enum CallbackMacro: String, Sendable, CaseIterable {
    /// The network's own id of the click.
    case clickID = "click_id"
    /// `install`, `sale`, or the conversion's name.
    case event
    /// Decimal text with the currency's digits, `12.50`; empty without a value.
    case value
    case currency
    /// When it happened: whole seconds since 1970.
    case seconds = "ts"
    /// The same in every attempt: who has seen it has had this callback.
    case deliveryID = "delivery_id"
    /// The event's id; of a sale the sold leg.
    case conversionID = "conversion_id"
    case network
    case campaign
    /// Of an install or a conversion.
    case app
}

/// What one callback tells.
package struct CallbackFacts: Sendable, Equatable {
    package var deliveryID: UID
    package var event: String
    package var network: String
    package var clickID: String?
    package var campaign: String?
    package var app = ""
    package var conversionID: String
    package var value: Money?
    package var at: Timestamp

    package init(deliveryID: UID, event: String, network: String, conversionID: String, at: Timestamp) {
        (self.deliveryID, self.event, self.network) = (deliveryID, event, network)
        (self.conversionID, self.at) = (conversionID, at)
    }

    /// Empty for what is not known.
    package func text(_ macro: CallbackMacro) -> String {
        switch macro {
        case .clickID: clickID ?? ""
        case .event: event
        case .value: value?.decimal ?? ""
        case .currency: value?.currency.code ?? ""
        case .seconds: String(Int64((Double(at.microseconds) / 1e6).rounded(.down)))
        case .deliveryID: deliveryID.hex
        case .conversionID: conversionID
        case .network: network
        case .campaign: campaign ?? ""
        case .app: app
        }
    }

    /// What a test of a template is filled with.
    package static func sample(event: String, network: String, now: Timestamp) -> CallbackFacts {
        var facts = CallbackFacts(
            deliveryID: UID(now: now), event: event, network: network, conversionID: "sample-conversion", at: now)
        (facts.clickID, facts.campaign, facts.app) = ("sample click/1&2", "sample campaign", "sample")
        facts.value = Money(minorUnits: 1250, currency: .usd)
        return facts
    }
}

/// A text with macros, `{click_id}`.
package struct CallbackText: Sendable, Equatable {
    package enum Part: Sendable, Equatable {
        case plain(String)
        case macro(CallbackMacro)
    }

    /// Why a text is none.
    package enum Fault: Error, Equatable, Sendable {
        case unknownMacro(String)
        case openBrace

        package var sentence: String {
            switch self {
            case .unknownMacro(let name):
                "has the unknown macro {\(name)}; known are "
                    + CallbackMacro.allCases.map { "{\($0.rawValue)}" }.joined(separator: " ")
            case .openBrace: "has a brace that belongs to no macro; write %7B and %7D for plain ones"
            }
        }
    }

    package let parts: [Part]

    package init(_ text: some StringProtocol) throws(Fault) {
        var parts: [Part] = []
        var rest = text[...]
        while let brace = rest.firstIndex(where: { $0 == "{" || $0 == "}" }) {
            if rest.startIndex < brace { parts.append(.plain(String(rest[..<brace]))) }
            let after = rest.index(after: brace)
            guard rest[brace] == "{", let end = rest[after...].firstIndex(where: { $0 == "{" || $0 == "}" }),
                rest[end] == "}"
            else { throw .openBrace }
            let name = String(rest[after..<end])
            guard let macro = CallbackMacro(rawValue: name) else { throw .unknownMacro(String(name.prefix(40))) }
            parts.append(.macro(macro))
            rest = rest[rest.index(after: end)...]
        }
        if !rest.isEmpty { parts.append(.plain(String(rest))) }
        self.parts = parts
    }

    package var macros: Set<CallbackMacro> {
        parts.reduce(into: []) { if case .macro(let macro) = $1 { $0.insert(macro) } }
    }

    /// The text with its macros filled in.
    /// - Parameter escape: makes a value safe for where the text stands.
    package func filled(_ facts: CallbackFacts, _ escape: (String) -> String) -> String {
        parts.map { part in
            switch part {
            case .plain(let text): text
            case .macro(let macro): escape(facts.text(macro))
            }
        }.joined()
    }
}

/// What leaves for one callback.
package struct CallbackRequest: Sendable, Equatable {
    package var method: CallbackMethod
    package var url: String
    /// JSON; nil where nothing is sent.
    package var body: String?

    package init(method: CallbackMethod, url: String, body: String?) {
        (self.method, self.url, self.body) = (method, url, body)
    }

    package var json: JSONValue {
        [
            "method": .string(method.rawValue), "url": .string(url),
            "body": body.map { .string($0) } ?? .null,
        ]
    }
}

package enum CallbackMethod: String, Sendable, CaseIterable, Codable {
    case get = "GET"
    case post = "POST"
}

/// Method, address and body of a callback. Values can never leave their place: macros stand in the query of the
/// address, where each value is percent-encoded, and in the texts of a JSON body, which is written anew.
package struct CallbackTemplate: Sendable, Equatable {
    package static let urlBytesMax = 2000
    package static let bodyBytesMax = 4000
    private static let bodyDepthMax = 8

    package let method: CallbackMethod
    package let url: String
    package let body: JSONValue?
    private let address: CallbackText

    /// - Parameter allowLoopback: plain HTTP to this machine is permitted; elsewhere it must be HTTPS.
    /// - Throws: `CallbackError.invalid` with everything that is wrong.
    package init(
        method: CallbackMethod, url: String, body: JSONValue?, allowLoopback: Bool
    ) throws(CallbackError) {
        var problems: [CallbackProblem] = []
        (self.method, self.url, self.body) = (method, url, body)
        do throws(CallbackText.Fault) { address = try CallbackText(url) } catch {
            throw .invalid([CallbackProblem(field: "url", detail: error.sentence)])
        }
        problems += Self.problems(url, address, allowLoopback: allowLoopback).map {
            CallbackProblem(field: "url", detail: $0)
        }
        if let body {
            if method == .get { problems.append(CallbackProblem(field: "body", detail: "is for POST only")) }
            if body.canonical.utf8.count > Self.bodyBytesMax {
                problems.append(
                    CallbackProblem(field: "body", detail: "must have at most \(Self.bodyBytesMax) bytes"))
            }
            problems += Self.problems(body, depth: 0).map { CallbackProblem(field: "body", detail: $0) }
        }
        if !problems.isEmpty { throw .invalid(problems) }
    }

    package var macros: Set<CallbackMacro> { address.macros.union(Self.macros(body)) }

    package func request(_ facts: CallbackFacts) -> CallbackRequest {
        CallbackRequest(
            method: method, url: address.filled(facts, \.percentEncoded),
            body: body.map { Self.filled($0, facts).canonical })
    }

    // MARK: address

    private static func problems(_ url: String, _ address: CallbackText, allowLoopback: Bool) -> [String] {
        guard (1...urlBytesMax).contains(url.utf8.count), url.utf8.allSatisfy({ (33...126).contains($0) }) else {
            return ["must be 1 to \(urlBytesMax) printable ASCII characters without spaces"]
        }
        let fixed = url.prefix { $0 != "?" }
        if fixed.contains("{") { return ["may have macros in its query only, after the question mark"] }
        if url.contains("#") { return ["must have no fragment"] }
        // What is sent is what is written here: nothing is left to be escaped on the way.
        if !isEscaped(url) {
            return ["must have \" < > \\ ^ ` | [ ] and % percent-encoded; [ and ] may stand around an address"]
        }
        let example = address.filled(
            .sample(event: "install", network: "n", now: Timestamp(microseconds: 0)), \.percentEncoded)
        guard let parts = URLComponents(string: example), let scheme = parts.scheme, let host = parts.host,
            !host.isEmpty, parts.user == nil, parts.password == nil, URL(string: example) != nil
        else { return ["must be an absolute URL without user and password"] }
        if !PlainAddress.isAllowed(scheme: scheme, host: host, allowLoopback: allowLoopback) {
            return ["must be https: click ids are personal data"]
        }
        return []
    }

    private static func isEscaped(_ url: String) -> Bool {
        if url.contains(where: { #""<>\^`|"#.contains($0) }) { return false }
        let query = url.drop { $0 != "?" }
        if query.contains("[") || query.contains("]") { return false }
        return url.split(separator: "%", omittingEmptySubsequences: false).dropFirst().allSatisfy { part in
            part.count >= 2 && part.prefix(2).allSatisfy { $0.isASCII && $0.isHexDigit }
        }
    }

    // MARK: body

    private static func problems(_ body: JSONValue, depth: Int) -> [String] {
        guard depth < bodyDepthMax else { return ["must not be nested more than \(bodyDepthMax) deep"] }
        switch body {
        case .string(let text):
            do throws(CallbackText.Fault) { _ = try CallbackText(text) } catch { return [error.sentence] }
            return []
        case .array(let values): return values.flatMap { problems($0, depth: depth + 1) }
        case .object(let members):
            return members.sorted { $0.key < $1.key }.flatMap { problems($0.value, depth: depth + 1) }
        case .null, .bool, .integer, .number: return []
        }
    }

    private static func macros(_ body: JSONValue?) -> Set<CallbackMacro> {
        switch body {
        case .string(let text): (try? CallbackText(text))?.macros ?? []
        case .array(let values): values.reduce(into: []) { $0.formUnion(macros($1)) }
        case .object(let members): members.values.reduce(into: []) { $0.formUnion(macros($1)) }
        case nil, .null, .bool, .integer, .number: []
        }
    }

    private static func filled(_ body: JSONValue, _ facts: CallbackFacts) -> JSONValue {
        switch body {
        case .string(let text): .string((try? CallbackText(text))?.filled(facts) { $0 } ?? text)
        case .array(let values): .array(values.map { filled($0, facts) })
        case .object(let members): .object(members.mapValues { filled($0, facts) })
        case .null, .bool, .integer, .number: body
        }
    }
}
