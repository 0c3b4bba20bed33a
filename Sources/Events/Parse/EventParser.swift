/// Reads one event in a single pass over its bytes: no object, string or allocation an event.
///
/// After `parse` the slots say where each field of the contract stands in the text; the text itself is never changed.
/// The text must end in a control byte followed by `ByteScan.padding` readable bytes. Not thread-safe: one parser a
/// shard. Values keep their JSON escapes; `decoded` resolves them when somebody asks.
struct EventParser {
    /// Whether line ends are white space (JSON documents) or end the event (NDJSON).
    var newlineIsSpace = false
    /// The first violation of the contract, in the order of the text.
    var reason = QuarantineReason.none
    var field = EventField.event

    /// Which fields hold a value, and which were named at all (`null` counts): bit = raw value, in two words.
    var present: (UInt64, UInt64) = (0, 0)
    var seen: (UInt64, UInt64) = (0, 0)
    var type = 0
    var timestamp: Int64 = 0
    var sentAt: Int64 = 0
    var originalTimestamp: Int64 = 0
    var value: Int64 = 0
    var traceID: (high: UInt64, low: UInt64) = (0, 0)
    /// When it happened by our clock: `ts` after the correction by `sent_at`. Set by `conclude`.
    var moment: Int64 = 0
    var isShifted = false

    let slots: UnsafeMutablePointer<ByteSlice>
    /// Guesses for the event itself, its `properties` and its `context`.
    let guesses: UnsafeMutablePointer<KeyGuess>
    static let topGuesses = 0
    static let propertyGuesses = KeyGuess.guessesPerTable
    static let contextGuesses = 2 * KeyGuess.guessesPerTable
    let limits: UnsafeMutablePointer<UInt32>
    let scratch: UnsafeMutablePointer<UInt8>
    /// Shared by all parsers and never freed; a pointer, so that a parser stays small.
    private let tables = ContractKeys.shared
    var keys: ContractKeys { @inline(__always) get { tables.pointee } }
    var base: UnsafePointer<UInt8>
    var cursor: UnsafePointer<UInt8>
    var minutes = MinuteMemo()

    static let slotCount = 128
    /// Room for one decoded string: the longest event plus padding.
    static let scratchBytes = (32 << 10) + ByteScan.padding

    init() {
        slots = .allocate(capacity: Self.slotCount)
        slots.initialize(repeating: .empty, count: Self.slotCount)
        guesses = .allocate(capacity: 3 * KeyGuess.guessesPerTable)
        guesses.initialize(repeating: KeyGuess(), count: 3 * KeyGuess.guessesPerTable)
        limits = StringLimits.table()
        scratch = .allocate(capacity: Self.scratchBytes)
        scratch.initialize(repeating: 0, count: Self.scratchBytes)
        base = UnsafePointer(scratch)
        cursor = base
    }

    /// The owner's duty: the parser is a plain value and does not free itself.
    func deallocate() {
        slots.deallocate()
        guesses.deallocate()
        limits.deallocate()
        scratch.deallocate()
    }

    /// Parses the object that starts at `start` (after optional white space).
    ///
    /// - Returns: the byte behind the closing brace, or nil after a violation (see `reason` and `field`).
    @inline(__always)
    mutating func parse(_ start: UnsafePointer<UInt8>, base: UnsafePointer<UInt8>) -> UnsafePointer<UInt8>? {
        self.base = base
        cursor = start
        reason = .none
        field = .event
        present = (0, 0)
        seen = (0, 0)
        skipSpace()
        var state = openObject()
        var place = KeyGuess.first
        while state == .member {
            guard topLevelMember(&place) else { return nil }
            state = nextMember()
        }
        guard state == .end else {
            _ = fail(.notJSON, .event)
            return nil
        }
        return cursor
    }

    @inline(__always)
    mutating func fail(_ reason: QuarantineReason, _ field: EventField) -> Bool {
        self.reason = reason
        self.field = field
        return false
    }

    @inline(never)
    mutating func fail(_ reason: QuarantineReason, code: Int) -> Bool {
        fail(reason, EventField(rawValue: UInt8(truncatingIfNeeded: code)) ?? .event)
    }

    @inline(__always)
    func has(_ field: EventField) -> Bool {
        field.rawValue < 64
            ? present.0 & (1 &<< UInt64(field.rawValue)) != 0 : present.1 & (1 &<< UInt64(field.rawValue &- 64)) != 0
    }

