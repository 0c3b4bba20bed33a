internal import AurumCore

/// Names of people: "my name is Ana Diaz" anywhere; what is left of a short answer when a name was asked.
struct NameParser {
    static func entity(in sentence: Sentence, asked: Bool, occupied: [Entity]) -> Entity? {
        introduced(sentence, asked: asked, occupied) ?? (asked ? remainder(sentence, occupied) : nil)
    }

    private static func introduced(_ sentence: Sentence, asked: Bool, _ occupied: [Entity]) -> Entity? {
        for phrase in introductions + (asked ? weakIntroductions : []) {
            for index in sentence.words.indices {
                guard let next = sentence.match(phrase, at: index) else { continue }
                let run = nameRun(sentence, from: next, occupied)
                if let entity = entity(sentence, run, confidence: 9500, explicit: true) { return entity }
            }
        }
        return nil
    }

    /// Words that are no other answer and no filler: one run of one to four.
    private static func remainder(_ sentence: Sentence, _ occupied: [Entity]) -> Entity? {
        for index in sentence.words.indices {
            let run = nameRun(sentence, from: index, occupied)
            if !run.isEmpty { return entity(sentence, run, confidence: run.count > 1 ? 9000 : 8600, explicit: false) }
        }
        return nil
    }

    private static func nameRun(_ sentence: Sentence, from start: Int, _ occupied: [Entity]) -> Range<Int> {
        var end = start
        while end < sentence.words.count, end - start < 6 {
            let word = sentence.words[end]
            let here = Entity(
                reading: .invalid(.personName), start: word.start, end: word.end, confidence: 0, explicit: false)
            if occupied.contains(where: here.overlaps) { break }
            if word.kind == .symbol, word.text == "-" || word.text == ".", end > start {
                end += 1
                continue
            }
            guard word.kind == .letters, !notNames.contains(word.text) else { break }
            end += 1
        }
        while end > start, sentence.words[end - 1].kind == .symbol { end -= 1 }
        return start..<end
    }

    private static func entity(_ sentence: Sentence, _ run: Range<Int>, confidence: Int, explicit: Bool) -> Entity? {
        guard !run.isEmpty, run.count <= 5 else { return nil }
        let start = sentence.words[run.lowerBound].start
        let end = sentence.words[run.upperBound - 1].end
        guard let name = PersonName(sentence.raw(start, end)), name.exposed.count >= 2 else { return nil }
        return Entity(
            reading: .value(.personName(name.exposed)), start: start, end: end, confidence: confidence,
            explicit: explicit)
    }

    private static let introductions = [
        ["my", "name", "is"], ["my", "name's"], ["name", "is"], ["me", "llamo"], ["mi", "nombre", "es"],
    ]
    private static let weakIntroductions = [["i'm"], ["i", "am"], ["this", "is"], ["it's"], ["soy"]]

    /// Words that stand around contact data, and answers that are no name.
    private static let notNames: Set<String> = [
        "and", "my", "is", "name", "phone", "number", "email", "mail", "e", "cell", "mobile", "call", "me", "at", "the",
        "it", "it's", "its", "i", "i'm", "am", "you", "can", "reach", "to", "or", "please", "yes", "no", "ok", "okay",
        "sure",
        "yeah", "nope", "why", "what", "how", "who", "skip", "stop", "help", "hello", "hi", "hey", "thanks", "thank",
        "none",
        "not", "don't", "dont", "want", "give", "say", "tell", "here", "this", "that", "was", "sorry", "wait",
        "actually",
        "human", "agent", "robot", "bot", "person", "someone", "do", "need", "maybe", "later", "never", "your", "are",
        "a",
        "y", "mi", "es", "nombre", "telefono", "numero", "correo", "electronico", "celular", "movil", "el", "la", "si",
        "claro", "por", "favor", "que", "como", "quien", "ayuda", "hola", "gracias", "ninguno", "nada", "quiero",
        "prefiero",
        "decir", "dar", "soy", "llamo", "al", "o", "u", "un", "una", "persona", "cuanto", "cuando", "donde", "rather",
        "prefer",
        "in", "on", "of", "for", "with", "but", "so", "just", "like", "en", "de los", "con", "pero", "mejor", "perdon",
        "dot", "com", "arroba", "punto", "lol", "asdf", "pass", "idk", "cancel", "restart", "repeat",
        "cancelar", "repetir", "omitir", "saltar", "parar",
    ]
}
