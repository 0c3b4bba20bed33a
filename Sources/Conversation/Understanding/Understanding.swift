internal import AurumCore

/// Everything heard in one message, before anything is decided.
struct Heard {
    var sentence: Sentence
    var intents: [Intent]
    var isCorrection: Bool
    var language: Language?
    /// Readings that fit a slot, in the order of the message.
    var fills: [SlotReading]
    /// Slots whose answer was ambiguous, with the values heard.
    var ambiguous: [(slot: String, values: [String])]
    /// Attempts at an asked slot that make no sense.
    var invalid: [SlotReading]

    func has(_ intent: Intent) -> Bool { intents.contains(intent) }
}

/// A value found for a slot and where.
package struct SlotReading: Equatable, Sendable {
    package var slot: String
    /// nil for an attempt that cannot be read.
    package var value: SlotValue?
    /// The exact words, and their Unicode scalar offsets, end exclusive.
    package var raw: String
    package var start: Int
    package var end: Int
    /// Basis points.
    package var confidence: Int
}

/// Rule-based understanding: deterministic, in process, English and Spanish alike whatever language is spoken.
package struct Understanding: Sendable {
    /// Stored with every slot that these rules fill.
    static let version = "rules-1"
    /// Longest text that is looked at, in Unicode scalars; the limit of a message is below.
    static let scalarsMax = 8000

    let flow: FlowDefinition
    /// Slots being asked now.
    let asked: [String]
    /// Slots with an answer, newest first.
    let settled: [String]

    /// - Parameters:
    ///   - asked: slots being asked, which bare values and short answers belong to.
    ///   - settled: slots with an answer, newest first, which corrections belong to.
    package init(flow: FlowDefinition, asked: [String], settled: [String]) {
        self.flow = flow
        self.asked = asked
        self.settled = settled
    }

    /// What a message says, for tools and tests.
    package func readings(_ text: String) -> (fills: [SlotReading], invalid: [SlotReading], intents: [Intent]) {
        let heard = read(text)
        return (heard.fills, heard.invalid, heard.intents)
    }

    func read(_ text: String) -> Heard {
        let sentence = Sentence(String(text.unicodeScalars.prefix(Self.scalarsMax)))
        var heard = Heard(
            sentence: sentence, intents: IntentRules.intents(in: sentence),
            isCorrection: IntentRules.isCorrection(sentence), language: LanguageGuess.language(of: sentence), fills: [],
            ambiguous: [], invalid: [])
        readContacts(&heard)
        readMoneyAndNumbers(&heard)
        readChoices(&heard)
        readNameAndText(&heard)
        heard.fills.sort { $0.start < $1.start }
        return heard
    }

    private func slots(_ type: SlotType) -> [SlotDefinition] { flow.slots.filter { $0.type == type } }

    private func isAsked(_ type: SlotType) -> Bool { asked.contains { flow.slot($0)?.type == type } }

    /// The slot of a type that a value belongs to: the one asked, else the first without an answer, else the newest.
    private func target(_ type: SlotType) -> SlotDefinition? {
        let all = slots(type)
        return all.first { asked.contains($0.name) } ?? all.first { !settled.contains($0.name) }
            ?? settled.lazy.compactMap { name in all.first { $0.name == name } }.first
    }

    private func reading(_ slot: String, _ entity: Entity, _ sentence: Sentence) -> SlotReading {
        var value: SlotValue?
        if case .value(let found) = entity.reading { value = found }
        return SlotReading(
            slot: slot, value: value, raw: sentence.raw(entity.start, entity.end), start: entity.start, end: entity.end,
            confidence: entity.confidence)
    }

    private func readContacts(_ heard: inout Heard) {
        let parser = ContactParser(heard.sentence)
        let emails = parser.emails(asked: isAsked(.email))
        let phones = parser.phones(asked: isAsked(.phone), occupied: emails)
        let codes = parser.postalCodes(asked: isAsked(.postalCode), occupied: emails + phones)
        for (entities, type) in [(emails, SlotType.email), (phones, .phone), (codes, .postalCode)] {
            for entity in entities { add(entity, type, &heard) }
        }
    }

    private func add(_ entity: Entity, _ type: SlotType, _ heard: inout Heard) {
        guard let slot = target(type) else { return }
        if case .invalid = entity.reading {
            if asked.contains(slot.name) { heard.invalid.append(reading(slot.name, entity, heard.sentence)) }
        } else if heard.isCorrection {
            // In "not 11215, 11216" the last one counts.
            heard.fills.removeAll { $0.slot == slot.name }
            heard.fills.append(reading(slot.name, entity, heard.sentence))
        } else if !heard.fills.contains(where: { $0.slot == slot.name }) {
            heard.fills.append(reading(slot.name, entity, heard.sentence))
        }
    }

    private func entity(_ fill: SlotReading) -> Entity {
        Entity(reading: .invalid(.text), start: fill.start, end: fill.end, confidence: 0, explicit: false)
    }

    private func readMoneyAndNumbers(_ heard: inout Heard) {
        let durations = DurationParser.entities(in: heard.sentence)
        let occupied = heard.fills.map(entity)
        if let slot = target(.money) {
            let amounts = MoneyParser.entities(in: heard.sentence, perMonth: slot.perMonth, occupied: occupied)
            let fitting = amounts.filter { amount in
                amount.explicit
                    || !durations.contains(where: amount.overlaps)
                        && (asked.contains(slot.name) || hasCue(slot, amount, heard.sentence)
                            || corrects(.money, heard))
            }
            for amount in fitting { add(amount, .money, &heard) }
        }
        guard let slot = slots(.integer).first(where: { asked.contains($0.name) }) else { return }
        for (index, word) in heard.sentence.words.enumerated() {
            guard let number = NumberWords.read(heard.sentence, at: index), number.hundredths % 100 == 0 else {
                continue
            }
            let end = heard.sentence.words[number.next - 1].end
            heard.fills.append(
                SlotReading(
                    slot: slot.name, value: .integer(number.hundredths / 100), raw: heard.sentence.raw(word.start, end),
                    start: word.start, end: end, confidence: 9500))
            return
        }
    }

    /// A bare value in a correction belongs to the newest answer of its type.
    private func corrects(_ type: SlotType, _ heard: Heard) -> Bool {
        heard.isCorrection && settled.contains { flow.slot($0)?.type == type }
    }

    /// A cue of the slot within six words before the value or three after it.
    private func hasCue(_ slot: SlotDefinition, _ entity: Entity, _ sentence: Sentence) -> Bool {
        guard let first = sentence.words.firstIndex(where: { $0.start >= entity.start }) else { return false }
        let last = sentence.words.lastIndex { $0.end <= entity.end } ?? first
        let from = max(0, first - 6)
        let through = min(sentence.words.count - 1, last + 3)
        return (from...through).contains { index in slot.cues.contains { sentence.match($0, at: index) != nil } }
    }

    private func readChoices(_ heard: inout Heard) {
        for slot in flow.slots {
            let isAsked = asked.contains(slot.name)
            switch slot.type {
            case .choice: readChoice(slot, isAsked, &heard)
            case .boolean where isAsked:
                if heard.has(.affirm) || heard.has(.deny) {
                    heard.fills.append(whole(slot.name, .boolean(heard.has(.affirm)), heard.sentence, 9500))
                }
            default: break
            }
        }
    }

    private func readChoice(_ slot: SlotDefinition, _ isAsked: Bool, _ heard: inout Heard) {
        var matches = ChoiceParser.matches(slot, in: heard.sentence, asked: isAsked)
        if isAsked, matches.contains(where: \.anywhere) { matches.removeAll { !$0.anywhere } }
        if matches.isEmpty, isAsked, let match = spanOfTime(slot, heard.sentence) { matches = [match] }
        guard let last = matches.last else { return }
        let values = matches.map(\.value).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        if values.count > 1, !heard.isCorrection {
            if isAsked { heard.ambiguous.append((slot.name, values)) }
            return
        }
        heard.fills.append(
            SlotReading(
                slot: slot.name, value: .choice(last.value), raw: heard.sentence.raw(last.start, last.end),
                start: last.start, end: last.end, confidence: 9500))
    }

    private func spanOfTime(_ slot: SlotDefinition, _ sentence: Sentence) -> ChoiceParser.Match? {
        for entity in DurationParser.entities(in: sentence) {
            guard case .months(let tenths) = entity.reading else { continue }
            for value in slot.values {
                guard let months = value.months else { continue }
                let isFirst = months.over == 0
                if tenths <= months.through * 10, tenths > months.over * 10 || isFirst {
                    return ChoiceParser.Match(
                        slot: slot.name, value: value.id, start: entity.start, end: entity.end, anywhere: false)
                }
            }
        }
        return nil
    }

    private func readNameAndText(_ heard: inout Heard) {
        let occupied = (heard.fills + heard.invalid).map(entity)
        if let slot = target(.personName) {
            let free = heard.intents.allSatisfy { $0 == .greeting }
            let isAsked = asked.contains(slot.name) && free
            if let name = NameParser.entity(in: heard.sentence, asked: isAsked, occupied: occupied) {
                heard.fills.append(reading(slot.name, name, heard.sentence))
            }
        }
        let isPlain = heard.intents.isEmpty
        if isPlain, let slot = slots(.text).first(where: { asked.contains($0.name) }), !heard.sentence.words.isEmpty {
            let text = heard.sentence.raw(0, heard.sentence.scalars.count)
            heard.fills.append(whole(slot.name, .text(text), heard.sentence, 9000))
        }
    }

    private func whole(_ slot: String, _ value: SlotValue, _ sentence: Sentence, _ confidence: Int) -> SlotReading {
        let end = sentence.scalars.count
        return SlotReading(
            slot: slot, value: value, raw: sentence.raw(0, end), start: 0, end: end, confidence: confidence)
    }
}
