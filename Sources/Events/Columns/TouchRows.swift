internal import AurumCore

/// What attribution wants of some rows of a block beside its columns: one element a row, in the order that was asked.
package struct TouchRows: Sendable {
    /// The person before any merge, as in `PersonColumn.keys`; 0 for a row that names nobody.
    package var persons: [UInt64]
    /// `TouchKind` of rows that carry their origin: clicks, impressions, and pages, screens and opens with a click id,
    /// a campaign or a foreign referrer; 0 for all others.
    package var kinds: [UInt8]
    /// A keyed hash of the click id, given by itself or in the URL; 0 without one.
    package var clicks: [UInt64]
    /// The first eight bytes of the event id as a number: orders events of one moment. Ids written as a UUID or as 32
    /// hexadecimal digits count as their 16 bytes.
    package var orders: [UInt64]
    /// The next two bytes of a 16-byte id; of any other id a hash, so that ids that begin alike have an order too.
    package var tails: [UInt16]

    init(count: Int) {
        persons = [UInt64](repeating: 0, count: count)
        (kinds, clicks, orders) = ([UInt8](repeating: 0, count: count), persons, persons)
        tails = [UInt16](repeating: 0, count: count)
    }

    /// What orders events by a text of an id that is not 16 bytes.
    package static func order(_ id: some Collection<UInt8>) -> (order: UInt64, tail: UInt16) {
        var (order, count): (UInt64, UInt64) = (0, 0)
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in id {
            if count < 8 { order |= UInt64(byte) &<< (56 &- 8 &* count) }
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
            count &+= 1
        }
        return (order, UInt16(truncatingIfNeeded: hash ^ hash &>> 32 ^ hash &>> 16))
    }
}

/// The touchpoint candidates of a block, and where each row's stands among them.
struct TouchTable: Sendable {
    let bytes: [UInt8]
    /// By row; -1 for rows that are none. Empty where no row is.
    let places: [Int32]

    init(bytes: [UInt8], rowCount: Int) {
        self.bytes = bytes
        var places = [Int32](repeating: -1, count: bytes.isEmpty ? 0 : rowCount)
        bytes.withUnsafeBytes { raw in
            for place in 0..<raw.count / TouchLayout.byteCount {
                let row = raw.loadUnaligned(fromByteOffset: place * TouchLayout.byteCount, as: UInt32.self)
                if Int(row) < rowCount { places[Int(row)] = Int32(truncatingIfNeeded: place) }
            }
        }
        self.places = places
    }
}

extension ColumnBlock {
    /// - Parameters:
    ///   - rows: of this block, ascending, all of them of the organisation.
    ///   - isOrdered: whether `orders` and `tails` are wanted; without it they say nothing.
    package func touchRows(_ rows: [UInt32], org: String, isOrdered: Bool = true) throws -> TouchRows {
        if let block = (self as? MemoBlock)?.inner as? DecodedBlock ?? self as? DecodedBlock {
            return try block.storedTouchRows(rows, org: org, isOrdered: isOrdered)
        }
        return try columnTouchRows(rows, org: org)
    }

    /// The same for blocks that have nothing but columns.
    private func columnTouchRows(_ rows: [UInt32], org: String) throws -> TouchRows {
        var found = TouchRows(count: rows.count)
        let types = try types()
        let people = try persons(org: org)
        let (ids, clicks) = (try text(ColumnName("id")), try text(ColumnName("click_id")))
        let channels = try text(.channel)
        for (place, number) in rows.enumerated() {
            let row = Int(number)
            found.persons[place] = people.codes[row] == 0 ? 0 : people.keys[Int(people.codes[row])]
            if let ids, ids.codes[row] != 0 {
                let order = TouchRows.order(ids.dictionary.text(ids.codes[row]).utf8)
                (found.orders[place], found.tails[place]) = (order.order, order.tail)
            }
            if let clicks, clicks.codes[row] != 0 {
                let (order, tail) = TouchRows.order(clicks.dictionary.text(clicks.codes[row]).utf8)
                found.clicks[place] = max(1, order ^ UInt64(tail))
            }
            switch EventType(rawValue: types[row]) {
            case .click: found.kinds[place] = TouchKind.click.rawValue
            case .impression: found.kinds[place] = TouchKind.impression.rawValue
            case .page, .screen, .open:
                let channel = channels.map { $0.codes[row] == 0 ? "" : $0.dictionary.text($0.codes[row]) } ?? ""
                if channel != "", channel != Channel.direct.rawValue {
                    found.kinds[place] = TouchKind.visit.rawValue
                }
            default: break
            }
        }
        return found
    }
}

