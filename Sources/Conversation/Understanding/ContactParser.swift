internal import AurumCore

/// ZIP codes, telephone numbers and e-mail addresses.
struct ContactParser {
    private let sentence: Sentence
    private var words: [Sentence.Word] { sentence.words }

    init(_ sentence: Sentence) { self.sentence = sentence }

    // E-mail.

    /// Addresses as typed, and spoken ones ("ana at gmail dot com").
    func emails(asked: Bool) -> [Entity] {
        var found: [Entity] = []
        let scalars = sentence.scalars
        for (index, scalar) in scalars.enumerated() where scalar == "@" {
            var start = index
            while start > 0, isAddress(scalars[start - 1]) { start -= 1 }
            var end = index + 1
            while end < scalars.count, isAddress(scalars[end]) || scalars[end] == "@" { end += 1 }
            while end > index + 1, ".-_".unicodeScalars.contains(scalars[end - 1]) { end -= 1 }
            let address = EmailAddress(sentence.raw(start, end))
            guard address != nil || asked || end - start > 5 else { continue }
            if let last = found.last, start < last.end { continue }
            found.append(
                Entity(
                    reading: address.map { .value(.email($0.exposed)) } ?? .invalid(.email), start: start, end: end,
                    confidence: 9900, explicit: true))
        }
        return found.isEmpty ? spokenEmail() : found
    }

    private func isAddress(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isASCII
            && (scalar.properties.isAlphabetic || Sentence.isDigit(scalar) || "._%+-'".unicodeScalars.contains(scalar))
    }

    private func spokenEmail() -> [Entity] {
        guard let at = words.firstIndex(where: { $0.text == "at" || $0.text == "arroba" }), at > 0,
            let dot = words[at...].firstIndex(where: { $0.text == "dot" || $0.text == "punto" }), dot == at + 2,
            dot + 1 < words.count
        else { return [] }
        let address = "\(words[at - 1].text)@\(words[at + 1].text).\(words[dot + 1].text)"
        guard let email = EmailAddress(address) else { return [] }
        return [
            Entity(
                reading: .value(.email(email.exposed)), start: words[at - 1].start, end: words[dot + 1].end,
                confidence: 8000, explicit: true)
        ]
    }

    // Telephone.

    /// Ten digits, or eleven with a leading 1, in any usual spelling, also spoken. While asked, a run of seven to
    /// fourteen digits that is none is reported as invalid.
    func phones(asked: Bool, occupied: [Entity]) -> [Entity] {
        var found: [Entity] = []
        var index = 0
        while index < words.count {
            if let (entity, next) = phone(from: index, asked: asked), !occupied.contains(where: entity.overlaps) {
                found.append(entity)
                index = next
            } else {
                index += 1
            }
        }
        return found
    }

    private func phone(from index: Int, asked: Bool) -> (Entity, Int)? {
        let first = words[index]
        if first.kind == .letters { return spokenPhone(index) }
        guard first.kind == .digits || first.text == "(" || first.text == "+" else { return nil }
        var digits = ""
        var next = index
        var best: (end: Int, digits: String)?
        while next < words.count, digits.utf8.count < 15 {
            let word = words[next]
            if word.kind == .digits {
                let plain = word.text.filter { $0 != "." && $0 != "," }
                guard !word.text.contains(","), !startsNewNumber(digits, plain, next) else { break }
                digits += plain
                let wanted = digits.hasPrefix("1") ? 11 : 10
                if digits.utf8.count == wanted || digits.utf8.count == 10 && PhoneNumber(digits) != nil {
                    best = (next + 1, digits)
                    if PhoneNumber(digits) != nil { break }
                }
            } else if !["(", ")", "-", "+", ".", "/"].contains(word.text) {
                break
            }
            next += 1
        }
        let end = best?.end ?? next
        if let best, let number = PhoneNumber(best.digits) {
            return (entity(.value(.phone(number.exposed)), index, end, 9800), end)
        }
        guard asked, (7...14).contains(digits.utf8.count), next > index else { return nil }
        return (entity(.invalid(.phone), index, lastDigits(index, next), 9000), next)
    }

