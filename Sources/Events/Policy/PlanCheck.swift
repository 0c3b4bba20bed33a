internal import AurumCore

/// Holds the bytes of one value against a schema, in one pass. The text is valid JSON: the parser has seen it.
struct PlanCheck {
    private var grammar: JSONGrammar
    /// Where the violation is, innermost name first.
    private var path: [String] = []

    static func violation(_ text: UnsafeBufferPointer<UInt8>, _ schema: PlanSchema) -> PlanViolation? {
        guard let start = text.baseAddress else { return nil }
        var check = PlanCheck(grammar: JSONGrammar(start, end: start + text.count))
        check.grammar.skipSpace()
        guard let rule = check.value(schema) else { return nil }
        return PlanViolation(rule: rule, path: (["props"] + check.path.reversed()).joined(separator: "."))
    }

    private init(grammar: JSONGrammar) { self.grammar = grammar }

    /// What an allowed value of `enum` is compared by: strings apart from everything else.
    static func enumKey(_ value: JSONValue) -> [UInt8] {
        if let text = value.string { return [0x22] + Array(text.utf8) }
        if let number = value.double { return Array("\(number)".utf8) }
        return Array(value.canonical.utf8)
    }

    /// At a value: the rule it breaks, or nil with the grammar behind it.
    private mutating func value(_ schema: PlanSchema) -> PlanRule? {
        switch grammar.peek {
        case 0x7b: return object(schema)
        case 0x5b: return array(schema)
        case 0x22: return string(schema)
        case 0x74, 0x66: return literal(schema, .boolean)
        case 0x6e: return literal(schema, .null)
        default: return number(schema)
        }
    }

    private mutating func literal(_ schema: PlanSchema, _ kind: PlanSchema.Kinds) -> PlanRule? {
        if let kinds = schema.box.kinds, !kinds.contains(kind) { return .type }
        let start = grammar.cursor
        _ = grammar.skipValue()
        guard let texts = schema.box.texts else { return nil }
        return texts.contains(Array(UnsafeBufferPointer(start: start, count: grammar.cursor - start))) ? nil : .enum
    }

    private mutating func number(_ schema: PlanSchema) -> PlanRule? {
        let start = grammar.cursor
        _ = grammar.skipValue()
        let count = grammar.cursor - start
        let bytes = UnsafeBufferPointer(start: start, count: count)
        let isPlain = !bytes.contains { $0 == 0x2e || $0 | 0x20 == 0x65 }
        if let kinds = schema.box.kinds, !kinds.contains(.number) {
            guard kinds.contains(.integer) else { return .type }
            if !isPlain {
                guard let value = Self.double(bytes), value == value.rounded() else { return .type }
            }
        }
        guard schema.box.looksAtNumber else { return nil }
        let value: Double
        if isPlain, let whole = DecimalText.integer(start, count, digitsMax: 15) {
            value = Double(whole)
        } else if let exact = Self.double(bytes) {
            value = exact
        } else {
            return .range
        }
        if let texts = schema.box.texts, !texts.contains(Array("\(value)".utf8)) { return .enum }
        if let minimum = schema.box.minimum, value < minimum { return .range }
        if let maximum = schema.box.maximum, value > maximum { return .range }
        if let minimum = schema.box.exclusiveMinimum, value <= minimum { return .range }
        if let maximum = schema.box.exclusiveMaximum, value >= maximum { return .range }
        return nil
    }

    private static func double(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
        Double(String(decoding: bytes, as: UTF8.self))
    }

    private mutating func string(_ schema: PlanSchema) -> PlanRule? {
        if let kinds = schema.box.kinds, !kinds.contains(.string) { return .type }
        let start = grammar.cursor + 1
        _ = grammar.string()
        guard schema.box.looksAtText else { return nil }
        let raw = UnsafeBufferPointer(start: start, count: grammar.cursor - start - 1)
        guard raw.contains(0x5c) else { return text(raw, schema) }
        let decoded = [UInt8](unsafeUninitializedCapacity: raw.count) { buffer, filled in
            if let out = buffer.baseAddress { filled = JSONEscape.decode(start, raw.count, into: out) }
        }
        return decoded.withUnsafeBufferPointer { text($0, schema) }
    }

