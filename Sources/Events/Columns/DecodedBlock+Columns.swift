internal import AurumCore

/// Columns by name: read straight from the column that has them where one does, worked out once for each combination
/// of values where they follow from several.
extension DecodedBlock {
    /// Where a name's values come from.
    private enum Recipe {
        /// The first of these fields that a row fills.
        case fields([EventField])
        /// Follows from the values of these fields together.
        case derived([EventField])
        /// A member below `props` or outside the contract.
        case free
        /// Only the whole event says it.
        case event
    }

    private static func recipe(_ name: ColumnName) -> Recipe {
        let origin: [EventField] = [
            .campaign, .context, .clickID, .url, .propertyURL, .referrer, .propertyReferrer,
        ]
        switch name.path {
        case "user_id": return .fields([.userID])
        case "anonymous_id": return .fields([.anonymousID])
        case "session_id": return .fields([.sessionID])
        case "lead_id": return .fields([.leadID])
        case "group_id": return .fields([.groupID])
        case "previous_id": return .fields([.previousID])
        case "vendor_id": return .fields([.vendorID])
        case "install_referrer": return .fields([.installReferrer])
        case "order_id": return .derived([.orderID, .propertyOrderID])
        case "device_id": return .derived([.deviceID, .context])
        case "advertising_id": return .derived([.advertisingID, .context])
        case "url": return .derived([.url, .propertyURL, .context])
        case "referrer": return .derived([.referrer, .propertyReferrer, .context])
        case "title": return .derived([.title, .propertyTitle, .context])
        case "name": return .derived([.name])
        case "channel", "click_id": return .derived(origin)
        case _ where name.path.hasPrefix("campaign."): return .derived(origin)
        case _ where name.path.hasPrefix("context."): return .derived([.context])
        case _ where name.path.hasPrefix("traits."): return .derived([.traits, .context])
        case _ where name.path.hasPrefix("consent."): return .derived([.consent])
        case _ where name.path.hasPrefix("props."), _ where name.path.hasPrefix("extra."): return .free
        default: return .event
        }
    }

    func text(_ name: ColumnName) throws -> TextColumn? {
        switch name.path {
        case "type": return try byRow { EventType(rawValue: $0)?.name }
        case "outcome": return try outcomeColumn()
        case "quarantine_reason": return try reasonColumn(name)
        case "org", "app", "source_format": return requestColumn(name.path)
        case "currency": return try currencies(name)
        case "currency.stated": return try derived(name, [.currency, .propertyCurrency])
        case "browser", "browser_major", "os_name", "device_class": return try agent(name)
        default: break
        }
        switch Self.recipe(name) {
        case .fields(let fields):
            if let direct = try direct(name, fields) { return direct }
            return try derived(name, fields)
        case .derived(let fields):
            if let direct = try direct(name, fields) { return direct }
            return try derived(name, fields)
        case .free: return try free(name)
        case .event: return try fromEvents(name)
        }
    }

    private func byRow(_ text: (UInt8) -> String?) throws -> TextColumn? {
        let texts = dictionary.derived(.type)
        let codes = (0...UInt8.max).map { code in text(code).map { texts.texts.number($0) } ?? 0 }
        return TextColumn(codes: try types().map { codes[Int($0)] }, dictionary: texts.texts)
    }

    private func outcomeColumn() throws -> TextColumn? {
        let texts = dictionary.derived(.outcome).texts
        let codes = EventOutcome.allCases.map { texts.number($0.name) }
        return TextColumn(codes: try outcomes().map { Int($0) < codes.count ? codes[Int($0)] : 0 }, dictionary: texts)
    }

    /// Why quarantined rows were refused; all others have no value.
    private func reasonColumn(_ name: ColumnName) throws -> TextColumn? {
        let outcomes = try outcomes()
        let rows = outcomes.indices.filter { outcomes[$0] == EventOutcome.quarantined.rawValue }
        guard !rows.isEmpty else { return nil }
        let texts = dictionary.derived(name).texts
        var codes = [UInt32](repeating: 0, count: rowCount)
        for row in rows {
            let reason = try exception(row).0
            if reason != .none { codes[row] = texts.number(reason.tag) }
        }
        return TextColumn(codes: codes, dictionary: texts)
    }

