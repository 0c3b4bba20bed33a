package import AsyncHTTPClient
internal import Attribution
internal import AurumCore
internal import Crypto
internal import Foundation
package import Runtime

/// Calls an advertising network and gives up on one that does not answer. What it refuses was not sent.
package struct NetworkCaller: Sendable {
    /// A batch of a thousand conversions takes seconds.
    package static let timeout: Duration = .seconds(30)
    /// Requests that one batch may become when a network refuses a whole request for one conversion of it.
    static let splitsMax = 64

    private static let hosts: Set = ["graph.facebook.com", "datamanager.googleapis.com", "oauth2.googleapis.com"]

    private let poster: JSONPoster
    private let guards: GuardBook
    private let timeout: Duration

    /// - Parameter client: one that `HTTPLeadBuyer.makeClient` made.
    package init(client: HTTPClient, guards: GuardBook, timeout: Duration = Self.timeout) {
        poster = JSONPoster(client: client)
        (self.guards, self.timeout) = (guards, timeout)
    }

    func post(
        _ body: [UInt8], to url: String, token: String?, type: String = "application/json", for target: UploadTarget
    ) async -> JSONPoster.Exchange {
        await call(target, url) { left in
            await poster.post(body, to: url, headers: Self.headers(token), type: type, timeout: left)
        }
    }

    func get(_ url: String, token: String, for target: UploadTarget) async -> JSONPoster.Exchange {
        await call(target, url) { left in await poster.get(url, headers: Self.headers(token), timeout: left) }
    }

    private static func headers(_ token: String?) -> [(String, String)] {
        token.map { [("Authorization", "Bearer \($0)")] } ?? []
    }

    private func call(
        _ target: UploadTarget, _ url: String, _ exchange: @Sendable (Duration) async -> JSONPoster.Exchange
    ) async -> JSONPoster.Exchange {
        var options = GuardOptions()
        // What nobody knows is repeated by the uploader, under the same ids and with a record.
        options.triesMax = 1
        options.judgesSlowness = false
        // Names become labels and are few: an address that somebody made up has none of its own.
        let host = URLComponents(string: url)?.host ?? ""
        let place = Self.hosts.contains(host) ? "@\(host)" : ":\(target.id.hex)"
        let name = "network:\(target.network.rawValue)\(place)"
        do throws(GuardRefusal) {
            return try await guards.guard(name).call(
                within: timeout, options, lost: .broken(GuardRefusal.injectedReason), judge: Self.judge, exchange)
        } catch { return .notSent(error.reason) }
    }

    private static func judge(_ exchange: JSONPoster.Exchange) -> GuardJudgement {
        switch exchange {
        case .answered(let status, _, _): status >= 500 ? .bad : .good
        case .notSent, .broken: .bad
        }
    }
}

/// What an answer means for a whole request.
enum RequestVerdict: Sendable, Equatable {
    /// All of it ended so.
    case all(UploadOutcome)
    /// Nothing of it was taken, because of these conversions; of some conversion nobody knows which where it is empty.
    case refused([Int], String)
}

extension NetworkCaller {
    /// Sends a batch. A network that refuses the whole of it for some conversions gets the others again: without those
    /// it named, or in halves until the bad ones stand alone.
    static func settle(
        _ batch: [UploadConversion], _ ask: ([UploadConversion]) async -> RequestVerdict
    ) async -> [UploadOutcome] {
        var outcomes = [UploadOutcome](repeating: .notSent("batch_refused"), count: batch.count)
        var open = [Array(batch.indices)]
        var requests = 0
        while let part = open.popLast() {
            guard !part.isEmpty else { continue }
            guard requests < splitsMax, !Task.isCancelled else { continue }
            requests += 1
            switch await ask(part.map { batch[$0] }) {
            case .all(let outcome): for place in part { outcomes[place] = outcome }
            case .refused(let bad, let reason):
                let known = Set(bad.filter { part.indices.contains($0) })
                if part.count == 1 {
                    outcomes[part[0]] = .rejected(reason)
                } else if known.isEmpty {
                    let half = part.count / 2
                    open += [Array(part[half...]), Array(part[..<half])]
                } else {
                    for place in known { outcomes[part[place]] = .rejected(reason) }
                    open.append(part.indices.filter { !known.contains($0) }.map { part[$0] })
                }
            }
        }
        return outcomes
    }
}

/// Identifiers as networks take them: SHA-256 of the normalised text, as hex.
enum HashedIdentifier {
    /// Trimmed, in lower case.
    static func email(_ email: EmailAddress) -> String {
        hash(email.exposed.trimmingCharacters(in: .whitespacesAndNewlines).lowercased())
    }

    /// The same, and of Google's own addresses without dots and without what follows a plus sign.
    ///
    /// Source: developers.google.com/data-manager/api/devguides/concepts/formatting, `email_address`.
    static func googleEmail(_ email: EmailAddress) -> String {
        let text = email.exposed.trimmingCharacters(in: .whitespacesAndNewlines).lowercased()
        let parts = text.split(separator: "@")
        guard parts.count == 2, parts[1] == "gmail.com" || parts[1] == "googlemail.com" else { return hash(text) }
        let name = parts[0].prefix { $0 != "+" }.filter { $0 != "." }
        return hash("\(name)@\(parts[1])")
    }

    /// E.164. Meta hashes its digits alone, Google with the leading plus sign.
    static func phone(_ phone: PhoneNumber, withPlus: Bool) -> String {
        hash(withPlus ? phone.exposed : String(phone.exposed.drop { $0 == "+" }))
    }

    static func hash(_ text: String) -> String { Hex.encode(SHA256.hash(data: Data(text.utf8))) }
}

extension UploadConversion {
    /// The value as a number of whole units, as both networks want it.
    var amount: JSONValue {
        var scale = 1.0
        for _ in 0..<value.currency.fractionDigits { scale *= 10 }
        return .number(Double(value.minorUnits) / scale)
    }
}