    /// In `present`, where no field has a number that high: the event has members that hold traits under another name.
    private static let personalBit: UInt64 = 1 &<< 63

    /// Whether members that are no fields hold personal facts; see `EventRewrite.personalMembers`.
    @inline(__always)
    var hasPersonalMembers: Bool { present.0 & Self.personalBit != 0 }

    @inline(__always)
    func slice(_ field: EventField) -> ByteSlice { slots[Int(field.rawValue)] }

    @inline(__always)
    mutating func keep(_ code: Int, _ slice: ByteSlice) {
        slots[code] = slice
        if code < 64 { present.0 |= 1 &<< UInt64(code) } else { present.1 |= 1 &<< UInt64(code &- 64) }
    }

    @inline(__always)
    mutating func drop(_ code: Int) {
        if code < 64 { present.0 &= ~(1 &<< UInt64(code)) } else { present.1 &= ~(1 &<< UInt64(code &- 64)) }
    }

    /// Marks a contract field as named; false when it was named before.
    @inline(__always)
    mutating func see(_ code: Int) -> Bool {
        if code < 64 {
            let bit: UInt64 = 1 &<< UInt64(code)
            if seen.0 & bit != 0 { return fail(.duplicateKey, code: code) }
            seen.0 |= bit
        } else {
            let bit: UInt64 = 1 &<< UInt64(code &- 64)
            if seen.1 & bit != 0 { return fail(.duplicateKey, code: code) }
            seen.1 |= bit
        }
        return true
    }

    // MARK: members of the event

    /// One member of the event; the cursor stands behind the opening quote of its name.
    @inline(__always)
    private mutating func topLevelMember(_ place: inout Int) -> Bool {
        let code = key(keys.top, guesses + (Self.topGuesses &+ place))
        place = KeyGuess.place(behind: code)
        guard code != KeyScan.failed, colon() else { return false }
        guard code != KeyTable.unknown else { return skipValue(level: 1, .event) }
        if code >= ContractKeys.Code.segmentProperties {
            if code == ContractKeys.Code.personal {
                present.0 |= Self.personalBit
                return skipValue(level: 1, .event)
            }
            guard see(Int(EventField.props.rawValue)) else { return false }
            return propertiesObject()
        }
        guard see(code) else { return false }
        if limits[code] != 0 { return stringField(code) }
        return structuredField(EventField(rawValue: UInt8(truncatingIfNeeded: code)) ?? .event)
    }

    /// A field that is no plain string.
    private mutating func structuredField(_ field: EventField) -> Bool {
        if isNull() { return true }
        switch field {
        case .type: return typeField()
        case .timestamp: return timeField(.timestamp)
        case .sentAt: return timeField(.sentAt)
        case .originalTimestamp: return timeField(.originalTimestamp)
        case .referralClickedAt, .installBeganAt:
            var unused: Int64 = 0
            return time(field, &unused)
        case .value: return moneyField()
        case .currency: return currencyField(.currency)
        case .quantity: return quantityField()
        case .traceID: return traceField()
        case .props, .traits: return objectField(field)
        case .context: return contextObject()
        case .campaign: return strictObject(.campaign, keys.campaign)
        case .consent: return strictObject(.consent, keys.consent)
        default: return skipValue(level: 1, field)
        }
    }

    @inline(__always)
    private mutating func timeField(_ field: EventField) -> Bool {
        var moment: Int64 = 0
        guard time(field, &moment) else { return false }
        switch field {
        case .timestamp: timestamp = moment
        case .sentAt: sentAt = moment
        default: originalTimestamp = moment
        }
        return true
    }

    /// A string of limited length, or null.
    @inline(__always)
    mutating func stringField(_ code: Int) -> Bool {
        if cursor.pointee == 0x22 {
            cursor += 1
            var text = ByteSlice.empty
            guard string(&text, code) else { return false }
            if text.count > Int(limits[code]), !fits(text, Int(limits[code])) { return fail(.tooLong, code: code) }
            keep(code, text)
            return true
        }
        return isNull() || wrongType(code)
    }

    @inline(never)
    mutating func wrongType(_ code: Int) -> Bool {
        fail(.badType, code: code)
    }

