/// What a person wants besides answering.
package enum Intent: String, Sendable, CaseIterable, Codable {
    case affirm, deny, cancel, restart, skip, repeatLast, explainWhy, askHuman, areYouABot, stopContact, deleteMyData
    case greeting, thanks, notInterested, abuse, speakEnglish, speakSpanish, question
}

/// Recognises intents by phrases: whole messages, or telling phrases anywhere in one.
struct IntentRules {
    /// Intents of a message, strongest first. `affirm` and `deny` only when the message is nothing else.
    static func intents(in sentence: Sentence) -> [Intent] {
        var found: [Intent] = []
        let words = sentence.words.filter { $0.kind != .symbol }.map(\.text)
        let core = words.filter { !fillers.contains($0) }
        for rule in rules {
            if rule.whole.contains(words) || rule.whole.contains(core)
                || rule.anywhere.contains(where: { sentence.contains($0) })
            {
                found.append(rule.intent)
            }
        }
        if found.isEmpty || found == [.greeting], let agreement = agreement(words) { found.append(agreement) }
        if looksLikeQuestion(sentence, words) { found.append(.question) }
        return found
    }

    /// Yes or no when every word is one; nil for anything mixed or longer.
    private static func agreement(_ words: [String]) -> Intent? {
        guard !words.isEmpty, words.count <= 8 else { return nil }
        let rest = words.filter { !fillers.contains($0) }
        if matchesOnly(rest, yes) { return .affirm }
        if matchesOnly(rest, no) { return .deny }
        return nil
    }

    /// Whether `words` is a sequence of the phrases and nothing more.
    private static func matchesOnly(_ words: [String], _ phrases: [[String]]) -> Bool {
        var rest = words[...]
        guard !rest.isEmpty else { return false }
        while !rest.isEmpty {
            guard let phrase = phrases.first(where: { rest.starts(with: $0) }) else { return false }
            rest = rest.dropFirst(phrase.count)
        }
        return true
    }

    private static func looksLikeQuestion(_ sentence: Sentence, _ words: [String]) -> Bool {
        if sentence.words.contains(where: { $0.text == "?" || $0.text == "¿" }) { return true }
        guard words.count >= 3, let first = words.first else { return false }
        return [
            "how", "what", "when", "where", "who", "which", "can", "does", "is", "are", "will", "do", "cuanto",
            "cuando",
            "donde", "como", "quien", "cual", "puedo", "pueden",
        ].contains(first)
    }

    /// Words that mark that something said before was wrong.
    static func isCorrection(_ sentence: Sentence) -> Bool {
        corrections.contains { sentence.contains($0) }
            || sentence.words.first.map { $0.text == "no" } == true
                && sentence.words.count > 1
    }

    private struct Rule { let intent: Intent; let whole: Set<[String]>; let anywhere: [[String]] }

    private static func rule(_ intent: Intent, whole: [String], anywhere: [String]) -> Rule {
        Rule(intent: intent, whole: Set(whole.map(Sentence.foldedWords)), anywhere: anywhere.map(Sentence.foldedWords))
    }

    private static func phrases(_ list: [String]) -> [[String]] {
        list.map(Sentence.foldedWords).sorted { $0.count > $1.count }
    }

    private static let fillers: Set<String> = [
        "please", "por", "favor", "um", "uh", "eh", "well", "pues", "bueno", "then",
    ]

    private static let yes = phrases([
        "yes", "yeah", "yep", "yup", "yea", "sure", "ok", "okay", "correct", "right", "of course", "absolutely",
        "i agree",
        "agree", "agreed", "i do", "it is", "that's right", "that is right", "that's correct", "sounds good",
        "go ahead",
        "definitely", "affirmative", "y", "i accept", "accept", "si", "claro", "claro que si", "de acuerdo", "acepto",
        "estoy de acuerdo", "correcto", "asi es", "vale", "por supuesto", "dale", "perfecto", "perfect", "great",
        "is fine",
        "that's fine", "exactly", "exacto", "esta bien", "sí acepto", "yes i agree", "i consent",
    ])

    private static let no = phrases([
        "no", "nope", "nah", "not really", "no thanks", "no thank you", "i don't agree", "i do not agree", "disagree",
        "i decline", "decline", "negative", "no gracias", "no acepto", "no estoy de acuerdo", "para nada", "i don't",
        "i do not", "never", "nunca", "no i don't", "no quiero", "wrong", "incorrect", "incorrecto", "that's wrong",
        "mejor no", "ninguno", "none",
    ])

    private static let corrections = phrases([
        "no wait", "wait", "actually", "i meant", "i mean", "correction", "sorry", "scratch that", "make that",
        "not that",
        "change that", "change it", "my mistake", "typo", "oops", "perdon", "mejor dicho", "quise decir", "digo",
        "en realidad",
        "me equivoque", "corrijo", "espera", "no espera", "correccion", "cambialo", "let me correct", "instead",
        "rather it's",
    ])

