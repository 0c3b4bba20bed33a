internal import AurumCore

/// Makes the text that the log keeps of one event: personal fields sealed, identifiers that are an e-mail address or a
/// telephone number hashed, network addresses cut, and, where analytics is denied, nothing left that says who it was.
///
/// A value for one event that the parser has accepted. Works on the text by the places that the parser found; what is
/// not personal stays byte for byte.
struct EventRewrite {
    let raw: UnsafeBufferPointer<UInt8>
    /// What the places of the parser's slots are larger by than places in `raw`.
    let shift: Int
    let org: String
    let keys: PersonalKeys
    let sealer: any PersonalFieldSealer
    /// Days since 1970 of the receipt.
    let day: Int
    var edits = EventEdits()

    /// Bytes of one sealed string: a longer one is kept in parts, since strings of the contract end at 8,192 bytes.
    private static let partBytes = 8000
    /// Members that are containers of traits.
    private static let traitObjects: Set<String> = [
        "traits", "traits_set", "traits_once", "$set", "$set_once", "$group_set",
    ]
    /// Containers of which every member is personal, as Google's `user_data`: they are sealed whole.
    private static let sealedObjects: Set<String> = ["user_data"]
    /// Members of an event, beside its fields, that may hold personal facts whatever its type.
    static let personalMembers = traitObjects.subtracting(["traits"]).union(sealedObjects).sorted()

    /// Identifiers that may name a person outside the app.
    static let identifiers: [EventField] = [
        .userID, .anonymousID, .deviceID, .previousID, .groupID, .sessionID, .leadID, .contextDeviceID,
    ]
    /// Those that are hashed only when they are an e-mail address: numbers are usual there.
    static let references: [EventField] = [.id, .clickID, .orderID]

    // MARK: what every event gets

    /// Seals, hashes and cuts.
    mutating func makePrivate(_ parser: inout EventParser) {
        for field in Self.identifiers + Self.references where parser.has(field) { hashIdentifier(&parser, field) }
        if parser.has(.ip) { cutAddress(text(&parser, .ip), quoted(parser.slice(.ip))) }
        if parser.has(.traits) || parser.has(.contextTraits) || parser.has(.props) || parser.hasPersonalMembers
            || parser.type == Int(EventType.identify.rawValue) || parser.type == Int(EventType.group.rawValue)
        {
            sealFields(&parser)
        }
    }

    private mutating func sealFields(_ parser: inout EventParser) {
        let person = person(&parser)
        if parser.has(.traits) { sealTraits(range(parser.slice(.traits)), person) }
        if parser.has(.contextTraits) { sealTraits(range(parser.slice(.contextTraits)), person) }
        for member in JSONPlaces.members(raw, 0..<raw.count) where member.name != "traits" {
            if Self.traitObjects.contains(member.name) { sealTraits(member.value, person) }
            if Self.sealedObjects.contains(member.name) { seal(member, person) }
        }
        guard parser.has(.props) else { return }
        for member in JSONPlaces.members(raw, range(parser.slice(.props))) {
            if keys.holdsOwn(member.name) || Self.sealedObjects.contains(member.name) {
                seal(member, person)
            } else if Self.traitObjects.contains(member.name) {
                // PostHog's clients repeat traits and the address among the properties.
                sealTraits(member.value, person)
            } else if member.name == "$ip", raw[member.value.lowerBound] == 0x22 {
                cutAddress(JSONPlaces.string(raw, member.value), member.value)
            }
        }
    }

    /// Says whether there is anything to do, at the cost of a few comparisons.
    @inline(__always)
    static func isNeeded(_ parser: inout EventParser, _ keys: PersonalKeys) -> Bool {
        if parser.has(.traits) || parser.has(.ip) || parser.has(.contextTraits) { return true }
        if parser.hasPersonalMembers { return true }
        if parser.type == Int(EventType.identify.rawValue) || parser.type == Int(EventType.group.rawValue) {
            return true
        }
        if keys.hasOwn, parser.has(.props) { return true }
        if isPersonal(&parser, .userID) || isPersonal(&parser, .anonymousID) || isPersonal(&parser, .deviceID) {
            return true
        }
        return isNeededRarely(&parser)
    }

    private static let rareBits: UInt64 = [EventField.previousID, .groupID, .sessionID, .leadID]
        .reduce(0) { $0 | 1 << UInt64($1.rawValue) }

    @inline(__always)
    private static func isNeededRarely(_ parser: inout EventParser) -> Bool {
        if isEmail(&parser, .id) || isEmail(&parser, .clickID) || isEmail(&parser, .orderID) { return true }
        guard parser.present.0 & rareBits != 0 || parser.has(.contextDeviceID) else { return false }
        return isPersonal(&parser, .previousID) || isPersonal(&parser, .groupID) || isPersonal(&parser, .sessionID)
            || isPersonal(&parser, .leadID) || isPersonal(&parser, .contextDeviceID)
    }

