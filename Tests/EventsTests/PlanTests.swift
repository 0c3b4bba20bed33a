internal import AurumCore
internal import Events
internal import TestSupport
import Testing

/// Properties and the rule that they break.
private let planRows: [(String, String)] = [
    ("{\"plan\":\"pro\",\"price\":1}", ""), ("{\"plan\":\"pro\"}", "plan:required"),
    ("{\"plan\":null,\"price\":1}", "plan:required"),
    ("{\"plan\":\"z\\u00fcrich\",\"price\":1e2}", ""), ("{\"plan\":\"gold\",\"price\":1}", "plan:enum"),
    ("{\"plan\":3,\"price\":1}", "plan:type"), ("{\"plan\":\"pro\",\"price\":\"1\"}", "plan:type"),
    ("{\"plan\":\"pro\",\"price\":-0.01}", "plan:range"), ("{\"plan\":\"pro\",\"price\":100.5}", "plan:range"),
    ("{\"plan\":\"pro\",\"price\":1,\"seats\":1.5}", "plan:type"), ("{\"plan\":\"pro\",\"price\":1,\"seats\":2.0}", ""),
    ("{\"plan\":\"pro\",\"price\":1,\"seats\":0}", "plan:range"),
    ("{\"plan\":\"pro\",\"price\":1,\"code\":\"AB-12\"}", ""),
    ("{\"plan\":\"pro\",\"price\":1,\"code\":\"AB-\"}", "plan:pattern"),
    ("{\"plan\":\"pro\",\"price\":1,\"note\":null}", ""),
    ("{\"plan\":\"pro\",\"price\":1,\"note\":\"\u{fc}\u{fc}\"}", ""),
    ("{\"plan\":\"pro\",\"price\":1,\"note\":\"a\"}", "plan:length"),
    ("{\"plan\":\"pro\",\"price\":1,\"note\":\"abcde\"}", "plan:length"),
    ("{\"plan\":\"pro\",\"price\":1,\"items\":[]}", "plan:length"),
    ("{\"plan\":\"pro\",\"price\":1,\"items\":[{\"sku\":\"a\"},{}]}", "plan:required"),
    ("{\"plan\":\"pro\",\"price\":1,\"items\":[{\"sku\":\"a\",\"n\":[1,{}]}]}", ""),
    ("{\"plan\":\"pro\",\"price\":1,\"address\":{\"zip\":\"1\"}}", ""),
    ("{\"plan\":\"pro\",\"price\":1,\"address\":{\"city\":\"x\"}}", "plan:unknown_property"),
    ("{\"plan\":\"pro\",\"price\":1,\"flag\":\"yes\"}", "plan:type"),
    ("{\"plan\":\"pro\",\"price\":1,\"other\":{\"deep\":[1,2,{\"a\":\"}\"}]}}", ""),
    ("{ \"plan\" : \"pro\" , \"pr\\u0069ce\" : 7 }", ""),
]

/// Plans that make no sense.
private let badPlans: [JSONValue] = [
    ["names": ["a": ["pattern": "("]]], ["names": ["a": ["pattern": "[z-a]"]]],
    ["names": ["a": ["pattern": "\\1"]]],
    ["names": ["a": ["pattern": "(((a{200}){200}){200})"]]], ["names": 5], [:],
    ["names": ["a": ["type": "text"]]],
    ["names": ["a": ["required": [1]]]], ["names": [:], "unknown_names": "maybe"],
    ["names": ["a": ["enum": []]]],
]

/// A pattern, a text, and whether it matches.
private let patternRows: [(String, String, Bool)] = [
    ("a.c", "xabcx", true), ("^a.c$", "xabc", false), ("^(ab|cd)+$", "abcdab", true), ("^(ab|cd)+$", "abc", false),
    ("^\\w+@\\w+\\.example$", "me@mail.example", true), ("^[^0-9]*$", "abc", true), ("^[^0-9]*$", "a1", false),
    ("^\u{fc}+$", "\u{fc}\u{fc}", true), ("^.{2}$", "\u{fc}\u{1f600}", true), ("^a{2,3}$", "aaaa", false),
    ("^a{2,}$", "aaaa", true), ("x|^$", "", true), ("^[a\\-z\\]]+$", "-]a", true), ("^(a?){3}b$", "aab", true),
    ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
]

/// Tracking plans held against events.
struct PlanTests {
    static let schema: JSONValue = [
        "type": "object", "required": ["plan", "price"],
        "properties": [
            "plan": ["type": "string", "enum": ["free", "pro", "zürich"]],
            "price": ["type": "number", "minimum": 0, "maximum": 100],
            "seats": ["type": "integer", "exclusiveMinimum": 0],
            "code": ["type": "string", "pattern": "^[A-Z]{2}-\\d+$"],
            "note": ["type": ["string", "null"], "minLength": 2, "maxLength": 4],
            "items": [
                "type": "array", "minItems": 1,
                "items": ["type": "object", "required": ["sku"], "properties": ["sku": ["type": "string"]]],
            ],
            "address": ["type": "object", "additionalProperties": false, "properties": ["zip": ["type": "string"]]],
            "flag": ["type": "boolean"],
        ],
    ]
    static let document: JSONValue = ["names": ["Signed Up": schema, "Anything": true]]

    @Test(arguments: planRows)
    func `the first broken rule is named`(props: String, reason: String) async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.document)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        let receipt = try await desk.log.send(trackLine(["props": props]))
        #expect(receipt.problems.first?.reason ?? "" == reason)
        #expect(receipt.stored == (reason.isEmpty ? 1 : 0))
        await desk.log.close()
    }

    @Test func `unknown names are refused unless the plan allows them, and only custom ones`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.document)
        let page = "{\"id\":\"p\",\"type\":\"page\",\"user_id\":\"u\",\"url\":\"https://a.example/\"}"
        let receipt = try await desk.log.send(trackLine(["name": "\"Strange\""]) + "\n" + page)
        #expect(receipt.problems.map(\.reason) == ["plan:unknown_name"] && receipt.stored == 1)
        var open = Self.document.object ?? [:]
        open["unknown_names"] = "allow"
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", .object(open))
        #expect(try await desk.log.send(trackLine(["name": "\"Strange\""])).stored == 1)
        await desk.log.close()
    }

    @Test func `warn stores the event, marked, and off does not look`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.document)
        #expect(try await desk.log.send(trackLine(["id": "\"a\""])).stored == 1)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "warn"])
        #expect(try await desk.log.send(trackLine(["id": "\"b\"", "props": "{\"price\":1}"])).stored == 1)
        let events = try await desk.events()
        #expect(events[0].extra.isEmpty)
        #expect(events[1].extra == ["plan_warning": "required props.plan", "plan_version": 1])
        await desk.log.close()
    }

    @Test(arguments: patternRows)
    func `a pattern matches as JSON Schema says, in one pass`(pattern: String, text: String, matches: Bool) async throws
    {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        _ = try await desk.policies.apps.putPlan(
            org: "acme", app: "shop",
            ["names": ["Signed Up": ["properties": ["t": ["pattern": .string(pattern)]]]]])
        let receipt = try await desk.log.send(trackLine(["props": JSONValue.object(["t": .string(text)]).canonical]))
        #expect(receipt.stored == (matches ? 1 : 0))
        await desk.log.close()
    }

    @Test(arguments: badPlans)
    func `a plan that makes no sense is refused`(document: JSONValue) {
        #expect(throws: PolicyError.self) { try CompiledPlan(document, version: 1) }
    }
}