    /// A five-digit group that stands apart is a ZIP code, not part of a phone number.
    private func startsNewNumber(_ digits: String, _ plain: String, _ index: Int) -> Bool {
        let standsApart = index > 0 && words[index - 1].end < words[index].start
        return digits.utf8.count + plain.utf8.count > 11 || plain.utf8.count == 5 && !digits.isEmpty && standsApart
            || digits.utf8.count == 5
    }

    private func lastDigits(_ from: Int, _ next: Int) -> Int {
        (words[from..<next].lastIndex { $0.kind == .digits } ?? from) + 1
    }

    private func spokenPhone(_ index: Int) -> (Entity, Int)? {
        var digits = ""
        var next = index
        while next < words.count, digits.utf8.count < 11 {
            if let digit = NumberWords.digit(words[next].text) {
                digits += String(digit)
            } else if words[next].kind != .symbol {
                break
            }
            next += 1
        }
        guard let number = PhoneNumber(digits) else { return nil }
        return (entity(.value(.phone(number.exposed)), index, next, 8000), next)
    }

    // ZIP.

    /// Five digits, also with +4. While asked, something close to it ("1O001", "1000") is reported as invalid.
    func postalCodes(asked: Bool, occupied: [Entity]) -> [Entity] {
        var found: [Entity] = []
        for (index, word) in words.enumerated() where word.kind == .digits && word.text.utf8.count == 5 {
            guard word.text.utf8.allSatisfy({ (48...57).contains($0) }), !isPartOfSomethingElse(index) else { continue }
            var end = index + 1
            if end + 1 < words.count, words[end].text == "-", words[end + 1].text.utf8.count == 4,
                words[end + 1].kind == .digits, words[end + 1].start == words[end].end
            {
                end += 2
            }
            let entity = entity(.value(.postalCode(word.text)), index, end, 9800)
            if !occupied.contains(where: entity.overlaps) { found.append(entity) }
        }
        return found.isEmpty && asked ? nearlyPostalCode(occupied) : found
    }

    private func isPartOfSomethingElse(_ index: Int) -> Bool {
        let word = words[index]
        if index > 0 {
            let previous = words[index - 1]
            if ["$", "usd"].contains(previous.text) { return true }
            if previous.end == word.start, previous.kind != .symbol || ["-", ".", "#"].contains(previous.text) {
                return true
            }
        }
        guard index + 1 < words.count else { return false }
        let next = words[index + 1]
        if next.end > next.start, next.start == word.end, next.kind == .letters { return true }
        return ["kwh", "dollars", "bucks", "dolares", "$"].contains(next.text)
    }

    private func nearlyPostalCode(_ occupied: [Entity]) -> [Entity] {
        var start: Int?
        let scalars = sentence.scalars
        for index in 0...scalars.count {
            let inside =
                index < scalars.count && scalars[index].isASCII
                && (scalars[index].properties.isAlphabetic || Sentence.isDigit(scalars[index]) || scalars[index] == ",")
            if inside {
                start = start ?? index
            } else if let from = start {
                start = nil
                let digits = scalars[from..<index].count(where: Sentence.isDigit)
                let entity = Entity(
                    reading: .invalid(.postalCode), start: from, end: index, confidence: 9000, explicit: false)
                if digits >= 3 || digits > 0 && digits * 2 >= index - from, index - from <= 9,
                    !occupied.contains(where: entity.overlaps)
                {
                    return [entity]
                }
            }
        }
        return []
    }

    private func entity(_ reading: Entity.Reading, _ first: Int, _ end: Int, _ confidence: Int) -> Entity {
        Entity(
            reading: reading, start: words[first].start, end: words[end - 1].end, confidence: confidence, explicit: true
        )
    }
}
