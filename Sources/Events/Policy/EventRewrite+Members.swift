internal import AurumCore

/// Members that the server puts into an event.
extension EventRewrite {
    /// Puts the consent that counts into the event: what it says itself stays where it is no less restrictive.
    mutating func stamp(_ consent: ConsentState, _ parser: inout EventParser) {
        var members: [String] = []
        if parser.has(.consent) {
            let written: Set<String> = ["gpc", "analytics", "ads", "personalisation"]
            for member in JSONPlaces.members(raw, range(parser.slice(.consent))) where !written.contains(member.name) {
                if consent.analytics == .denied, member.name != "tcf" { continue }
                members.append(String(decoding: raw[member.key.lowerBound..<member.value.upperBound], as: UTF8.self))
            }
        }
        for purpose in ConsentPurpose.allCases where consent[purpose] != .unknown {
            members.append("\"\(purpose.rawValue)\":\"\(consent[purpose].word)\"")
        }
        if consent.gpc { members.append("\"gpc\":true") }
        put("consent", [], "{" + members.joined(separator: ",") + "}", field: .consent, &parser)
    }

    /// Sets a contract field that is absent, null or present once.
    ///
    /// - Parameter aliases: other names of the field.
    mutating func put(
        _ name: String, _ aliases: Set<String>, _ value: String, field: EventField, _ parser: inout EventParser
    ) {
        let bit: UInt64 = 1 << UInt64(field.rawValue)
        guard parser.seen.0 & bit != 0 else { return edits.add(name, value) }
        for member in JSONPlaces.members(raw, 0..<raw.count) where member.name == name || aliases.contains(member.name)
        {
            edits.replace(member.value, value)
        }
    }
}

/// Adds members to the text of an event from outside the parser, for events that are sent again.
enum EventText {
    /// The object with members added behind its last one; nil when the text is no object with members.
    static func adding(_ members: [(name: String, value: String)], to raw: [UInt8]) -> [UInt8]? {
        raw.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress, JSONGrammar.isObject(start, end: start + buffer.count),
                let brace = buffer.lastIndex(of: 0x7d), !JSONPlaces.members(buffer, 0..<buffer.count).isEmpty
            else { return nil }
            var edits = EventEdits()
            for (name, value) in members { edits.add(name, value) }
            return edits.applied(to: UnsafeBufferPointer(rebasing: buffer[0...brace]))
        }
    }
}
