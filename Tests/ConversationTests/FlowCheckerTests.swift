import AurumCore
import Conversation
import Testing

/// One broken flow per refusal.
struct FlowCheckerTests {
    /// A flow that passes; each case replaces one part of it.
    private static let good = """
        flow: { id: f, languages: [en, es], start: greet }
        slots:
          own: { type: choice, label: { en: a, es: b }, values: { yes: { en: "Yes", es: "Sí" }, no: { en: "No", es: "No" } } }
          bill: { type: money, label: { en: a, es: b } }
          memo: { type: text, label: { en: a, es: b } }
        steps:
          greet: { say: t.greet, next: ask }
          ask: { ask: own, text: t.ask, next: gate }
          gate: { branch: [{ if: "own == 'yes'", to: askBill }], else: finish }
          askBill: { ask: bill, text: t.ask, skippable: true, next: finish }
          finish: { end: qualified }
        texts:
          t.greet: { en: "{disclosure} Hi", es: "{disclosure} Hola" }
          t.ask: { en: "Q?", es: "¿P?" }
          t.long: { en: "x", es: "y" }
        """

    private static func problems(_ replace: String, _ with: String) -> [FlowProblem] {
        let text = good.replacing(replace, with: with)
        do throws(FlowProblems) {
            _ = try FlowCatalogue(sources: [FlowSource(name: "f.yaml", text: text)], functions: TestFlow.functions)
            return []
        } catch {
            return error.problems
        }
    }

