import AurumCore
import Conversation
import Testing

@Test func `dump`() async throws {
    let stage = try await SolarStage()
    for script in [
        ["I own it", "one family house", "11215", "$240", "flat", "no shade", "within 3 months", "cash", "just me",
            "Ana Diaz, 917-555-0143, ana@example.com", "yes"],
        ["my bill is 200, I own a house in 11215", "brownstone", "no wait, 230", "flat", "what?", "none", "asap", "skip", "my wife and I", "how much is it?", "Bob", "9175550199", "bob at gmail dot com", "sure"],
        ["hola, soy dueño de una casa en 11375 y pago unos 200 a 250 al mes", "es un dúplex", "plano", "nada", "en 2 meses", "contado", "solo yo", "me llamo José Pérez", "347 555 0123", "jose@correo.com", "sí, acepto"],
    ] {
        let talk = try await stage.talk()
        for frame in talk.frames where frame["type"]?.string == "message" { print("BOT ", frame["text"]!.string!) }
        for line in script {
            print("YOU ", line)
            for frame in await talk.say(line) {
                switch frame["type"]?.string {
                case "message": print("BOT ", frame["text"]!.string!, (frame["quickReplies"]?.array ?? []).compactMap { $0["label"]?.string })
                default: print("    ", frame.canonical.prefix(1800))
                }
            }
        }
        print("ROW", try await talk.row()!.json.canonical)
    }
    try stage.close()
}