extension DecodedBlock {
    /// Touchpoints from the block's own table; persons and ids of these rows alone, so that the texts of all others are
    /// not looked at.
    fileprivate func storedTouchRows(_ rows: [UInt32], org: String, isOrdered: Bool) throws -> TouchRows {
        var found = TouchRows(count: rows.count)
        guard !rows.isEmpty else { return found }
        try addTable(rows, &found)
        try addPersons(rows, org, &found)
        try addClicks(rows, org, &found)
        if isOrdered { try addOrders(rows, &found) }
        return found
    }

    private func addTable(_ rows: [UInt32], _ found: inout TouchRows) throws {
        let table = try touchTable()
        let places = table.places
        guard !places.isEmpty else { return }
        table.bytes.withUnsafeBytes { raw in
            for (index, row) in rows.enumerated() where Int(row) < places.count && places[Int(row)] >= 0 {
                guard let start = raw.baseAddress,
                    let touch = TouchView(start + Int(places[Int(row)]) * TouchLayout.byteCount)
                else { continue }
                let (anonymous, user, device, click) = touch.persons
                found.kinds[index] = touch.kind.rawValue
                found.clicks[index] = click
                found.persons[index] = user != 0 ? user : device != 0 ? device : anonymous != 0 ? anonymous : click
            }
        }
    }

    // MARK: persons

    /// Persons of rows outside the table: from their own identifiers where these stand in columns of their own, from
    /// the persons of the whole block elsewhere.
    private func addPersons(_ rows: [UInt32], _ org: String, _ found: inout TouchRows) throws {
        let missing = rows.indices.filter { found.persons[$0] == 0 }
        guard !missing.isEmpty else { return }
        let keys = secret.keys(org: org, app: "")
        let contexts = try feeding([.context]).columns
        var rest: [Int] = []
        let sources: [(field: EventField, namespace: PersonIdentifier.Namespace)] = [
            (.userID, .user), (.deviceID, .device), (.anonymousID, .anonymous),
        ]
        let columns = try sources.map { try feeding([$0.field]) }
        if columns.contains(where: \.hasWhole) {
            rest = missing
        } else {
            for index in missing {
                let row = Int(rows[index])
                var isKnown = false
                for (source, field) in zip(sources, columns) where !isKnown {
                    // Without a user the device may stand in the context, which only the whole block's way reads.
                    if source.field == .deviceID, !contexts.isEmpty { break }
                    guard let text = try identifier(row, field.columns), !text.isEmpty else { continue }
                    found.persons[index] = keys.person(PersonIdentifier(source.namespace, text)).high
                    isKnown = true
                }
                if !isKnown { rest.append(index) }
            }
        }
        guard !rest.isEmpty else { return }
        let people = try persons(org: org)
        for index in rest {
            let code = people.codes[Int(rows[index])]
            if code != 0 { found.persons[index] = people.keys[Int(code)] }
        }
    }

    /// The text that a row has in the first of these columns that it fills.
    private func identifier(_ row: Int, _ columns: [UInt16]) throws -> String? {
        for column in columns {
            guard let kind = dictionary.column(column)?.kind, try rank(column)[row] >= 0 else { continue }
            var bytes: [UInt8] = []
            try append(column, kind, row, to: &bytes)
            return EscapedText.decoded(bytes)
        }
        return nil
    }

    // MARK: click ids of URLs

