internal import AurumCore

/// What a plan holds against an event. Words are those of `plan:<rule>`.
package enum PlanRule: String, Sendable, CaseIterable {
    case required, type, `enum`, pattern, range, length
    case unknownName = "unknown_name"
    case unknownProperty = "unknown_property"

    /// The quarantine reason with this rule.
    var reason: QuarantineReason {
        switch self {
        case .required: .planRequired
        case .type: .planType
        case .enum: .planEnum
        case .pattern: .planPattern
        case .range: .planRange
        case .length: .planLength
        case .unknownName: .planUnknownName
        case .unknownProperty: .planUnknownProperty
        }
    }
}

/// The first thing in which an event breaks its plan.
package struct PlanViolation: Sendable, Equatable {
    package var rule: PlanRule
    /// Where, for example `props.items.0.price`; holds names of the event, never values.
    package var path: String
}

/// One level of a JSON Schema, compiled.
final class PlanSchema: Sendable {
    struct Kinds: OptionSet, Sendable {
        let rawValue: UInt8
        static let object = Kinds(rawValue: 1)
        static let array = Kinds(rawValue: 2)
        static let string = Kinds(rawValue: 4)
        static let number = Kinds(rawValue: 8)
        static let integer = Kinds(rawValue: 16)
        static let boolean = Kinds(rawValue: 32)
        static let null = Kinds(rawValue: 64)

        static let words: [String: Kinds] = [
            "object": .object, "array": .array, "string": .string, "number": .number, "integer": .integer,
            "boolean": .boolean, "null": .null,
        ]
    }

    struct Property: Sendable {
        var name: [UInt8]
        var schema: PlanSchema?
        /// Bit in the set of required members; nil when it is not required.
        var requiredBit: Int?
    }

    var kinds: Kinds? { box.kinds }
    let box: Box
    /// Slots of property numbers by a hash of the name; -1 is empty.
    private let slots: [Int16]

    /// The plain facts.
    struct Box: Sendable {
        var kinds: Kinds?
        var texts: Set<[UInt8]>?
        var pattern: PatternMachine?
        var minimum: Double?
        var maximum: Double?
        var exclusiveMinimum: Double?
        var exclusiveMaximum: Double?
        var lengthMin = 0
        var lengthMax = Int.max
        var itemsMin = 0
        var itemsMax = Int.max
        var items: PlanSchema?
        var properties: [Property] = []
        var required: UInt64 = 0
        var takesOthers = true

        var looksAtText: Bool { texts != nil || pattern != nil || lengthMin > 0 || lengthMax < .max }
        var looksAtNumber: Bool {
            texts != nil || minimum != nil || maximum != nil || exclusiveMinimum != nil || exclusiveMaximum != nil
        }
        var looksInside: Bool { !properties.isEmpty || !takesOthers }
    }

    init(_ box: Box) {
        self.box = box
        var size = 8
        while size < box.properties.count * 2 { size *= 2 }
        var slots = [Int16](repeating: -1, count: size)
        for (number, property) in box.properties.enumerated() {
            var slot = property.name.withUnsafeBufferPointer { Self.hash($0) } & (size - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (size - 1) }
            slots[slot] = Int16(number)
        }
        self.slots = slots
    }

    @inline(__always)
    private static func hash(_ name: UnsafeBufferPointer<UInt8>) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: hash >> 32)
    }

    /// The property of this name.
    @inline(__always)
    func property(_ name: UnsafeBufferPointer<UInt8>) -> Property? {
        guard !box.properties.isEmpty else { return nil }
        var slot = Self.hash(name) & (slots.count - 1)
        while slots[slot] >= 0 {
            let property = box.properties[Int(slots[slot])]
            if property.name.count == name.count, property.name.elementsEqual(name) { return property }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }
}

/// Reads the subset of JSON Schema that plans are written in.
struct PlanSchemaReader {
    var problems: [PolicyProblem] = []
    /// Names marked `personal`, at any depth.
    var personalKeys: [String] = []

    private static let known: Set<String> = [
        "type", "required", "properties", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum",
        "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "items", "additionalProperties",
        "personal", "description", "title", "examples", "$schema",
    ]
    private static let depthMax = 16
    private static let propertiesMax = 256

    private mutating func problem(_ path: String, _ detail: String) {
        if problems.count < 50 { problems.append(PolicyProblem(path, detail)) }
    }

