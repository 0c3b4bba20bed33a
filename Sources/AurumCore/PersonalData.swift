/// Text about a person. Printing it shows a mask; only `exposed` gives the value, so that every leak is a visible word.
package protocol PersonalData: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The value itself.
    var exposed: String { get }
    /// What logs and error messages may show.
    var masked: String { get }
}

extension PersonalData {
    package var description: String { masked }
    package var debugDescription: String { masked }
}

/// An e-mail address, kept as typed; compared in lower case.
package struct EmailAddress: PersonalData {
    package let exposed: String

    /// nil unless the text is one plausible address: something, `@`, a domain with a dot, at most 254 bytes.
    package init?(_ text: some StringProtocol) {
        let trimmed = text.drop(while: \.isWhitespace)
        let parts = trimmed.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, parts[0].utf8.count <= 64, trimmed.utf8.count <= 254,
            trimmed.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != 44 && $0 != 60 && $0 != 62 })
        else { return nil }
        let labels = parts[1].split(separator: ".", omittingEmptySubsequences: false)
        guard labels.count >= 2, let top = labels.last, top.utf8.count >= 2, top.allSatisfy(\.isLetter),
            labels.allSatisfy({ label in
                !label.isEmpty && label.utf8.count <= 63 && label.first != "-" && label.last != "-"
                    && label.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" }
            }), parts[0].first != ".", parts[0].last != "."
        else { return nil }
        exposed = String(trimmed)
    }

    /// Lower case: the form in which two addresses are compared.
    package var normalized: String { exposed.lowercased() }

    package var masked: String {
        let parts = exposed.split(separator: "@")
        let top = parts[1].split(separator: ".").last ?? ""
        return "\(parts[0].prefix(1))***@\(parts[1].prefix(1))***.\(top)"
    }
}

/// A North American telephone number in E.164.
package struct PhoneNumber: PersonalData {
    package let exposed: String

    /// Reads ten digits, or eleven with a leading 1, in any of the usual spellings. nil when area code or exchange
    /// cannot exist (first digit 0 or 1, or an N11 code). Source: North American Numbering Plan.
    package init?(_ text: some StringProtocol) {
        guard text.unicodeScalars.allSatisfy({ "0123456789 +().-/\u{a0}".unicodeScalars.contains($0) }) else {
            return nil
        }
        var digits = Array(text.utf8.filter { (48...57).contains($0) })
        if digits.count == 11, digits[0] == 49 { digits.removeFirst() }
        guard digits.count == 10, digits[0] >= 50, digits[3] >= 50, !(digits[1] == 49 && digits[2] == 49),
            !(digits[4] == 49 && digits[5] == 49)
        else { return nil }
        exposed = "+1" + String(decoding: digits, as: UTF8.self)
    }

    package var masked: String { "***\(exposed.suffix(2))" }
}

/// The name of a person.
package struct PersonName: PersonalData {
    package let exposed: String

    /// nil when empty or longer than 100 characters after trimming.
    package init?(_ text: some StringProtocol) {
        let words = text.split(whereSeparator: \.isWhitespace)
        let joined = words.joined(separator: " ")
        guard !joined.isEmpty, joined.count <= 100 else { return nil }
        exposed = joined
    }

    package var masked: String { "\(exposed.prefix(1))***" }
}

/// Words that a visitor typed.
package struct MessageText: PersonalData {
    package let exposed: String
    package init(_ text: String) { exposed = text }
    package var masked: String { "<text \(exposed.count) chars>" }
}

/// A key, token or password.
package struct Secret: PersonalData {
    package let exposed: String
    package init(_ text: String) { exposed = text }
    package var masked: String { "<secret>" }
}