    private func requestColumn(_ path: String) -> TextColumn {
        let texts = dictionary.derived(ColumnName(path)).texts
        var codes = [UInt32](repeating: 0, count: rowCount)
        for request in requests {
            let text = path == "org" ? request.org : path == "app" ? request.app : request.format
            let code = texts.number(text)
            for row in request.firstRow..<request.firstRow + request.rowCount { codes[row] = code }
        }
        return TextColumn(codes: codes, dictionary: texts)
    }

    /// What the user agent in the context says, unless an event has a member of its own under the name.
    private func agent(_ name: ColumnName) throws -> TextColumn? {
        let own = dictionary.columns.filter { $0.value.path == "extra." + name.path }.keys
        return try own.contains { try values($0) != nil } ? try fromEvents(name) : try derived(name, [.context])
    }

    // MARK: straight from one column

    /// The columns that feed a field in some shape of this block, and whether shape 0 plays a part.
    func feeding(_ fields: [EventField]) throws -> (columns: [UInt16], hasWhole: Bool) {
        let rows = try rowsOfShapes()
        return (shapeIndex.columns(of: fields, rows: rows), (rows.first ?? 0) > 0)
    }

    /// The column itself, when one column of numbered texts is all there is to a name.
    private func direct(_ name: ColumnName, _ fields: [EventField]) throws -> TextColumn? {
        let (columns, hasWhole) = try feeding(fields)
        guard !hasWhole, columns.count == 1, dictionary.column(columns[0])?.kind == .text,
            !name.path.contains("."), name.path != "channel", name.path != "click_id",
            case .codes(let codes)? = try values(columns[0])
        else { return nil }
        let texts = try dictionary.texts(columns[0], of: catalog)
        guard !texts.hasEscapes else { return nil }
        // A name has a default, and what is empty counts as absent.
        if name == .name { guard codes.count == rowCount else { return nil } }
        if codes.count == rowCount, !texts.hasEmpty { return TextColumn(codes: codes, dictionary: texts) }
        guard name != .name else { return nil }
        let empty = texts.emptyCode
        return TextColumn(
            codes: try spread(columns[0], empty == 0 ? codes : codes.map { $0 == empty ? 0 : $0 }), dictionary: texts)
    }

    // MARK: worked out

    /// One input of a derived column.
    private struct Input {
        var column: UInt16
        var field: EventField
        var kind: HoleKind
        /// One a row, 0 where it has none; or, before they were spread, one for each row that has one.
        var codes: [UInt32]
        var isSpread: Bool
        /// The raw text of a code.
        var raw: (UInt32) -> [UInt8]?
        var isLocal: Bool
        var isReduced = false
        var localTexts: [[UInt8]] = []
    }

    private func input(_ column: UInt16, _ field: EventField) throws -> Input? {
        guard let kind = dictionary.column(column)?.kind, let values = try values(column) else { return nil }
        if case .codes(let codes) = values {
            let texts = try dictionary.texts(column, of: catalog)
            return Input(
                column: column, field: field, kind: kind, codes: codes, isSpread: false, raw: { texts.raw($0) },
                isLocal: false)
        }
        // Values without numbers get some that hold for this block only.
        let rank = try rank(column)
        var known: [[UInt8]: UInt32] = [:]
        var texts: [[UInt8]] = []
        var codes = [UInt32](repeating: 0, count: rowCount)
        for row in 0..<rowCount where rank[row] >= 0 {
            var text: [UInt8] = []
            try append(column, kind, row, to: &text)
            if let code = known[text] {
                codes[row] = code
            } else {
                texts.append(text)
                known[text] = UInt32(texts.count)
                codes[row] = UInt32(texts.count)
            }
        }
        let all = texts
        return Input(
            column: column, field: field, kind: kind, codes: codes, isSpread: true, raw: { all[Int($0) - 1] },
            isLocal: true, localTexts: all)
    }

