import AurumCore
import Conversation

/// A small flow that uses every step kind and slot type.
enum TestFlow {
    static let yaml = """
        flow: { id: test.flow, languages: [en, es], start: greet }
        slots:
          ownership:
            type: choice
            required: true
            label: { en: "ownership", es: "propiedad" }
            values:
              owner: { en: "I own it", es: "Es mía", say: [i own, own a house, soy dueño], short: ["yes", own, sí] }
              renter: { en: "I rent", es: "Alquilo", say: [i rent, alquilo], short: [rent] }
          zip: { type: postalCode, required: true, label: { en: "ZIP", es: "código postal" }, validate: test.zip }
          bill:
            type: money
            unit: perMonth
            required: true
            min: 20
            max: 2000
            label: { en: "bill", es: "factura" }
            cues: [bill, pay, electric, luz, factura, pago]
          people: { type: integer, min: 1, max: 20, label: { en: "people", es: "personas" } }
          start:
            type: choice
            label: { en: "start", es: "comienzo" }
            values:
              soon: { en: "Within 3 months", es: "En menos de 3 meses", months: [0, 3], say: [asap, lo antes posible] }
              later: { en: "3 to 6 months", es: "De 3 a 6 meses", months: [3, 6] }
              year: { en: "Over 6 months", es: "Más de 6 meses", months: [6, 1200] }
          account: { type: boolean, label: { en: "account", es: "cuenta" } }
          note: { type: text, label: { en: "note", es: "nota" } }
          name: { type: personName, required: true, label: { en: "name", es: "nombre" }, ask: t.name }
          phone: { type: phone, required: true, label: { en: "phone", es: "teléfono" }, ask: t.phone }
          email: { type: email, required: true, label: { en: "email", es: "correo" }, ask: t.email }
        steps:
          greet: { say: t.greet, next: askOwnership }
          askOwnership: { ask: ownership, text: [t.own.1, t.own.2], help: t.own.why, next: gate }
          gate:
            branch: [{ if: "ownership == 'renter'", to: renter, gate: renter }]
            else: askZip
          askZip: { ask: zip, text: t.zip, next: askBill }
          askBill: { ask: bill, text: [t.bill], next: askPeople }
          askPeople: { ask: people, text: [t.people], skippable: true, next: estimate }
          estimate: { call: test.estimate, with: [bill], onFailure: more, next: told }
          told: { say: t.told, next: more }
          more:
            offer: t.more
            replies:
              - { id: go, label: t.go, to: contact, affirms: true }
              - { id: leave, label: t.leave, to: left, affirms: false }
          contact: { ask: [name, phone, email], text: [t.contact], help: t.contact.why, next: consent }
          consent:
            consent: test.1
            text: t.consent
            agree: t.agree
            decline: t.leave
            next: done
            onDecline: declined
            gate: noConsent
          done: { end: qualified, product: thing, text: t.done }
          declined: { end: declined, product: thing, text: t.done }
          left: { end: abandoned, text: t.done }
          renter: { end: disqualified, product: other, text: t.done }
        texts:
          t.greet: { en: "Hi! {disclosure}", es: "¡Hola! {disclosure}" }
          t.own.1: { en: "Own or rent?", es: "¿Dueño o inquilino?" }
          t.own.2: { en: "Is it yours, or do you rent?", es: "¿Es suya o la alquila?" }
          t.own.why: { en: "Only owners can decide.", es: "Solo deciden los dueños." }
          t.zip: { en: "Which ZIP?", es: "¿Qué código postal?" }
          t.bill: { en: "What is the bill?", es: "¿Cuánto es la factura?" }
          t.people: { en: "How many people?", es: "¿Cuántas personas?" }
          t.told: { en: "That is {yearly} a year at {bill}.", es: "Son {yearly} al año con {bill}." }
          t.more: { en: "Go on?", es: "¿Seguimos?" }
          t.go: { en: "Go on", es: "Seguir" }
          t.leave: { en: "No, thanks", es: "No, gracias" }
          t.contact: { en: "Name, phone and email?", es: "¿Nombre, teléfono y correo?" }
          t.contact.why: { en: "To reach you.", es: "Para contactarle." }
          t.name: { en: "Your name?", es: "¿Su nombre?" }
          t.phone: { en: "Your phone?", es: "¿Su teléfono?" }
          t.email: { en: "Your email?", es: "¿Su correo?" }
          t.consent: { en: "May {operator} pass this on? Yes or no.", es: "¿Puede {operator} pasar esto? Sí o no." }
          t.agree: { en: "Yes, I agree", es: "Sí, acepto" }
          t.done: { en: "Done.", es: "Listo." }
        """

    static let functions = FlowFunctions(
        validators: [
            "test.zip": FlowValidator(type: .postalCode, facts: ["area": .text]) { value in
                value.string?.hasPrefix("99") == true
                    ? .invalid([.english: "There is no such ZIP.", .spanish: "No existe ese código."])
                    : .valid(value, facts: ["area": .text("known")])
            }
        ],
        functions: [
            "test.estimate": FlowFunction(inputs: ["bill": .money], outputs: ["yearly": .money]) { call in
                guard case .money(let bill) = call.values["bill"] else { return .refused("missing") }
                return .success(
                    facts: ["yearly": .money(MoneyRange(cents: bill.cents * 12))],
                    card: ResultCard(
                        kind: "test.card", title: "A year",
                        figures: [
                            .init(name: "yearly", label: "Yearly", display: "$\(bill.cents * 12 / 100)", unit: "USD")
                        ],
                        notes: []))
            }
        ])

    static func catalogue() throws -> FlowCatalogue {
        try FlowCatalogue(sources: [FlowSource(name: "test.yaml", text: yaml)], functions: functions)
    }
}
