/// Values of choice slots, by the phrases that the flow declares.
struct ChoiceParser {
    struct Match: Equatable {
        var slot: String
        var value: String
        var start: Int
        var end: Int
        /// From a phrase that counts anywhere.
        var anywhere: Bool
    }

    /// Best matches for one slot: longest phrases first, negated ones dropped. More than one value means ambiguous.
    static func matches(_ slot: SlotDefinition, in sentence: Sentence, asked: Bool) -> [Match] {
        var candidates: [Match] = []
        for value in slot.values {
            let phrases = value.phrases.map { ($0, true) } + (asked ? value.shortPhrases.map { ($0, false) } : [])
            for (phrase, anywhere) in phrases {
                for index in sentence.words.indices {
                    guard let next = sentence.match(phrase, at: index), !isNegated(sentence, index) else { continue }
                    candidates.append(
                        Match(
                            slot: slot.name, value: value.id, start: sentence.words[index].start,
                            end: sentence.words[next - 1].end, anywhere: anywhere))
                }
            }
        }
        var kept: [Match] = []
        for match in candidates.sorted(by: { ($0.end - $0.start, $1.start) > ($1.end - $1.start, $0.start) })
        where !kept.contains(where: { $0.start < match.end && match.start < $0.end }) {
            kept.append(match)
        }
        return kept.sorted { $0.start < $1.start }
    }

    /// "not", "don't" or "no" right before the phrase, with at most one word between.
    private static func isNegated(_ sentence: Sentence, _ index: Int) -> Bool {
        for distance in 1...2 where index - distance >= 0 {
            let word = sentence.words[index - distance]
            if word.kind == .symbol { return false }
            if negations.contains(word.text) || distance == 1 && word.text == "no" { return true }
        }
        return false
    }

    private static let negations: Set<String> = [
        "not", "don't", "dont", "doesn't", "isn't", "isnt", "never", "aren't", "didn't", "nunca", "tampoco", "cannot",
        "can't",
    ]
}

/// Spans of time: "in 2 months", "six weeks", "un año", in tenths of a month.
struct DurationParser {
    static func entities(in sentence: Sentence) -> [Entity] {
        var found: [Entity] = []
        for index in sentence.words.indices {
            var amount: (hundredths: Int64, next: Int)?
            if let reading = NumberWords.read(sentence, at: index) { amount = (reading.hundredths, reading.next) }
            if amount == nil, ["a", "one", "an"].contains(sentence.words[index].text) { amount = (100, index + 1) }
            guard let (first, next) = amount, first < 100_000 else { continue }
            var hundredths = first
            var unit = next
            if unit + 1 < sentence.words.count, ["-", "to", "or", "a", "o"].contains(sentence.words[unit].text),
                let last = NumberWords.read(sentence, at: unit + 1), last.hundredths >= first, last.hundredths < 100_000
            {
                hundredths = last.hundredths
                unit = last.next
            }
            guard unit < sentence.words.count, let tenths = tenthsOfMonth[sentence.words[unit].text] else { continue }
            let entity = Entity(
                reading: .months(tenths: Int(hundredths) * tenths / 100), start: sentence.words[index].start,
                end: sentence.words[unit].end, confidence: 9500, explicit: true)
            if found.last.map(entity.overlaps) != true { found.append(entity) }
        }
        return found
    }

    private static let tenthsOfMonth: [String: Int] = [
        "day": 0, "days": 0, "dia": 0, "dias": 0, "week": 2, "weeks": 2, "semana": 2, "semanas": 2, "month": 10,
        "months": 10, "mo": 10, "mes": 10, "meses": 10, "year": 120, "years": 120, "yr": 120, "yrs": 120, "ano": 120,
        "anos": 120,
    ]
}