    /// The input with a code for each row.
    private func spread(_ input: Input) throws -> Input {
        var input = input
        if !input.isSpread { input.codes = try spread(input.column, input.codes) }
        input.isSpread = true
        return input
    }

    /// The input with one code for all texts that count the same, and none for one that says nothing.
    private func reduced(_ input: Input, _ name: ColumnName, _ gist: ValueGist, _ hasClicks: Bool) -> Input {
        guard gist.applies(to: input.field) else { return input }
        let known =
            input.isLocal
            ? Representatives() : dictionary.representatives(name, input.column, hasClicks ? "clicks" : "")
        var reduced = input
        reduced.codes = known.codes(input.codes) { gist(input.raw($0) ?? [], input.field) }
        reduced.isReduced = true
        return reduced
    }

    /// Everything that bears on a name in this block, by column.
    private func inputs(_ columns: [UInt16], _ name: ColumnName, _ decoder: EventDecoder) throws -> [Input] {
        let hasClicks = columns.contains { shapeIndex.field(of: $0) == .clickID }
        let gist = ValueGist(name, hasClicks: hasClicks, decoder)
        return try columns.compactMap { column in
            try shapeIndex.field(of: column).flatMap { try input(column, $0) }.map {
                reduced($0, name, gist, hasClicks)
            }
        }
        .filter { RowMask.highest($0.codes) != 0 }
    }

    private func derived(_ name: ColumnName, _ fields: [EventField]) throws -> TextColumn? {
        let (columns, hasWhole) = try feeding(fields)
        let decoder = EventDecoder(secret: secret)
        var inputs = try inputs(columns, name, decoder)
        if !hasWhole, let only = try single(inputs, name) { return only }
        let known = inputs.contains(where: \.isLocal) ? DerivedTexts() : dictionary.derived(name)
        var codes: [UInt32]
        if inputs.count == 1, name != .name, name != .channel {
            codes = try known.numbers(inputs[0].column, inputs[0].codes) { code in
                try value(name, [(inputs[0], code)], .page, decoder)
            }
            if !inputs[0].isSpread { codes = try spread(inputs[0].column, codes) }
        } else {
            inputs = try inputs.map { try spread($0) }
            codes = try combined(name, inputs, known, decoder)
        }
        if hasWhole {
            let shapes = try shapes()
            for row in 0..<rowCount where shapes[row] == 0 {
                codes[row] = try storedEvent(row, decoder)?.text(name).map { known.texts.number($0) } ?? 0
            }
        }
        return RowMask.highest(codes) != 0 ? TextColumn(codes: codes, dictionary: known.texts) : nil
    }

    /// What follows from several inputs, and from the type for a name: worked out once for each combination.
    private func combined(
        _ name: ColumnName, _ inputs: [Input], _ known: DerivedTexts, _ decoder: EventDecoder
    ) throws -> [UInt32] {
        let types = name == .name ? try self.types() : []
        let combinations = RowCombinations(
            rowCount: rowCount, (types.isEmpty ? [] : [types.map { UInt32($0) }]) + inputs.map(\.codes))
        let texts = try combinations.firstRows.map { row -> UInt32 in
            var key: [UInt32] = [types.isEmpty ? 0 : UInt32(types[row])]
            let present = inputs.filter { $0.codes[row] != 0 }
            for input in present { key += [UInt32(input.column), input.codes[row]] }
            return try known.number(key) {
                let type = types.isEmpty ? EventType.page : EventType(rawValue: types[row]) ?? .track
                return try value(name, present.map { ($0, $0.codes[row]) }, type, decoder)
            }
        }
        return combinations.numbers.map { texts[Int($0)] }
    }

