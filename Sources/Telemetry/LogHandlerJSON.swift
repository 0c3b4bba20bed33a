package import AurumCore
internal import Foundation
package import Logging

/// How log lines look.
package enum LogFormat: String, Sendable, CaseIterable { case json, pretty }

/// One line a record on standard output. Values pass through `Redaction`, so that personal data shows as a mask.
package struct StructuredLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    private let label: String
    private let format: LogFormat
    private let clock: any WallClock
    /// Longest line written, in bytes; longer ones are cut and say so.
    static let lineBytesMax = 16_384

    package init(label: String, level: Logger.Level, format: LogFormat, clock: any WallClock = SystemWallClock()) {
        self.label = label
        self.logLevel = level
        self.format = format
        self.clock = clock
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var all = metadata
        if let own = event.metadata { all.merge(own) { $1 } }
        let line = render(level: event.level, message: event.message.description, metadata: all)
        FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }

    /// The line without its end.
    func render(level: Logger.Level, message: String, metadata: Logger.Metadata) -> String {
        let safe = Redaction.masked(message)
        switch format {
        case .pretty:
            let fields = metadata.sorted { $0.key < $1.key }
                .map { " \($0.key)=\(Redaction.masked("\($0.value)"))" }.joined()
            return cut("\(clock.now.rfc3339) \(level.rawValue.uppercased()) \(label): \(safe)\(fields)".oneLine)
        case .json:
            var members: [String: JSONValue] = [
                "ts": .string(clock.now.rfc3339), "level": .string(level.rawValue), "component": .string(label),
                "message": .string(safe),
            ]
            var fields: [String: JSONValue] = [:]
            for (key, value) in metadata {
                let text = JSONValue.string(Redaction.masked("\(value)"))
                if ["code", "request_id", "trace_id", "org"].contains(key) {
                    members[key] = text
                } else {
                    fields[key] = text
                }
            }
            if !fields.isEmpty { members["fields"] = .object(fields) }
            let line = JSONValue.object(members).canonical
            guard line.utf8.count > Self.lineBytesMax else { return line }
            members["fields"] = nil
            members["message"] = .string(String(safe.prefix(1000)))
            members["truncated"] = true
            return JSONValue.object(members).canonical
        }
    }

    private func cut(_ line: String) -> String {
        line.utf8.count > Self.lineBytesMax ? String(line.prefix(Self.lineBytesMax / 4)) + " …cut" : line
    }
}

extension String {
    /// Control characters replaced, so that nobody can forge a log line.
    fileprivate var oneLine: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "\u{FFFD}" : $0 }))
    }
}

/// Finds e-mail addresses, phone numbers, card numbers and tokens in text from outside and masks them.
package enum Redaction {
    /// `text` with every match replaced by its mask. Cheap when nothing looks suspicious.
    package static func masked(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 64 || (48...57).contains($0) || $0 == 95 }) else { return text }
        var result = ""
        var word: [Character] = []
        for character in text {
            if character.isWhitespace || "\"'<>,;()[]{}=".contains(character) {
                result += mask(String(word))
                word.removeAll(keepingCapacity: true)
                result.append(character)
            } else {
                word.append(character)
            }
        }
        return result + mask(String(word))
    }

    private static func mask(_ word: String) -> String {
        if word.contains("@"), let address = EmailAddress(word.trimmingCharacters(in: .punctuationCharacters)) {
            return address.masked
        }
        for prefix in ["sk_", "wk_", "bk_", "at_"] where word.hasPrefix(prefix) && word.utf8.count > 20 {
            return "\(prefix)<secret>"
        }
        let digits = word.utf8.count { (48...57).contains($0) }
        if (10...16).contains(digits),
            word.utf8.allSatisfy({ (48...57).contains($0) || [32, 40, 41, 43, 45, 46].contains($0) }),
            word.hasPrefix("+") || word.contains("-") || digits == 10
        {
            return "***\(word.suffix(2))"
        }
        return word
    }
}