    private func text(_ text: UnsafeBufferPointer<UInt8>, _ schema: PlanSchema) -> PlanRule? {
        let box = schema.box
        if let texts = box.texts, !texts.contains([0x22] + Array(text)) { return .enum }
        if box.lengthMin > 0 || box.lengthMax < .max {
            // Characters, not bytes: followers of UTF-8 sequences do not count.
            let length = text.reduce(0) { $1 & 0xc0 == 0x80 ? $0 : $0 + 1 }
            if length < box.lengthMin || length > box.lengthMax { return .length }
        }
        if let pattern = box.pattern, !pattern.matches(text) { return .pattern }
        return nil
    }

    private mutating func array(_ schema: PlanSchema) -> PlanRule? {
        if let kinds = schema.box.kinds, !kinds.contains(.array) { return .type }
        guard schema.box.items != nil || schema.box.itemsMin > 0 || schema.box.itemsMax < .max else {
            _ = grammar.skipValue()
            return schema.box.texts == nil ? nil : .enum
        }
        grammar.advance()
        grammar.skipSpace()
        var count = 0
        while grammar.peek != 0x5d, !grammar.isAtEnd {
            if let items = schema.box.items {
                if let rule = value(items) {
                    path.append(String(count))
                    return rule
                }
            } else {
                _ = grammar.skipValue()
            }
            count += 1
            grammar.skipSpace()
            guard grammar.take(0x2c) else { break }
            grammar.skipSpace()
        }
        _ = grammar.take(0x5d)
        return count < schema.box.itemsMin || count > schema.box.itemsMax ? .length : nil
    }

    private mutating func object(_ schema: PlanSchema) -> PlanRule? {
        if let kinds = schema.box.kinds, !kinds.contains(.object) { return .type }
        guard schema.box.looksInside else {
            _ = grammar.skipValue()
            return schema.box.texts == nil ? nil : .enum
        }
        grammar.advance()
        grammar.skipSpace()
        var missing = schema.box.required
        while grammar.peek == 0x22 {
            if let rule = member(schema, &missing) { return rule }
            grammar.skipSpace()
            guard grammar.take(0x2c) else { break }
            grammar.skipSpace()
        }
        _ = grammar.take(0x7d)
        guard missing != 0 else { return nil }
        let absent = schema.box.properties.first { $0.requiredBit == missing.trailingZeroBitCount }
        path.append(absent.map { String(decoding: $0.name, as: UTF8.self) } ?? "")
        return .required
    }

    private mutating func member(_ schema: PlanSchema, _ missing: inout UInt64) -> PlanRule? {
        let start = grammar.cursor + 1
        _ = grammar.string()
        let raw = UnsafeBufferPointer(start: start, count: grammar.cursor - start - 1)
        grammar.skipSpace()
        _ = grammar.take(0x3a)
        grammar.skipSpace()
        let property: PlanSchema.Property?
        if raw.contains(0x5c) {
            let decoded = [UInt8](unsafeUninitializedCapacity: raw.count) { buffer, filled in
                if let out = buffer.baseAddress { filled = JSONEscape.decode(start, raw.count, into: out) }
            }
            property = decoded.withUnsafeBufferPointer { schema.property($0) }
        } else {
            property = schema.property(raw)
        }
        guard let property else {
            guard schema.box.takesOthers else {
                path.append(String(decoding: raw.prefix(128), as: UTF8.self))
                return .unknownProperty
            }
            _ = grammar.skipValue()
            return nil
        }
        let isNull = grammar.peek == 0x6e
        // Absent and null mean the same, unless the plan says that null is a value.
        if let bit = property.requiredBit, !isNull || property.schema?.box.kinds?.contains(.null) == true {
            missing &= ~(1 << UInt64(bit))
        }
        guard let inner = property.schema, !isNull else {
            _ = grammar.skipValue()
            return nil
        }
        guard let rule = value(inner) else { return nil }
        path.append(String(decoding: property.name, as: UTF8.self))
        return rule
    }
}