    @inline(__always)
    private static func isEmail(_ parser: inout EventParser, _ field: EventField) -> Bool {
        guard parser.has(field) else { return false }
        let (bytes, count) = parser.decoded(parser.slice(field))
        return PersonalShape.hasAt(bytes, count) && PersonalShape.of(bytes, count) == .email
    }

    @inline(__always)
    private static func isPersonal(_ parser: inout EventParser, _ field: EventField) -> Bool {
        guard parser.has(field) else { return false }
        let (bytes, count) = parser.decoded(parser.slice(field))
        return PersonalShape.of(bytes, count) != nil
    }

    private mutating func hashIdentifier(_ parser: inout EventParser, _ field: EventField) {
        guard Self.isPersonal(&parser, field) else { return }
        let value = text(&parser, field)
        guard let hashed = Self.stored(value, org: org, sealer: sealer, isReference: Self.references.contains(field))
        else { return }
        edits.replace(quoted(parser.slice(field)), JSONValue.quoted(hashed))
    }

    /// The form in which the log keeps an identifier; nil when that is the identifier itself.
    static func stored(
        _ value: String, org: String, sealer: any PersonalFieldSealer, isReference: Bool = false
    ) -> String? {
        guard let shape = PersonalShape.of(value), !isReference || shape == .email else { return nil }
        return "h:" + sealer.lookupHash(PersonalCanonical.text(value), org: org)
    }

    private mutating func cutAddress(_ text: String, _ place: Range<Int>) {
        guard let cut = NetworkAddress.cut(text) else { return edits.remove(place) }
        let hash = sealer.addressHash(cut.address, org: org, day: day)
        edits.replace(place, "\(JSONValue.quoted(cut.network)),\"ip_hash\":\"\(hash)\"")
    }

    /// Seals the personal members of an object at any depth, and whatever is an e-mail address or telephone number.
    private mutating func sealTraits(_ range: Range<Int>, _ person: PersonIdentifier?) {
        switch raw[range.lowerBound] {
        case 0x7b:
            for member in JSONPlaces.members(raw, range) {
                let first = raw[member.value.lowerBound]
                if keys.holds(member.name) || (first == 0x22 && isShaped(member.value)) {
                    seal(member, person)
                } else if first == 0x7b || first == 0x5b {
                    sealTraits(member.value, person)
                }
            }
        case 0x5b:
            for element in JSONPlaces.elements(raw, range) { sealTraits(element, person) }
        case 0x22 where isShaped(range):
            let place = SealedPlace(org: org, field: "", person: person)
            edits.replace(range, parts(sealer.seal(Array(raw[range]), place)))
        default: break
        }
    }

    private func isShaped(_ range: Range<Int>) -> Bool {
        range.count > 4 && range.count < 400 && PersonalShape.of(JSONPlaces.string(raw, range)) != nil
    }

    /// Puts sealed text in the place of a value, and the hash by which it is found beside it.
    private mutating func seal(_ member: JSONMember, _ person: PersonIdentifier?) {
        let value = Array(raw[member.value])
        guard value != Array("null".utf8), value != Array("\"\"".utf8) else { return }
        let place = SealedPlace(org: org, field: PersonalKeys.plain(member.name), person: person)
        var text = parts(sealer.seal(value, place))
        if value[0] == 0x22, member.name.utf8.count <= 100 {
            let canonical = PersonalCanonical.text(JSONPlaces.string(raw, member.value))
            text += ",\(JSONValue.quoted(member.name + "_hash")):\"\(sealer.lookupHash(canonical, org: org))\""
        }
        edits.replace(member.value, text)
    }

    private func parts(_ text: String) -> String {
        guard text.utf8.count > Self.partBytes else { return "\"\(text)\"" }
        let bytes = Array(text.utf8)
        let parts = stride(from: 0, to: bytes.count, by: Self.partBytes).map {
            "\"" + String(decoding: bytes[$0..<min(bytes.count, $0 + Self.partBytes)], as: UTF8.self) + "\""
        }
        return "[" + parts.joined(separator: ",") + "]"
    }

    /// The first of user, device and anonymous identifier, as the log keeps it.
    private func person(_ parser: inout EventParser) -> PersonIdentifier? {
        let order: [(EventField, PersonIdentifier.Namespace)] = [
            (.userID, .user), (.deviceID, .device), (.anonymousID, .anonymous),
        ]
        for (field, namespace) in order where parser.isFilled(field) {
            let value = text(&parser, field)
            return PersonIdentifier(namespace, Self.stored(value, org: org, sealer: sealer) ?? value)
        }
        return nil
    }

    // MARK: places

    func range(_ slice: ByteSlice) -> Range<Int> { slice.start - shift..<slice.start - shift + slice.count }

    /// With the quotes around a string.
    func quoted(_ slice: ByteSlice) -> Range<Int> { slice.start - shift - 1..<slice.start - shift + slice.count + 1 }

    func text(_ parser: inout EventParser, _ field: EventField) -> String {
        let (bytes, count) = parser.decoded(parser.slice(field))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