    private func addClicks(_ rows: [UInt32], _ org: String, _ found: inout TouchRows) throws {
        let missing = rows.indices.filter { found.kinds[$0] != 0 && found.clicks[$0] == 0 }
        let places = try feeding([.url, .propertyURL, .context])
        guard !missing.isEmpty, !places.columns.isEmpty || places.hasWhole,
            let urls = try text(ColumnName("url"))
        else { return }
        let keys = secret.keys(org: org, app: "")
        var known: [UInt32: UInt64] = [:]
        for index in missing {
            let code = urls.codes[Int(rows[index])]
            guard code != 0 else { continue }
            if let click = known[code] {
                found.clicks[index] = click
                continue
            }
            let click = Self.click(urls.dictionary.text(code)).map {
                keys.person(PersonIdentifier(.click, $0)).high
            }
            known[code] = click ?? 0
            found.clicks[index] = click ?? 0
        }
    }

    /// The first click id among the parameters of a URL.
    private static func click(_ url: String) -> String? {
        guard url.utf8.contains(0x3f) else { return nil }
        for (name, value) in AdvertisingFacts.parameters(url) where !value.isEmpty {
            if AdvertisingLink.clickIDs.contains(where: { "\($0.parameter)" == name }) { return value }
        }
        return nil
    }

    // MARK: order

    private struct IDColumn {
        var column: UInt16
        var values: Values
        var rank: [Int32]
        /// nil for ids of 16 bytes.
        var texts: StoredTexts?
    }

    private func addOrders(_ rows: [UInt32], _ found: inout TouchRows) throws {
        let (flags, shapes) = (try flags(), try shapes())
        var columns: [IDColumn] = []
        var ofShape = [Int](repeating: -2, count: max(1, storedShapes.count))
        let made = BlockContent.Flag.serverID | BlockContent.Flag.derivedID
        for (index, number) in rows.enumerated() {
            let (row, shape) = (Int(number), Int(shapes[Int(number)]))
            guard flags[row] & made == 0, shape < ofShape.count else {
                try addSlowly(row, index, &found)
                continue
            }
            if ofShape[shape] == -2 { ofShape[shape] = try idColumn(shape, &columns) }
            guard ofShape[shape] >= 0 else {
                try addSlowly(row, index, &found)
                continue
            }
            let place = Int(columns[ofShape[shape]].rank[row])
            switch columns[ofShape[shape]].values {
            case .identifiers(let words) where place >= 0 && place * 2 + 1 < words.count:
                found.orders[index] = words[place * 2].byteSwapped
                found.tails[index] = UInt16(truncatingIfNeeded: words[place * 2 + 1].byteSwapped &>> 48)
            case .codes(let codes) where place >= 0 && place < codes.count:
                let order = TouchRows.order(columns[ofShape[shape]].texts?.raw(codes[place]) ?? [])
                (found.orders[index], found.tails[index]) = (order.order, order.tail)
            default: try addSlowly(row, index, &found)
            }
        }
    }

    /// The number of a shape's column of ids in `columns`, -1 where it has none to read from.
    private func idColumn(_ shape: Int, _ columns: inout [IDColumn]) throws -> Int {
        let pieces = storedShapes.indices.contains(shape) ? storedShapes[shape]?.pieces ?? [] : []
        guard let column = pieces.first(where: { $0.field == EventField.id.rawValue })?.column,
            let kind = dictionary.column(column)?.kind, let values = try values(column)
        else { return -1 }
        if let known = columns.firstIndex(where: { $0.column == column }) { return known }
        switch values {
        case .identifiers where kind == .uuid || kind == .hex:
            columns.append(IDColumn(column: column, values: values, rank: try rank(column), texts: nil))
        case .codes where kind == .text:
            let texts = try dictionary.texts(column, of: catalog)
            columns.append(IDColumn(column: column, values: values, rank: try rank(column), texts: texts))
        default: return -1
        }
        return columns.count - 1
    }

    /// From the whole event: ids that Aurum gave, and those of events that are like no other.
    private func addSlowly(_ row: Int, _ index: Int, _ found: inout TouchRows) throws {
        guard let id = try identifier(row) else { return }
        let order = TouchRows.order(id.utf8)
        (found.orders[index], found.tails[index]) = (order.order, order.tail)
    }
}