    /// Names whose answer is the text of the first of their fields, as it is.
    private static let asTheyAre: Set<String> = [
        "url", "referrer", "title", "order_id", "device_id", "advertising_id", "user_id", "anonymous_id", "session_id",
        "lead_id", "group_id", "previous_id",
    ]

    /// The only column that bears on a name in this block, when its texts are the answer.
    private func single(_ inputs: [Input], _ name: ColumnName) throws -> TextColumn? {
        guard Self.asTheyAre.contains(name.path), inputs.count == 1, let only = inputs.first, only.kind == .text,
            !only.isReduced
        else { return nil }
        if only.isLocal {
            let texts = GrowingTexts()
            let codes = [0] + only.localTexts.map { $0.isEmpty ? 0 : texts.number(EscapedText.decoded($0)) }
            return TextColumn(codes: only.codes.map { codes[Int($0)] }, dictionary: texts)
        }
        let texts = try dictionary.texts(only.column, of: catalog)
        guard !texts.hasEscapes, !texts.hasEmpty else { return nil }
        return TextColumn(codes: try spread(only).codes, dictionary: texts)
    }

    /// The currency that an event states, else its request's where it has a value.
    private func currencies(_ name: ColumnName) throws -> TextColumn? {
        let stated = try derived(name, [.currency, .propertyCurrency])
        guard let values = try values() else { return stated }
        let texts = stated?.dictionary as? GrowingTexts ?? dictionary.derived(name).texts
        var codes = stated?.codes ?? [UInt32](repeating: 0, count: rowCount)
        for request in view.requests {
            let standard = texts.number(request.currency)
            for row in request.firstRow..<request.firstRow + request.rowCount
            where codes[row] == 0 && values[row] != .min { codes[row] = standard }
        }
        return TextColumn(codes: codes, dictionary: texts)
    }

    /// What some values of a row say under a name: an event that has nothing else is read like any other.
    private func value(
        _ name: ColumnName, _ inputs: [(input: Input, code: UInt32)], _ type: EventType, _ decoder: EventDecoder
    ) throws -> String? {
        var members: [[UInt8]] = []
        var properties: [[UInt8]] = []
        for (input, code) in inputs {
            guard let raw = input.raw(code) else { throw BlockView.Failure.damaged }
            let isText = input.kind != .object && input.kind != .number && input.kind != .json
            let path = FieldNames.wirePath(of: input.field)
            let value = isText ? [0x22] + raw + [0x22] : raw
            let member = Array("\"\(path.name)\":".utf8) + value
            if path.isProperty { properties.append(member) } else { members.append(member) }
        }
        if !properties.isEmpty {
            members.append(Array("\"properties\":{".utf8) + properties.joined(separator: [0x2c]) + [0x7d])
        }
        if members.isEmpty, name != .name, name != .channel { return nil }
        members.append(Array("\"type\":\"\(type.name)\"".utf8))
        let text = [0x7b] + members.joined(separator: [0x2c]) + [0x7d]
        return decoder.detached(Array(text))?.text(name)
    }

    // MARK: members outside the contract

    private func free(_ name: ColumnName) throws -> TextColumn? {
        let columns = dictionary.columns.filter {
            name.path == $0.value.path || $0.value.kind == .json && name.path.hasPrefix($0.value.path + ".")
        }
        .filter { $0.key != 0 && $0.value.path != "" }.keys.sorted()
        let present = try columns.compactMap { column -> (UInt16, Values)? in try values(column).map { (column, $0) } }
        let shapes = try shapes()
        let hasWhole = shapes.contains(0)
        if !hasWhole, present.count == 1, dictionary.column(present[0].0)?.kind == .text,
            case .codes(let codes) = present[0].1
        {
            let texts = try dictionary.texts(present[0].0, of: catalog)
            if !texts.hasEscapes { return TextColumn(codes: try spread(present[0].0, codes), dictionary: texts) }
        }
        guard hasWhole || !present.isEmpty else { return nil }
        let isLocal = present.contains { if case .codes = $0.1 { false } else { true } }
        let known = isLocal ? DerivedTexts() : dictionary.derived(name)
        var codes = [UInt32](repeating: 0, count: rowCount)
        for (column, _) in present {
            guard let input = try input(column, .event).map({ try spread($0) }), let stored = dictionary.column(column)
            else { continue }
            for row in 0..<rowCount where input.codes[row] != 0 {
                let code = known.number([UInt32(column), input.codes[row]]) {
                    Self.text(input.raw(input.codes[row]) ?? [], stored, name)
                }
                if code != 0 { codes[row] = code }
            }
        }
        if hasWhole {
            let decoder = EventDecoder(secret: secret)
            for row in 0..<rowCount where shapes[row] == 0 {
                if let text = try storedEvent(row, decoder)?.text(name) { codes[row] = known.texts.number(text) }
            }
        }
        return codes.contains { $0 != 0 } ? TextColumn(codes: codes, dictionary: known.texts) : nil
    }