    private static let rules: [Rule] = [
        rule(
            .stopContact,
            whole: ["stop", "unsubscribe", "stop all", "alto", "basta", "parar", "opt out", "end", "quit"],
            anywhere: [
                "stop texting", "stop contacting", "stop messaging", "stop calling", "do not contact", "don't contact",
                "don't call me", "do not call me", "leave me alone", "remove me", "take me off", "never contact",
                "no me llamen", "no me llames", "no me contacten", "no me contacte", "dejen de", "dejame en paz",
                "dejenme en paz", "no me escriban",
            ]),
        rule(
            .deleteMyData, whole: [],
            anywhere: [
                "delete my data", "delete my information", "erase my data", "forget me", "remove my data",
                "borra mis datos", "borren mis datos", "elimina mis datos", "eliminen mis datos",
            ]),
        rule(
            .askHuman, whole: ["human", "agent", "representative", "operator", "persona", "humano", "agente"],
            anywhere: [
                "talk to a person", "talk to a human", "speak to a person", "speak to a human", "talk to someone",
                "speak to someone", "speak with someone", "talk with someone", "real person", "a human please",
                "human please", "talk to an agent", "speak with a person", "speak with a human", "live agent",
                "hablar con una persona", "hablar con alguien", "persona real", "hablar con un humano",
                "hablar con un agente", "con una persona",
            ]),
        rule(
            .areYouABot, whole: ["bot", "robot"],
            anywhere: [
                "are you a bot", "are you a robot", "are you human", "are you a human", "are you real", "are you ai",
                "are you an ai", "is this a bot", "is this a robot", "am i talking to a bot", "are you a real person",
                "are you a person", "a machine", "chatbot", "eres un bot", "eres un robot", "eres humano",
                "eres humana",
                "eres una persona", "eres real", "es un robot", "es un bot", "es usted un robot", "hablo con un robot",
                "eres una maquina",
            ]),
        rule(
            .cancel, whole: ["cancel", "exit", "cancelar", "salir", "cancel this", "forget it", "olvidalo", "i quit"],
            anywhere: [
                "cancel the conversation", "want to cancel", "quiero cancelar", "stop this chat", "end this chat",
            ]),
        rule(
            .restart, whole: ["restart", "start over", "reset", "begin again", "reiniciar"],
            anywhere: [
                "start over", "start again", "from the beginning", "empezar de nuevo", "empezar otra vez",
                "desde el principio",
                "volver a empezar",
            ]),
        rule(
            .notInterested, whole: ["bye", "goodbye", "adios", "chao"],
            anywhere: [
                "not interested", "no longer interested", "don't want solar", "not for me", "no me interesa",
                "no estoy interesado", "no estoy interesada", "no thanks bye",
            ]),
        rule(
            .skip,
            whole: ["skip", "pass", "next", "omitir", "saltar", "siguiente", "skip this", "skip it", "paso", "later"],
            anywhere: [
                "rather not say", "rather not", "prefer not to", "prefer not", "skip this", "don't want to say",
                "don't want to give", "prefiero no", "no quiero decir", "no quiero dar", "next question",
                "none of your business",
            ]),
        rule(
            .repeatLast,
            whole: ["repeat", "what", "again", "huh", "pardon", "sorry what", "que", "como", "repite", "repetir"],
            anywhere: [
                "say that again", "repeat that", "come again", "can you repeat", "didn't understand",
                "don't understand",
                "puedes repetir", "puede repetir", "repitelo", "no entiendo", "no entendi", "otra vez por favor",
            ]),
        rule(
            .explainWhy, whole: ["why", "por que", "what for", "para que", "why do you ask", "help", "ayuda"],
            anywhere: [
                "why do you need", "why do you ask", "why do you want", "why is that", "what do you need it for",
                "why are you asking",
                "por que preguntas", "por que necesitas", "por que pregunta", "por que necesita", "para que lo",
                "por que quieres",
            ]),
        rule(
            .thanks,
            whole: [
                "thanks", "thank you", "thx", "ty", "gracias", "muchas gracias", "thank you so much", "thanks a lot",
            ],
            anywhere: []),
        rule(
            .greeting,
            whole: [
                "hi", "hello", "hey", "hola", "good morning", "good afternoon", "good evening", "buenos dias",
                "buenas tardes", "buenas noches", "buenas", "hi there", "hello there", "hey there", "que tal",
            ], anywhere: []),
        rule(
            .abuse, whole: [],
            anywhere: [
                "fuck you", "fuck off", "asshole", "idiot", "stupid bot", "idiota", "estupido", "vete a la mierda",
            ]),
        rule(
            .speakSpanish, whole: ["espanol", "spanish"],
            anywhere: ["en espanol", "in spanish", "hablas espanol", "habla espanol", "speak spanish"]),
        rule(
            .speakEnglish, whole: ["english", "ingles"],
            anywhere: ["in english", "en ingles", "speak english", "hablas ingles"]),
    ]
}

/// Guesses the language of a message from small words.
struct LanguageGuess {
    /// The language when at least three words are there and nine in ten telling ones (two or more) are of it.
    static func language(of sentence: Sentence) -> Language? {
        let words = sentence.words.filter { $0.kind == .letters }.map(\.text)
        guard words.count >= 3 else { return nil }
        let english = words.count { englishWords.contains($0) }
        let spanish = words.count { spanishWords.contains($0) }
        let telling = english + spanish
        guard telling >= 2 else { return nil }
        if english * 10 >= telling * 9 { return .english }
        if spanish * 10 >= telling * 9 { return .spanish }
        return nil
    }

    private static let englishWords: Set<String> = [
        "the", "my", "i", "is", "it", "and", "you", "in", "of", "to", "about", "we", "have", "what", "how", "own",
        "rent",
        "house", "home", "live", "pay", "month", "bill", "with", "for", "i'm", "are", "do", "not", "this", "that",
        "wait",
    ]
    private static let spanishWords: Set<String> = [
        "el", "la", "los", "las", "mi", "es", "y", "de", "que", "en", "un", "una", "yo", "soy", "tengo", "vivo", "pago",
        "casa", "mes", "al", "por", "con", "para", "cuanto", "como", "esta", "luz", "factura", "del", "mas", "dueno",
        "duena", "alquilo", "rento", "unos", "nuestra", "nuestro", "hola", "quiero", "puedo", "pero",
    ]
}
