internal import AurumCore

/// An event that stands in a query: pixels and clicks.
///
/// Names of the contract mean themselves, `utm_*` the campaign; whatever else is sent is kept in `props`. The first of
/// a name sent twice counts.
package struct QueryEvent: Sendable {
    /// Names and values, percent escapes resolved, in the order of the query.
    package let parameters: [(name: String, value: String)]
    package var type: String
    package var url: String?
    package var clickID: String?
    package var referrer: String?
    package var userAgent: String?
    /// The request carried `Sec-GPC: 1`.
    package var privacyControl = false

    package init(query: String, type: String) {
        parameters = AdvertisingFacts.parameters("?" + query).map { (name: $0.0, value: $0.1) }
        self.type = type
    }

    package subscript(name: String) -> String? { parameters.first { $0.name == name && !$0.value.isEmpty }?.value }

    private static let texts: [(StaticString, [String])] = [
        ("id", ["id"]), ("name", ["name"]), ("anonymous_id", ["anonymous_id", "aid"]), ("user_id", ["user_id", "uid"]),
        ("device_id", ["device_id"]), ("session_id", ["session_id"]), ("order_id", ["order_id"]),
        ("lead_id", ["lead_id"]), ("advertising_id", ["advertising_id"]), ("vendor_id", ["vendor_id"]),
        ("title", ["title"]), ("screen", ["screen"]), ("value", ["value"]), ("currency", ["currency"]),
        ("trace_id", ["trace_id"]),
    ]
    private static let campaign: [(StaticString, [String])] = [
        ("id", ["campaign_id", "utm_id"]), ("name", ["campaign", "utm_campaign"]),
        ("source", ["source", "utm_source"]),
        ("medium", ["medium", "utm_medium"]), ("term", ["term", "utm_term"]), ("content", ["content", "utm_content"]),
        ("network", ["network"]), ("placement_id", ["placement_id"]),
    ]
    /// Parameters of the route itself, and those read below.
    private static let own: Set<String> = [
        "k", "t", "to", "ts", "sent_at", "url", "u", "referrer", "r", "click_id", "gpc",
    ]
    /// Names of the contract. What others call the same stays in `props` as well, as it always did.
    private static let known = own.union((texts + campaign).flatMap(\.1)).union(AdParameter.allCases.map(\.rawValue))

    /// One line of the log.
    package var line: [UInt8] {
        var out = LineWriter(capacity: 512)
        out.begin()
        out.member("type", string: type)
        for (name, sources) in Self.texts { write(name, sources, &out) }
        for name in ["ts", "sent_at"] { if let time = self[name] { writeTime(name, time, &out) } }
        if let clickID = clickID ?? self["click_id"] { out.member("click_id", string: clickID) }
        if let url = url ?? self["url"] ?? self["u"] { out.member("url", string: url) }
        if let referrer = self["referrer"] ?? self["r"] ?? referrer { out.member("referrer", string: referrer) }
        let campaign = out.open("campaign")
        for (name, sources) in Self.campaign { write(name, sources, &out) }
        for parameter in AdParameter.allCases { write(parameter, &out) }
        out.close(campaign)
        if privacyControl || self["gpc"] == "1" {
            let consent = out.open("consent")
            out.member("gpc", literal: "true")
            out.close(consent)
        }
        if let userAgent, !userAgent.isEmpty, userAgent.utf8.count <= ContractLimits.stringBytesMax {
            let context = out.open("context")
            out.member("user_agent", string: userAgent)
            out.close(context)
        }
        let props = out.open("props")
        for parameter in parameters where !Self.known.contains(parameter.name) {
            out.member(own: parameter.name, string: parameter.value)
        }
        out.close(props)
        out.end()
        return out.bytes
    }

    private func write(_ name: StaticString, _ sources: [String], _ out: inout LineWriter) {
        for source in sources {
            if let value = self[source] { return out.member(name, string: value) }
        }
    }

    /// A name of the contract stands as it came, too long or not; what others call so is cut.
    private func write(_ parameter: AdParameter, _ out: inout LineWriter) {
        if let value = self[parameter.rawValue] {
            out.member(own: parameter.rawValue, string: value)
        } else if let value = parameter.value(in: parameters.map { ($0.name, $0.value) }) {
            out.member(own: parameter.rawValue, string: AdNames.cut(value))
        }
    }

    /// Milliseconds are a number on the wire.
    private func writeTime(_ name: String, _ text: String, _ out: inout LineWriter) {
        guard let milliseconds = Int64(text) else { return out.member(own: name, string: text) }
        out.member(own: name, integer: milliseconds)
    }
}
