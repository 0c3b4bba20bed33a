/// Whole numbers in digits and in English and Spanish words.
struct NumberWords {
    struct Reading: Equatable {
        /// Hundredths, so that cents survive.
        var hundredths: Int64
        /// Index after the last word used.
        var next: Int
        /// "a couple hundred" and the like.
        var vague = false
    }

    private static let units: [String: Int64] = [
        "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
        "cero": 0, "uno": 1, "un": 1, "una": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7,
        "ocho": 8, "nueve": 9,
    ]
    private static let teens: [String: Int64] = [
        "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
        "seventeen": 17, "eighteen": 18, "nineteen": 19, "diez": 10, "doce": 12, "trece": 13, "catorce": 14,
        "quince": 15, "dieciseis": 16, "diecisiete": 17, "dieciocho": 18, "diecinueve": 19, "veintiuno": 21,
        "veintidos": 22, "veintitres": 23, "veinticuatro": 24, "veinticinco": 25, "veintiseis": 26, "veintisiete": 27,
        "veintiocho": 28, "veintinueve": 29,
    ]
    private static let tens: [String: Int64] = [
        "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
        "ninety": 90, "veinte": 20, "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70,
        "ochenta": 80, "noventa": 90,
    ]
    private static let hundreds: [String: Int64] = [
        "cien": 100, "ciento": 100, "doscientos": 200, "doscientas": 200, "trescientos": 300, "trescientas": 300,
        "cuatrocientos": 400, "cuatrocientas": 400, "quinientos": 500, "quinientas": 500, "seiscientos": 600,
        "setecientos": 700, "ochocientos": 800, "novecientos": 900,
    ]

    /// The number that begins at word `index`: digits ("1,250.50", "1.2k", "2 hundred") or words ("two forty").
    static func read(_ sentence: Sentence, at index: Int) -> Reading? {
        let words = sentence.words
        guard index < words.count else { return nil }
        if words[index].kind == .digits {
            guard let value = hundredths(words[index].text) else { return nil }
            return scaled(Reading(hundredths: value, next: index + 1), words)
        }
        return spoken(words, index)
    }

    /// `1,250` · `1.250,50` · `240.50` · `240,5` in hundredths; nil when the separators make no sense.
    static func hundredths(_ text: String) -> Int64? {
        let groups = text.split(whereSeparator: { $0 == "." || $0 == "," }).map(String.init)
        let separators = text.filter { $0 == "." || $0 == "," }
        guard let last = groups.last, groups.joined().utf8.count <= 12 else { return nil }
        var whole = groups.joined()
        var fraction = ""
        if separators.count >= 1, last.utf8.count <= 2 {
            fraction = last
            whole = groups.dropLast().joined()
            guard groups.dropLast().dropFirst().allSatisfy({ $0.utf8.count == 3 }),
                !separators.dropLast().contains(where: { $0 == separators.last })
            else { return nil }
        } else if separators.count >= 1 {
            guard groups.dropFirst().allSatisfy({ $0.utf8.count == 3 }) else { return nil }
        }
        guard let units = Int64(whole) else { return nil }
        let cents = Int64((fraction + "00").prefix(2)) ?? 0
        return units * 100 + cents
    }

    /// A following "k", "hundred", "thousand" or "mil".
    private static func scaled(_ reading: Reading, _ words: [Sentence.Word]) -> Reading {
        guard reading.next < words.count else { return reading }
        let factor: Int64
        switch words[reading.next].text {
        case "k" where words[reading.next].start == words[reading.next - 1].end: factor = 1000
        case "hundred", "cientos": factor = 100
        case "thousand", "grand", "mil": factor = 1000
        default: return reading
        }
        guard reading.hundredths < 100_000_000 else { return reading }
        return Reading(hundredths: reading.hundredths * factor, next: reading.next + 1)
    }

    private static func spoken(_ words: [Sentence.Word], _ start: Int) -> Reading? {
        if let vague = vagueHundreds(words, start) { return vague }
        var index = start
        var total: Int64 = 0
        var group: Int64 = 0
        var used = false
        // Spoken pairs: "two forty" is 240, "one fifty five" is 155.
        func word(_ at: Int) -> String { at < words.count ? words[at].text : "" }
        while index < words.count {
            let text = word(index)
            if let unit = units[text] {
                if used, group % 10 != 0 || group % 100 == 10 { break }
                if group == 0, !used, tens[word(index + 1)] != nil || isTeen(word(index + 1)) {
                    group = unit * 100
                } else {
                    group += unit
                }
            } else if let teen = teens[text] {
                if used, group % 100 != 0 || group == 0 { break }
                group += teen
            } else if let ten = tens[text] {
                if used, group % 100 != 0 || group == 0 { break }
                group += ten
            } else if let hundred = hundreds[text] {
                if used, group != 0 { break }
                group += hundred
            } else if text == "hundred", used {
                group *= 100
            } else if text == "a", word(index + 1) == "hundred" || word(index + 1) == "thousand", !used {
                group = word(index + 1) == "hundred" ? 100 : 1000
                index += 1
            } else if text == "thousand" || text == "mil", used || text == "mil" {
                total += (group == 0 ? 1 : group) * 1000
                group = 0
            } else if used, text == "and" || text == "y" || text == "-",
                continues(word(index + 1), after: group, by: text)
            {
                index += 1
                continue
            } else {
                break
            }
            used = true
            index += 1
        }
        guard used else { return nil }
        return Reading(hundredths: (total + group) * 100, next: index)
    }

    private static func isTeen(_ text: String) -> Bool { (teens[text] ?? 0) >= 10 }

    /// Whether a number word may follow "and", "y" or a hyphen.
    private static func continues(_ text: String, after group: Int64, by joiner: String) -> Bool {
        if units[text] != nil { return group % (joiner == "and" ? 100 : 10) == 0 && group > 0 }
        return (tens[text] != nil || teens[text] != nil) && group % 100 == 0 && group > 0
    }

    private static func vagueHundreds(_ words: [Sentence.Word], _ start: Int) -> Reading? {
        let text = words[start...].prefix(4).map(\.text)
        for phrase in [["a", "couple", "of", "hundred"], ["a", "couple", "hundred"], ["couple", "hundred"]]
        where text.starts(with: phrase) {
            return Reading(hundredths: 20_000, next: start + phrase.count, vague: true)
        }
        if text.starts(with: ["un", "par", "de", "cientos"]) {
            return Reading(hundredths: 20_000, next: start + 4, vague: true)
        }
        return nil
    }

    /// One spoken digit, for telephone numbers.
    static func digit(_ text: String) -> Int64? {
        if text == "oh" || text == "o" { return 0 }
        return text == "un" || text == "una" ? nil : units[text]
    }
}
