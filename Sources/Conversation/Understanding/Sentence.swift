/// A message split into words that remember where they stand.
struct Sentence {
    struct Word: Hashable {
        enum Kind: Hashable { case letters, digits, symbol }

        /// Lower case, without accents; apostrophes are plain.
        var text: String
        var kind: Kind
        /// Unicode scalar offsets in the message, end exclusive.
        var start: Int
        var end: Int
    }

    let scalars: [Unicode.Scalar]
    let words: [Word]

    init(_ text: String) {
        scalars = Array(text.unicodeScalars)
        words = Sentence.split(scalars)
    }

    /// Folded letters and digits of a phrase, without symbols.
    static func foldedWords(_ phrase: String) -> [String] {
        split(Array(phrase.unicodeScalars)).filter { $0.kind != .symbol }.map(\.text)
    }

    /// The exact words between two scalar offsets.
    func raw(_ start: Int, _ end: Int) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars[max(0, start)..<min(scalars.count, max(start, end))])
        return String(view)
    }

    /// Whether the words from `index` on are `phrase`, skipping hyphens between them. The index after it, or nil.
    func match(_ phrase: [String], at index: Int) -> Int? {
        var position = index
        for (number, word) in phrase.enumerated() {
            if number > 0, position < words.count, words[position].text == "-" { position += 1 }
            guard position < words.count, words[position].text == word else { return nil }
            position += 1
        }
        return phrase.isEmpty ? nil : position
    }

    func contains(_ phrase: [String]) -> Bool { words.indices.contains { match(phrase, at: $0) != nil } }

    private static func split(_ scalars: [Unicode.Scalar]) -> [Word] {
        var words: [Word] = []
        var index = 0
        while index < scalars.count {
            let scalar = scalars[index]
            let start = index
            if isDigit(scalar) {
                index = endOfNumber(scalars, index)
                words.append(word(scalars, start, index, .digits))
            } else if scalar.properties.isAlphabetic {
                index += 1
                while index < scalars.count, continuesWord(scalars, index) { index += 1 }
                words.append(word(scalars, start, index, .letters))
            } else {
                index += 1
                if !scalar.properties.isWhitespace { words.append(word(scalars, start, index, .symbol)) }
            }
        }
        return words
    }

    /// A number holds points and commas only between digits.
    private static func endOfNumber(_ scalars: [Unicode.Scalar], _ from: Int) -> Int {
        var index = from + 1
        while index < scalars.count {
            if isDigit(scalars[index]) {
                index += 1
            } else if ".,".unicodeScalars.contains(scalars[index]), index + 1 < scalars.count,
                isDigit(scalars[index + 1])
            {
                index += 2
            } else {
                break
            }
        }
        return index
    }

    private static func continuesWord(_ scalars: [Unicode.Scalar], _ index: Int) -> Bool {
        let scalar = scalars[index]
        if scalar.properties.isAlphabetic || scalar.properties.generalCategory == .nonspacingMark { return true }
        return "'’".unicodeScalars.contains(scalar) && index + 1 < scalars.count
            && scalars[index + 1].properties.isAlphabetic
    }

    private static func word(_ scalars: [Unicode.Scalar], _ start: Int, _ end: Int, _ kind: Word.Kind) -> Word {
        var folded = ""
        for scalar in scalars[start..<end] { folded += fold(scalar) }
        return Word(text: folded, kind: kind, start: start, end: end)
    }

    static func isDigit(_ scalar: Unicode.Scalar) -> Bool { (48...57).contains(scalar.value) }

    /// Lower case without the accents of English and Spanish.
    static func fold(_ scalar: Unicode.Scalar) -> String {
        if scalar.isASCII { return scalar.properties.lowercaseMapping }
        if scalar.properties.generalCategory == .nonspacingMark { return "" }
        return switch scalar {
        case "á", "à", "Á", "À", "ä", "â": "a"
        case "é", "è", "É", "È", "ë", "ê": "e"
        case "í", "Í", "ï", "ì": "i"
        case "ó", "Ó", "ö", "ò", "ô": "o"
        case "ú", "Ú", "ü", "Ü", "ù": "u"
        case "ñ", "Ñ": "n"
        case "ç", "Ç": "c"
        case "’", "‘": "'"
        case "–", "—", "−", "\u{2011}": "-"
        default: scalar.properties.lowercaseMapping
        }
    }
}
