package import AurumCore
internal import Events

extension ShortLink {
    /// Reads the body that makes a link.
    /// - Parameters:
    ///   - app: that clicks are recorded for, where the body names none.
    ///   - made: the slug of a link that names none.
    /// - Throws: `LinkError.invalid` with every problem.
    package init(
        _ body: JSONValue, org: String, app: String, made: String, now: Timestamp
    ) throws(LinkError) {
        guard let members = body.object else {
            throw .invalid([LinkProblem(field: "body", detail: "must be an object.")])
        }
        var reader = LinkReader(members: members)
        self.init(
            slug: reader.slug() ?? made, org: org, app: reader.app() ?? app, webURL: reader.webURL())
        ios = reader.app("ios", id: "app") { text in
            (1...20).contains(text.utf8.count) && text.utf8.allSatisfy { (48...57).contains($0) }
        }
        android = reader.app("android", id: "package") { text in
            (3...255).contains(text.utf8.count) && text.contains(".")
                && text.utf8.allSatisfy {
                    (48...57).contains($0) || (97...122).contains($0 | 32) || $0 == 46 || $0 == 95
                }
        }
        campaign = reader.campaign()
        payload = reader.payload()
        expiresAt = reader.expires(now)
        createdAt = now
        guard reader.problems.isEmpty else { throw .invalid(reader.problems) }
    }

    /// Not the words that addresses under `/v1/links` need for themselves.
    package static func isFree(_ slug: String) -> Bool { isSlug(slug) && slug != "resolve" }

    package static func isSlug(_ text: String) -> Bool {
        (3...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95 }
    }
}

/// Reads members of a body and collects what is wrong with them.
private struct LinkReader {
    var members: [String: JSONValue]
    var problems: [LinkProblem] = []
    private static let known: Set = [
        "slug", "app", "web_url", "ios", "android", "campaign", "payload", "expires",
    ]
    private static let textBytesMax = 200
    private static let pathBytesMax = 500

    init(members: [String: JSONValue]) {
        self.members = members.filter { $0.value != .null }
        for name in members.keys.sorted() where !Self.known.contains(name) {
            problem(String(name.prefix(40)), "is no member of a link.")
        }
    }

    private mutating func problem(_ field: String, _ detail: String) {
        problems.append(LinkProblem(field: field, detail: detail))
    }

    mutating func slug() -> String? {
        guard let member = members["slug"] else { return nil }
        guard let text = member.string, ShortLink.isFree(text) else {
            problem("slug", "must be 3 to 64 of a-z, 0-9, - and _, and not resolve.")
            return nil
        }
        return text
    }

    mutating func app() -> String? {
        guard let member = members["app"] else { return nil }
        guard let text = member.string, (1...64).contains(text.utf8.count),
            text.utf8.allSatisfy({ (48...57).contains($0) || (97...122).contains($0 | 32) || $0 == 45 || $0 == 95 })
        else {
            problem("app", "must be 1 to 64 letters, digits, - or _.")
            return nil
        }
        return text
    }

    mutating func webURL() -> String {
        guard let text = members["web_url"]?.string, text.utf8.count <= ShortLink.urlBytesMax,
            let target = RedirectTarget(text)
        else {
            problem("web_url", "must be an http or https address of at most \(ShortLink.urlBytesMax) bytes.")
            return ""
        }
        return target.text
    }

    mutating func app(_ name: String, id: String, isID: (String) -> Bool) -> ShortLink.App? {
        guard let member = members[name] else { return nil }
        guard let inner = member.object, Set(inner.keys).isSubset(of: [id, "path"]), let text = inner[id]?.string,
            isID(text)
        else {
            let what = name == "ios" ? "the app's number in Apple's store as text" : "the name of the app's package"
            problem(name, "must have \(id), \(what), and perhaps path.")
            return nil
        }
        guard let path = inner["path"], path != .null else { return ShortLink.App(id: text) }
        guard let place = path.string, place.hasPrefix("/"), place.utf8.count <= Self.pathBytesMax,
            place.utf8.allSatisfy({ $0 > 32 && $0 != 127 })
        else {
            problem("\(name).path", "must begin with / and have at most \(Self.pathBytesMax) bytes without blanks.")
            return nil
        }
        return ShortLink.App(id: text, path: place)
    }

    mutating func campaign() -> [String: String] {
        guard let member = members["campaign"] else { return [:] }
        let given = member.string.map { ["name": JSONValue.string($0)] } ?? member.object
        guard let given else {
            problem("campaign", "must be a name, or an object of \(ShortLink.campaignNames.joined(separator: ", ")).")
            return [:]
        }
        var found: [String: String] = [:]
        for (name, value) in given.sorted(by: { $0.key < $1.key }) where value != .null {
            guard ShortLink.campaignNames.contains(name), let text = value.string,
                (1...Self.textBytesMax).contains(text.utf8.count), !text.utf8.contains(0)
            else {
                problem(
                    "campaign.\(name.prefix(40))",
                    "must be one of \(ShortLink.campaignNames.joined(separator: ", ")) with text of 1 to "
                        + "\(Self.textBytesMax) bytes.")
                continue
            }
            found[name] = text
        }
        return found
    }

    mutating func payload() -> JSONValue {
        guard let member = members["payload"] else { return .object([:]) }
        let text = member.canonical
        guard member.object != nil, text.utf8.count <= ShortLink.payloadBytesMax, !text.contains("\\u0000") else {
            problem("payload", "must be an object of at most \(ShortLink.payloadBytesMax) bytes without NUL.")
            return .object([:])
        }
        return member
    }

    mutating func expires(_ now: Timestamp) -> Timestamp? {
        guard let member = members["expires"] else { return nil }
        guard let text = member.string, let time = DefinitionStore.midnight(text) ?? Timestamp(rfc3339: text),
            time > now
        else {
            problem("expires", "must be a date or RFC 3339, later than now.")
            return nil
        }
        return time
    }
}
