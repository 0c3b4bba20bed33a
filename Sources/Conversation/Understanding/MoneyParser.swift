/// Amounts of money: "$240", "two forty a month", "about 200–250", "$2,400 a year".
struct MoneyParser {
    private let sentence: Sentence
    private var words: [Sentence.Word] { sentence.words }
    /// A stated yearly amount is divided by twelve.
    private let perMonth: Bool

    /// Every amount in the message, in order. Bare numbers are found too, marked not explicit.
    static func entities(in sentence: Sentence, perMonth: Bool, occupied: [Entity]) -> [Entity] {
        MoneyParser(sentence: sentence, perMonth: perMonth).all(occupied)
    }

    private struct Amount { var cents: Int64; var start: Int; var next: Int; var marked: Bool; var vague: Bool }

    private func all(_ occupied: [Entity]) -> [Entity] {
        var found: [Entity] = []
        var index = 0
        while index < words.count {
            guard let (entity, next) = range(index), !occupied.contains(where: entity.overlaps) else {
                index += 1
                continue
            }
            found.append(entity)
            index = next
        }
        return found
    }

    private func range(_ index: Int) -> (Entity, Int)? {
        guard let first = amount(index) else { return nil }
        var last = first
        var isRange = false
        if let joiner = joiner(at: first.next, before: index), let second = amount(joiner),
            second.cents >= first.cents, second.cents <= first.cents * 20
        {
            last = second
            isRange = true
        }
        var next = last.next
        var marked = first.marked || last.marked
        var divisor: Int64 = 1
        if let (after, months) = period(next) {
            next = after
            marked = true
            if perMonth { divisor = Int64(months) }
        } else if let unit = word(next), Self.otherUnits.contains(unit) {
            return nil
        }
        let low = rounded(first.cents, divisor)
        let high = rounded(last.cents, divisor)
        let range = isRange ? MoneyRange(lowCents: low, highCents: high) : MoneyRange(cents: low)
        let confidence = first.vague ? 7000 : divisor > 1 ? 8000 : isRange ? 9000 : 9500
        let start = words[first.start].start
        return (
            Entity(
                reading: .value(.money(range)), start: start, end: words[next - 1].end, confidence: confidence,
                explicit: marked), next
        )
    }

    private func rounded(_ cents: Int64, _ divisor: Int64) -> Int64 { (cents + divisor / 2) / divisor }

    private func word(_ index: Int) -> String? { index < words.count ? words[index].text : nil }

    private func amount(_ index: Int) -> Amount? {
        var start = index
        var marked = false
        if let text = word(index), text == "$" || text == "usd" {
            start = index + 1
            marked = true
        } else if index > 0, words[index - 1].text == "$" {
            return nil
        }
        guard let reading = NumberWords.read(sentence, at: start) else { return nil }
        if !marked, words[start].kind == .letters, reading.hundredths < 2000 { return nil }
        var next = reading.next
        if let text = word(next), Self.currencyWords.contains(text) {
            marked = true
            next += 1
        }
        return Amount(cents: reading.hundredths, start: index, next: next, marked: marked, vague: reading.vague)
    }

    /// The index after "to", "-", "or", or after "and" when "between" stands before the first amount.
    private func joiner(at index: Int, before start: Int) -> Int? {
        guard let text = word(index) else { return nil }
        if ["-", "to", "a", "o", "or", "hasta", "~"].contains(text) { return index + 1 }
        let opened = start > 0 && ["between", "entre"].contains(words[start - 1].text)
        return opened && ["and", "y"].contains(text) ? index + 1 : nil
    }

    /// "a month", "/mo", "al año": the index after it and the months it spans.
    private func period(_ index: Int) -> (Int, Int)? {
        for (phrase, months) in Self.periods {
            if let next = sentence.match(phrase, at: index) { return (next, months) }
        }
        return nil
    }

    private static let currencyWords: Set<String> = ["$", "dollars", "dollar", "bucks", "usd", "dolares", "dolar"]

    private static let periods: [([String], Int)] =
        [
            "a month", "per month", "each month", "every month", "monthly", "month", "mo", "/ month", "/ mo", "al mes",
            "por mes", "cada mes", "mensual", "mensuales", "mensualmente", "/ mes",
        ].map { (words($0), 1) }
        + [
            "a year", "per year", "each year", "every year", "yearly", "annually", "/ year", "/ yr", "al ano",
            "por ano",
            "cada ano", "anual", "anuales", "/ ano",
        ].map { (words($0), 12) }

    private static func words(_ phrase: String) -> [String] { phrase.split(separator: " ").map(String.init) }

    /// Units that make a number something else.
    private static let otherUnits: Set<String> = [
        "kwh", "kw", "kilowatt", "kilowatts", "%", "percent", "years", "year", "months", "weeks", "days", "people",
        "family", "families", "story", "stories", "bedroom", "bedrooms", "sq", "sqft", "feet", "ft", "am", "pm", "anos",
        "meses", "semanas", "dias", "familias", "pisos", "por", "st", "nd", "rd", "th", "units", "floor", "floors",
    ]
}