    private static func text(_ raw: [UInt8], _ column: StoredColumn, _ name: ColumnName) -> String? {
        if column.kind != .json, column.kind != .number { return EscapedText.decoded(raw) }
        return StoredEvent.text(member(raw, column, name))
    }

    /// What stands under a name in a value of a column.
    private static func member(_ raw: [UInt8], _ column: StoredColumn, _ name: ColumnName) -> JSONValue? {
        var value = try? raw.withUnsafeBufferPointer { try JSONReader.value($0) }
        for part in name.path.dropFirst(column.path.count).split(separator: ".") { value = value?[String(part)] }
        if case .null? = value { return nil }
        return value
    }

    private func fromEvents(_ name: ColumnName) throws -> TextColumn? {
        let texts = GrowingTexts()
        let decoder = EventDecoder(secret: secret)
        let codes = try (0..<rowCount).map { row -> UInt32 in
            try storedEvent(row, decoder)?.text(name).map { texts.number($0) } ?? 0
        }
        return codes.contains { $0 != 0 } ? TextColumn(codes: codes, dictionary: texts) : nil
    }

    // MARK: numbers, money, persons

    func numbers(_ name: ColumnName) throws -> [Double]? {
        if name.path == "value" {
            return try values()?.map { $0 == .min ? .nan : Double($0) / 1_000_000 }
        }
        let shapes = try shapes()
        guard case .free = Self.recipe(name), !shapes.contains(0) else { return try numbersOfEvents(name) }
        let columns = dictionary.columns.filter { $0.value.path == name.path && $0.value.kind == .number }.keys
        var numbers = [Double](repeating: .nan, count: rowCount)
        var hasAny = false
        for column in columns {
            guard case .numbers(let values, let fractions)? = try values(column) else { continue }
            let rank = try rank(column)
            for row in 0..<rowCount where rank[row] >= 0 {
                let place = Int(rank[row])
                numbers[row] = Double(values[place]) / Self.tens[Int(fractions[place])]
                hasAny = true
            }
        }
        if try addMembers(name, to: &numbers) { hasAny = true }
        return hasAny ? numbers : nil
    }

    /// Numbers inside values that are kept as JSON.
    private func addMembers(_ name: ColumnName, to numbers: inout [Double]) throws -> Bool {
        var hasAny = false
        let around = dictionary.columns.filter { $0.value.kind == .json && name.path.hasPrefix($0.value.path + ".") }
        for (column, stored) in around {
            guard let input = try input(column, .event).map({ try spread($0) }) else { continue }
            var known: [UInt32: Double] = [:]
            for row in 0..<rowCount where input.codes[row] != 0 {
                let code = input.codes[row]
                let number = known[code] ?? Self.member(input.raw(code) ?? [], stored, name)?.double ?? .nan
                known[code] = number
                guard !number.isNaN else { continue }
                numbers[row] = number
                hasAny = true
            }
        }
        return hasAny
    }

    private static let tens: [Double] = (0..<20).map { exponent in
        (0..<exponent).reduce(1.0) { power, _ in power * 10 }
    }