    @Test func `the good flow passes`() { #expect(Self.problems("", "") == []) }

    @Test func `the shipped test flow passes and its hash depends on words, not on comments`() throws {
        let one = try TestFlow.catalogue().flow("test.flow")?.hash
        let commented = try FlowCatalogue(
            sources: [FlowSource(name: "t", text: "# a comment\n" + TestFlow.yaml)], functions: TestFlow.functions)
        let reworded = try FlowCatalogue(
            sources: [FlowSource(name: "t", text: TestFlow.yaml.replacing("Which ZIP?", with: "What ZIP?"))],
            functions: TestFlow.functions)
        #expect(one == commented.flow("test.flow")?.hash)
        #expect(one != reworded.flow("test.flow")?.hash)
    }

    @Test(arguments: [
        ("flow: {", "flow: [", FlowProblem.Code.invalidYAML, 1),
        ("own: { type: choice", "own: { type: &x choice", .unsupportedYAML, 3),
        ("finish: { end: qualified }", "finish: { end: !!set qualified }", .unsupportedYAML, 11),
        ("finish: { end: qualified }", "finish: { end: qualified }\n  finish: { end: declined }", .duplicateKey, 11),
        ("finish: { end: qualified }", "finish: { end: qualified, extra: 1 }", .unknownKey, 11),
        ("ask: { ask: own, text: t.ask, next: gate }", "ask: { ask: own, text: t.ask }", .missingKey, 8),
        ("{ type: money,", "{ type: gold,", .wrongType, 4),
        ("next: gate }", "next: nowhere }", .unknownStep, 8),
        ("ask: { ask: own,", "ask: { ask: other,", .unknownSlot, 8),
        ("greet: { say: t.greet,", "greet: { say: t.none,", .unknownText, 7),
        ("languages: [en, es]", "languages: [en, es, fr]", .unknownLanguage, 1),
        ("\"own == 'yes'\"", "\"own = 'yes'\"", .invalidCondition, 9),
        ("\"own == 'yes'\"", "\"own == 'maybe'\"", .typeMismatch, 9),
        ("\"own == 'yes'\"", "\"own > 3\"", .typeMismatch, 9),
        ("\"own == 'yes'\"", "\"bill > 3\"", .mayBeUnset, 9),
        ("t.ask: { en: \"Q?\", es: \"¿P?\" }", "t.ask: { en: \"Q {memo}?\", es: \"¿P?\" }", .mayBeUnset, 8),
        (
            "finish: { end: qualified }", "finish: { end: qualified }\n  lost: { say: t.ask, next: finish }",
            .unreachableStep, 12
        ),
        ("else: finish }", "else: loop }\n  loop: { say: t.ask, next: loop }", .noPathToEnd, 10),
        ("else: finish }", "else: loop }\n  loop: { say: t.ask, next: gate }", .cycleWithoutAsk, 9),
        (
            "else: finish }", "else: calc }\n  calc: { call: test.estimate, with: [bill], next: finish }",
            .callNeedsOnFailure, 10
        ),
        ("else: finish }", "else: calc }\n  calc: { call: no.such, next: finish }", .unknownFunction, 10),
        ("t.ask: { en: \"Q?\", es: \"¿P?\" }", "t.ask: { en: \"Q?\" }", .missingTranslation, 14),
        ("t.long: { en: \"x\"", "t.long: { en: \"\(String(repeating: "x", count: 601))\"", .textTooLong, 15),
        ("yes: { en: \"Yes\"", "yes: { en: \"Yes, it is mine and always was\"", .quickReplyTooLong, 3),
        ("t.greet: { en: \"{disclosure} Hi\"", "t.greet: { en: \"Hi\"", .noDisclosure, 13),
        ("start: greet", "start: ask", .noDisclosure, 8),
    ])
    func `a broken flow is refused with code and line`(
        replace: String, with: String, code: FlowProblem.Code, line: Int
    ) {
        let problems = Self.problems(replace, with)
        #expect(problems.contains { $0.code == code && $0.line == line && $0.column > 0 }, "\(problems)")
    }

    @Test func `too many replies, steps and slots are refused`() {
        let values = (0..<9).map { "v\($0): { en: a\($0), es: b\($0) }" }.joined(separator: ", ")
        #expect(
            Self.problems("memo: { type: text,", "memo: { type: choice, values: { \(values) },")
                .contains { $0.code == .tooManyQuickReplies })
        let steps = (0..<200).map { "s\($0): { say: t.ask, next: s\($0 + 1) }" }.joined(separator: "\n  ")
        #expect(
            Self.problems("else: finish }", "else: s0 }\n  \(steps)\n  s200: { end: declined }")
                .contains { $0.code == .tooManySteps })
        let slots = (0..<100).map { "x\($0): { type: text, label: { en: a, es: b } }" }.joined(separator: "\n  ")
        #expect(Self.problems("memo:", "\(slots)\n  memo:").contains { $0.code == .tooManySlots })
    }

    @Test func `all problems are listed together`() {
        let text = Self.good.replacing("next: gate }", with: "next: nowhere }").replacing(
            "es: \"¿P?\"", with: "es: \"\""
        )
        .replacing("else: finish }", with: "else: elsewhere }")
        do throws(FlowProblems) {
            _ = try FlowCatalogue(sources: [FlowSource(name: "f.yaml", text: text)], functions: FlowFunctions())
            Issue.record("accepted")
        } catch {
            #expect(Set(error.problems.map(\.code)).isSuperset(of: [.unknownStep, .missingTranslation]))
            #expect(error.problems.count { $0.code == .unknownStep } == 2)
            #expect(error.description.contains("f.yaml:8:"))
        }
    }

    @Test(arguments: [
        ("own == 'yes' and bill > 3", true), ("not (own == 'no') or isSet(memo)", true), ("own in ['yes', 'no']", true),
        ("declined(bill) or isSet(bill) and bill >= 50", true), ("own ==", false), ("own == 'yes' bill", false),
        ("(own == 'yes'", false), ("own in 'yes'", false), ("isSet own", false), ("own == yes", false),
        (String(repeating: "(", count: 40) + "own == 'yes'" + String(repeating: ")", count: 40), false),
    ])
    func `the condition language is read or refused`(text: String, valid: Bool) {
        let problems = Self.problems("\"own == 'yes'\"", "\"\(text)\"")
        #expect(problems.contains { $0.code == .invalidCondition } != valid, "\(problems)")
    }
}