    private mutating func typeField() -> Bool {
        guard cursor.pointee == 0x22 else { return fail(.badType, .type) }
        cursor += 1
        var text = ByteSlice.empty
        guard string(&text, Int(EventField.type.rawValue)) else { return false }
        let (bytes, count) = decoded(text)
        type = count < 16 ? keys.types.code(padded: bytes, count) : KeyTable.unknown
        guard type != KeyTable.unknown else { return fail(.unknownType, .type) }
        keep(Int(EventField.type.rawValue), text)
        return true
    }

    private mutating func currencyField(_ field: EventField) -> Bool {
        guard cursor.pointee == 0x22 else { return fail(.badType, field) }
        cursor += 1
        var text = ByteSlice.empty
        guard string(&text, Int(field.rawValue)) else { return false }
        guard isCurrency(text) else { return fail(.badMoney, field) }
        keep(Int(field.rawValue), text)
        return true
    }

    /// Three ASCII letters.
    func isCurrency(_ text: ByteSlice) -> Bool {
        guard !text.hasEscapes, text.count == 3 else { return false }
        for index in 0..<3 {
            guard (base[text.start + index] | 0x20) &- 0x61 < 26 else { return false }
        }
        return true
    }

    /// 16 bytes as 32 hex digits, or as the 36 characters of a UUID.
    private mutating func traceField() -> Bool {
        guard cursor.pointee == 0x22 else { return fail(.badType, .traceID) }
        cursor += 1
        var text = ByteSlice.empty
        guard string(&text, Int(EventField.traceID.rawValue)) else { return false }
        let (bytes, count) = decoded(text)
        guard let identifier = HexText.identifier(bytes, count) else { return fail(.badType, .traceID) }
        traceID = identifier
        keep(Int(EventField.traceID.rawValue), text)
        return true
    }
}

/// Sixteen bytes written in hex.
enum HexText {
    /// Reads 32 hex digits, or 36 characters with hyphens where a UUID has them. Reads exactly `count` bytes.
    static func identifier(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> (high: UInt64, low: UInt64)? {
        guard count == 32 || count == 36 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        var digits = 0
        for index in 0..<count {
            if count == 36, index == 8 || index == 13 || index == 18 || index == 23 {
                guard bytes[index] == 0x2d else { return nil }
                continue
            }
            guard let digit = digit(bytes[index]) else { return nil }
            if digits < 16 { words.0 = words.0 << 4 | digit } else { words.1 = words.1 << 4 | digit }
            digits += 1
        }
        return words
    }

    @inline(__always)
    static func digit(_ byte: UInt8) -> UInt64? {
        let decimal = byte &- 0x30
        if decimal < 10 { return UInt64(decimal) }
        let letter = (byte | 0x20) &- 0x61
        return letter < 6 ? UInt64(letter) + 10 : nil
    }
}

/// Longest string of each field in bytes; zero where the field is no plain string.
enum StringLimits {
    static func table() -> UnsafeMutablePointer<UInt32> {
        let table = UnsafeMutablePointer<UInt32>.allocate(capacity: EventParser.slotCount)
        table.initialize(repeating: 0, count: EventParser.slotCount)
        for field in EventField.allCases where field != .event { table[Int(field.rawValue)] = limit(field) }
        return table
    }

    static func limit(_ field: EventField) -> UInt32 {
        switch field {
        case .id, .name, .anonymousID, .userID, .deviceID, .sessionID, .clickID, .orderID, .leadID, .groupID,
            .previousID, .contextDeviceID, .propertyOrderID:
            200
        case .advertisingID, .vendorID, .contextAdvertisingID: 64
        case .installReferrer, .tcf: 2048
        case .url, .referrer, .pageURL, .pageReferrer, .propertyURL, .propertyReferrer: 4096
        case .title, .screen, .pageTitle, .propertyTitle: 512
        case .campaignID, .campaignName, .campaignSource, .campaignMedium, .campaignTerm, .campaignContent,
            .campaignNetwork, .adGroupID, .creativeID, .placementID, .keyword, .publisherID, .contextCampaignID,
            .contextCampaignName, .contextCampaignSource, .contextCampaignMedium, .contextCampaignTerm,
            .contextCampaignContent, .contextChannel:
            200
        case .ip, .userAgent, .locale, .timezone, .os, .osVersion, .appVersion, .appBuild, .deviceModel, .deviceMaker,
            .library, .libraryVersion:
            UInt32(ContractLimits.stringBytesMax)
        default: 0
        }
    }
}