    private func numbersOfEvents(_ name: ColumnName) throws -> [Double]? {
        let decoder = EventDecoder(secret: secret)
        let numbers = try (0..<rowCount).map { try storedEvent($0, decoder)?.number(name) ?? .nan }
        return numbers.contains { !$0.isNaN } ? numbers : nil
    }

    func values() throws -> [Int64]? {
        if let known = money { return known }
        let values = try readValues()
        keep(money: values)
        return values
    }

    private func readValues() throws -> [Int64]? {
        let fields: [EventField] = [.value, .propertyRevenue, .propertyValue, .propertyTotal]
        let (columns, hasWhole) = try feeding(fields)
        guard !columns.isEmpty || hasWhole else { return nil }
        var values = [Int64](repeating: .min, count: rowCount)
        // Later fields first, so that the first one that has a value wins.
        func field(_ column: UInt16) -> UInt8 { shapeIndex.field(of: column)?.rawValue ?? 0 }
        for column in columns.sorted(by: { field($0) > field($1) }) { try add(column, to: &values) }
        if hasWhole {
            let decoder = EventDecoder(secret: secret)
            for (row, shape) in try shapes().enumerated() where shape == 0 {
                values[row] = try storedEvent(row, decoder)?.value?.value ?? .min
            }
        }
        return values.contains { $0 != .min } ? values : nil
    }

    private func add(_ column: UInt16, to values: inout [Int64]) throws {
        let rank = try rank(column)
        switch try self.values(column) {
        case .numbers(let numbers, let fractions)?:
            for row in 0..<rowCount where rank[row] >= 0 {
                let place = Int(rank[row])
                guard let millionths = Self.millionths(numbers[place], Int(fractions[place])) else { continue }
                values[row] = millionths
            }
        case .codes?, .plain?:
            guard let input = try input(column, .value).map({ try spread($0) }) else { return }
            for row in 0..<rowCount where input.codes[row] != 0 {
                let text = Array(EscapedText.decoded(input.raw(input.codes[row]) ?? []).utf8)
                let value = text.withUnsafeBufferPointer { text in
                    text.baseAddress.flatMap { DecimalText.millionths($0, text.count) }
                }
                if let value { values[row] = value }
            }
        default: return
        }
    }

    private static func millionths(_ number: Int64, _ fraction: Int) -> Int64? {
        var value = number
        if fraction <= 6 {
            for _ in fraction..<6 {
                let (product, isOver) = value.multipliedReportingOverflow(by: 10)
                guard !isOver else { return nil }
                value = product
            }
            return value
        }
        for _ in 6..<fraction {
            guard value % 10 == 0 else { return nil }
            value /= 10
        }
        return value
    }

    func persons(org: String) throws -> PersonColumn {
        let table = dictionary.persons(org)
        let keys = secret.keys(org: org, app: "")
        let order: [(ColumnName, PersonIdentifier.Namespace)] = [
            (ColumnName("click_id"), .click), (ColumnName("anonymous_id"), .anonymous),
            (ColumnName("device_id"), .device), (ColumnName("user_id"), .user),
        ]
        var codes = [UInt32](repeating: 0, count: rowCount)
        var missing = true
        for (name, namespace) in order.reversed() {
            guard missing, let column = try text(name) else { continue }
            missing = false
            let isLasting =
                column.dictionary is StoredTexts || column.dictionary.id == dictionary.derived(name).texts.id
            let persons = table.codes(column, isLasting ? namespace : nil) { text in
                keys.person(PersonIdentifier(namespace, text)).high
            }
            // Who was found first stays.
            var least = UInt32.max
            codes.withUnsafeMutableBufferPointer { codes in
                persons.withUnsafeBufferPointer { persons in
                    for row in 0..<min(codes.count, persons.count) {
                        codes[row] = codes[row] == 0 ? persons[row] : codes[row]
                        least = min(least, codes[row])
                    }
                }
            }
            missing = least == 0
        }
        return PersonColumn(codes: codes, keys: table.keys, id: table.id)
    }
}
