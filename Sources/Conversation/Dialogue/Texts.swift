internal import AurumCore

/// Placeholders in braces: `{bill}`.
enum Template {
    static func placeholders(_ text: String) -> [String] {
        var names: [String] = []
        var rest = Substring(text)
        while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
            names.append(String(rest[rest.index(after: open)..<close]))
            rest = rest[rest.index(after: close)...]
        }
        return names
    }

    /// `text` with every placeholder replaced. Values are inserted as they are and never read again.
    static func render(_ text: String, _ value: (String) -> String?) -> String {
        var result = ""
        var rest = Substring(text)
        while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
            result += rest[..<open] + (value(String(rest[rest.index(after: open)..<close])) ?? "")
            rest = rest[rest.index(after: close)...]
        }
        return result + rest
    }
}

/// Texts of the engine itself.
enum CoreText: String, CaseIterable, Sendable {
    case disclosure, heard, corrected, contradiction, confirmValue, kept, clarify
    case invalidMoney, invalidMoneyRange, invalidIntegerRange, invalidPostalCode, invalidPhone, invalidEmail,
        invalidOther
    case notUnderstood, notUnderstoodChoices, noAnswer, bot, greeting, thanks, why, required, skipped, goOn
    case cancelConfirm, cancelled, restarted, stopped, notInterested, handOver, handOverFinal, deleteData, apology
    case unclearConsent, tooManyTurns, yes, no, skip, stopHere, keepGoing, human, continueWithBot, perMonth, or
}

/// The engine's texts in every language, all present.
struct CoreTexts: Sendable {
    private var texts: [String: LocalizedText] = [:]

    /// Reads the file and reports every text that is missing in a language.
    static func read(_ yaml: String, sink: FlowProblemSink) -> CoreTexts {
        let texts = FlowReader.texts(yaml, sink: sink)
        for id in CoreText.allCases {
            for language in Language.allCases where (texts[id.rawValue]?[language] ?? "").isEmpty {
                sink.report(
                    .missingTranslation, texts[id.rawValue]?.position ?? FlowPosition(line: 1, column: 1),
                    "\(id.rawValue) has no \(language.rawValue)")
            }
        }
        for (name, text) in texts where CoreText(rawValue: name) == nil {
            sink.report(.unknownKey, text.position, "unknown text \(name)")
        }
        return CoreTexts(texts: texts)
    }

    subscript(id: CoreText, language: Language) -> String { texts[id.rawValue]?[language] ?? "" }
}

/// Values as people read them.
struct ValueFormat {
    let flow: FlowDefinition
    let core: CoreTexts
    let language: Language

    func text(_ value: SlotValue, slot name: String?) -> String {
        let slot = name.flatMap(flow.slot)
        switch value {
        case .text(let text), .postalCode(let text), .email(let text), .personName(let text): return text
        case .choice(let id): return slot?.value(id)?.label[language] ?? id
        case .boolean(let value): return core[value ? .yes : .no, language].lowercased()
        case .integer(let value): return grouped(value)
        case .phone(let number): return phone(number)
        case .money(let range):
            let amount = range.isRange ? "\(dollars(range.lowCents))–\(dollars(range.highCents))" : dollars(range.cents)
            return slot?.perMonth == true ? Template.render(core[.perMonth, language]) { _ in amount } : amount
        }
    }

    func dollars(_ cents: Int64) -> String {
        let rest = cents % 100
        return "$" + grouped(cents / 100) + (rest == 0 ? "" : rest < 10 ? ".0\(rest)" : ".\(rest)")
    }

    private func grouped(_ value: Int64) -> String {
        var digits = Array(String(value.magnitude))
        var index = digits.count - 3
        while index > 0 {
            digits.insert(",", at: index)
            index -= 3
        }
        return (value < 0 ? "-" : "") + String(digits)
    }

    private func phone(_ number: String) -> String {
        let digits = Array(number.dropFirst(2))
        guard number.hasPrefix("+1"), digits.count == 10 else { return number }
        return "(\(String(digits[0..<3]))) \(String(digits[3..<6]))-\(String(digits[6...]))"
    }
}