    mutating func schema(_ document: JSONValue, _ path: String, depth: Int = 0) -> PlanSchema? {
        guard let members = document.object else {
            problem(path, "must be an object with a JSON Schema")
            return nil
        }
        guard depth < Self.depthMax else {
            problem(path, "is nested deeper than \(Self.depthMax) levels")
            return nil
        }
        for name in members.keys.sorted() where !Self.known.contains(name) {
            problem("\(path).\(name.prefix(40))", "is not in the subset of JSON Schema that plans know")
        }
        var box = PlanSchema.Box()
        box.kinds = kinds(members["type"], path)
        texts(members, path, &box)
        numbers(members, path, &box)
        if let items = members["items"] { box.items = schema(items, path + ".items", depth: depth + 1) }
        objects(members, path, depth, &box)
        return PlanSchema(box)
    }

    private mutating func kinds(_ value: JSONValue?, _ path: String) -> PlanSchema.Kinds? {
        guard let value else { return nil }
        let words = value.string.map { [$0] } ?? (value.array ?? []).map { $0.string ?? "" }
        var kinds: PlanSchema.Kinds = []
        for word in words {
            guard let kind = PlanSchema.Kinds.words[word] else {
                problem(path + ".type", "must be object, array, string, number, integer, boolean or null")
                return nil
            }
            kinds.insert(kind)
        }
        if words.isEmpty { problem(path + ".type", "must be a word or a list of words") }
        return kinds
    }

    private mutating func texts(_ members: [String: JSONValue], _ path: String, _ box: inout PlanSchema.Box) {
        if let list = members["enum"] ?? members["const"].map({ .array([$0]) }) {
            if let values = list.array, !values.isEmpty, values.count <= 1000 {
                box.texts = Set(values.map { PlanCheck.enumKey($0) })
            } else {
                problem(path + ".enum", "must be a list of 1 to 1000 values")
            }
        }
        guard let pattern = members["pattern"] else { return }
        guard let text = pattern.string else { return problem(path + ".pattern", "must be a string") }
        do throws(PatternMachine.Failure) {
            box.pattern = try PatternMachine(text)
        } catch {
            switch error {
            case .tooLong: problem(path + ".pattern", "is longer than \(PatternMachine.bytesMax) bytes")
            case .tooComplex: problem(path + ".pattern", "is too complex")
            case .malformed(let place): problem(path + ".pattern", "cannot be understood from byte \(place) on")
            }
        }
    }

    private mutating func numbers(_ members: [String: JSONValue], _ path: String, _ box: inout PlanSchema.Box) {
        func number(_ name: String) -> Double? {
            guard let value = members[name] else { return nil }
            if let number = value.double { return number }
            problem("\(path).\(name)", "must be a number")
            return nil
        }
        func count(_ name: String) -> Int? {
            guard let value = members[name] else { return nil }
            if let number = value.integer, number >= 0, number <= 1 << 30 { return Int(number) }
            problem("\(path).\(name)", "must be a whole number that is not negative")
            return nil
        }
        (box.minimum, box.maximum) = (number("minimum"), number("maximum"))
        (box.exclusiveMinimum, box.exclusiveMaximum) = (number("exclusiveMinimum"), number("exclusiveMaximum"))
        (box.lengthMin, box.lengthMax) = (count("minLength") ?? 0, count("maxLength") ?? .max)
        (box.itemsMin, box.itemsMax) = (count("minItems") ?? 0, count("maxItems") ?? .max)
    }

    private mutating func objects(
        _ members: [String: JSONValue], _ path: String, _ depth: Int, _ box: inout PlanSchema.Box
    ) {
        var schemas: [String: PlanSchema] = [:]
        if let properties = members["properties"] {
            guard let list = properties.object, list.count <= Self.propertiesMax else {
                return problem(path + ".properties", "must be an object of at most \(Self.propertiesMax) schemas")
            }
            for (name, value) in list.sorted(by: { $0.key < $1.key }) {
                if value["personal"]?.bool == true { personalKeys.append(name) }
                schemas[name] = schema(value, "\(path).properties.\(name.prefix(60))", depth: depth + 1)
            }
        }
        var required: [String] = []
        if let list = members["required"] {
            guard let names = list.array, names.count <= 64, names.allSatisfy({ $0.string != nil }) else {
                return problem(path + ".required", "must be a list of at most 64 names")
            }
            required = Array(Set(names.compactMap(\.string))).sorted()
        }
        if let others = members["additionalProperties"] {
            guard let takes = others.bool else {
                return problem(path + ".additionalProperties", "must be true or false")
            }
            box.takesOthers = takes
        }
        for name in Set(schemas.keys).union(required).sorted() {
            let bit = required.firstIndex(of: name)
            if let bit { box.required |= 1 << UInt64(bit) }
            box.properties.append(PlanSchema.Property(name: Array(name.utf8), schema: schemas[name], requiredBit: bit))
        }
    }
}
