/// Values with a meaning of their own: times, money, objects.
extension EventParser {
    /// RFC 3339 text or whole milliseconds since 1970, as microseconds.
    @inline(__always)
    mutating func time(_ field: EventField, _ moment: inout Int64) -> Bool {
        let start = cursor
        if cursor.pointee == 0x22 {
            cursor += 1
            var text = ByteSlice.empty
            guard string(&text, Int(field.rawValue)) else { return false }
            let (bytes, count) = decoded(text)
            guard let parsed = minutes.microseconds(bytes, count) else { return fail(.badTimestamp, field) }
            moment = parsed
            keep(Int(field.rawValue), text)
            return true
        }
        guard cursor.pointee == 0x2d || cursor.pointee &- 0x30 < 10 else { return fail(.badType, field) }
        guard skipNumber() else { return fail(.notJSON, .event) }
        guard let milliseconds = DecimalText.integer(start, cursor - start, digitsMax: 15) else {
            return fail(.badTimestamp, field)
        }
        moment = milliseconds &* 1000
        keep(
            Int(field.rawValue),
            ByteSlice(
                offset: UInt32(truncatingIfNeeded: start - base),
                packedLength: UInt32(truncatingIfNeeded: cursor - start)))
        return true
    }

    /// `value`: a number or decimal text, exact in millionths.
    mutating func moneyField() -> Bool {
        let start = cursor
        if cursor.pointee == 0x22 {
            cursor += 1
            var text = ByteSlice.empty
            guard string(&text, Int(EventField.value.rawValue)) else { return false }
            let (bytes, count) = decoded(text)
            guard let millionths = DecimalText.millionths(bytes, count) else { return fail(.badMoney, .value) }
            value = millionths
            keep(Int(EventField.value.rawValue), text)
            return true
        }
        guard cursor.pointee == 0x2d || cursor.pointee &- 0x30 < 10 else { return fail(.badType, .value) }
        guard skipNumber() else { return fail(.notJSON, .event) }
        guard let millionths = DecimalText.millionths(start, cursor - start, exponent: true) else {
            return fail(.badMoney, .value)
        }
        value = millionths
        keep(
            Int(EventField.value.rawValue),
            ByteSlice(
                offset: UInt32(truncatingIfNeeded: start - base),
                packedLength: UInt32(truncatingIfNeeded: cursor - start)))
        return true
    }

    mutating func quantityField() -> Bool {
        integerField(.quantity, 0...1_000_000)
    }

    private mutating func integerField(_ field: EventField, _ range: ClosedRange<Int64>) -> Bool {
        let start = cursor
        guard cursor.pointee == 0x2d || cursor.pointee &- 0x30 < 10 else { return fail(.badType, field) }
        guard skipNumber() else { return fail(.notJSON, .event) }
        guard let number = DecimalText.integer(start, cursor - start, digitsMax: 9), range.contains(number) else {
            return fail(.badType, field)
        }
        keep(
            Int(field.rawValue),
            ByteSlice(
                offset: UInt32(truncatingIfNeeded: start - base),
                packedLength: UInt32(truncatingIfNeeded: cursor - start)))
        return true
    }

    /// `props` or `traits`: any object within the bounds.
    mutating func objectField(_ field: EventField) -> Bool {
        let start = cursor
        guard cursor.pointee == 0x7b else { return fail(.badType, field) }
        var names = 0
        guard skipObject(1, field, &names) else { return false }
        guard names <= ContractLimits.objectKeysMax else { return fail(.tooManyKeys, field) }
        keepFrom(start, Int(field.rawValue))
        return true
    }

    @inline(__always)
    func sliceFrom(_ start: UnsafePointer<UInt8>) -> ByteSlice {
        ByteSlice(
            offset: UInt32(truncatingIfNeeded: start - base), packedLength: UInt32(truncatingIfNeeded: cursor - start))
    }

    @inline(__always)
    mutating func keepFrom(_ start: UnsafePointer<UInt8>, _ code: Int) {
        keep(code, sliceFrom(start))
    }

    /// `properties` of a Segment-shaped event: like `props`, and some of its members stand for contract fields.
    @inline(__always)
    mutating func propertiesObject() -> Bool {
        let start = cursor
        guard cursor.pointee == 0x7b else { return isNull() || fail(.badType, .props) }
        var names = 0
        var state = openObject()
        var place = KeyGuess.first
        while state == .member {
            names &+= 1
            guard property(&place) else { return false }
            state = nextMember()
        }
        guard state == .end else { return fail(.notJSON, .event) }
        guard names <= ContractLimits.objectKeysMax else { return fail(.tooManyKeys, .props) }
        keepFrom(start, Int(EventField.props.rawValue))
        return true
    }

    @inline(__always)
    private mutating func property(_ place: inout Int) -> Bool {
        let code = key(keys.properties, guesses + (Self.propertyGuesses &+ place))
        place = KeyGuess.place(behind: code)
        guard code != KeyScan.failed else {
            if field == .event, reason != .notJSON { field = .props }
            return false
        }
        guard colon() else { return false }
        guard code != KeyTable.unknown else { return skipValue(level: 2, .props) }
        drop(code)
        let start = cursor
        if cursor.pointee == 0x22 {
            cursor += 1
            var text = ByteSlice.empty
            guard string(&text, Int(EventField.props.rawValue)) else { return false }
            if text.count > ContractLimits.stringBytesMax, !fits(text, ContractLimits.stringBytesMax) {
                return fail(.tooLong, .props)
            }
            let limit = Int(limits[code])
            if limit == 0 || text.count <= limit || fits(text, limit) { keep(code, text) }
            return true
        }
        let isNumber = cursor.pointee == 0x2d || cursor.pointee &- 0x30 < 10
        guard skipValue(level: 2, .props) else { return false }
        if isNumber { keepFrom(start, code) }
        return true
    }

    /// `campaign` or `consent`: known names are held to their types, others are kept.
    mutating func strictObject(_ owner: EventField, _ table: KeyTable) -> Bool {
        let start = cursor
        guard cursor.pointee == 0x7b else { return fail(.badType, owner) }
        var state = openObject()
        while state == .member {
            let code = key(table)
            guard code != KeyScan.failed else {
                if field == .event, reason != .notJSON { field = owner }
                return false
            }
            guard colon() else { return false }
            if code == KeyTable.unknown {
                guard skipValue(level: 2, owner) else { return false }
            } else {
                guard see(code) else { return false }
                if limits[code] != 0 {
                    guard stringField(code) else { return false }
                } else {
                    guard choiceField(EventField(rawValue: UInt8(truncatingIfNeeded: code)) ?? .event) else {
                        return false
                    }
                }
            }
            state = nextMember()
        }
        guard state == .end else { return fail(.notJSON, .event) }
        keepFrom(start, Int(owner.rawValue))
        return true
    }

    /// Fields with few allowed values.
    private mutating func choiceField(_ field: EventField) -> Bool {
        if isNull() { return true }
        switch field {
        case .gpc:
            let start = cursor
            if ByteScan.half(cursor) == 0x6575_7274 {
                cursor += 4
            } else if cursor.pointee == 0x66, ByteScan.half(cursor + 1) == 0x6573_6c61 {
                cursor += 5
            } else {
                return fail(.badType, field)
            }
            keepFrom(start, Int(field.rawValue))
            return true
        case .screenWidth, .screenHeight: return integerField(field, 0...999_999)
        case .platform: return wordField(field, ["ios", "android", "web", "server"], anyCase: true)
        default: return wordField(field, ["granted", "denied", "unknown"], anyCase: false)
        }
    }

    private mutating func wordField(_ field: EventField, _ words: [StaticString], anyCase: Bool) -> Bool {
        guard cursor.pointee == 0x22 else { return fail(.badType, field) }
        cursor += 1
        var text = ByteSlice.empty
        guard string(&text, Int(field.rawValue)) else { return false }
        let (bytes, count) = decoded(text)
        for word in words where word.utf8CodeUnitCount == count {
            var equal = true
            for index in 0..<count {
                let byte = bytes[index]
                let lowered = anyCase && byte &- 0x41 < 26 ? byte | 0x20 : byte
                equal = equal && lowered == word.utf8Start[index]
            }
            if equal {
                keep(Int(field.rawValue), text)
                return true
            }
        }
        return fail(.badType, field)
    }

    /// `context`: its own fields are held to their types; what only Segment-shaped events have is taken when it fits.
    mutating func contextObject() -> Bool {
        let start = cursor
        guard cursor.pointee == 0x7b else { return fail(.badType, .context) }
        var state = openObject()
        var place = KeyGuess.first
        while state == .member {
            guard contextMember(&place) else { return false }
            state = nextMember()
        }
        guard state == .end else { return fail(.notJSON, .event) }
        keepFrom(start, Int(EventField.context.rawValue))
        return true
    }

    @inline(__always)
    private mutating func contextMember(_ place: inout Int) -> Bool {
        let code = key(keys.context, guesses + (Self.contextGuesses &+ place))
        place = KeyGuess.place(behind: code)
        guard code != KeyScan.failed else {
            if field == .event, reason != .notJSON { field = .context }
            return false
        }
        guard colon() else { return false }
        guard code != KeyTable.unknown else { return skipValue(level: 2, .context) }
        if code >= 96 { return contextFallback(code) }
        if cursor.pointee == 0x7b {
            if code == Int(EventField.os.rawValue) { return see(code) && fallbackObject(keys.os) }
            if code == Int(EventField.library.rawValue) { return see(code) && fallbackObject(keys.library) }
        }
        guard see(code) else { return false }
        if limits[code] != 0 { return stringField(code) }
        return choiceField(EventField(rawValue: UInt8(truncatingIfNeeded: code)) ?? .event)
    }

    @inline(__always)
    private mutating func contextFallback(_ code: Int) -> Bool {
        switch code {
        case ContractKeys.Code.contextPage: return fallbackObject(keys.page)
        case ContractKeys.Code.contextCampaign: return fallbackObject(keys.contextCampaign)
        case ContractKeys.Code.contextDevice: return fallbackObject(keys.device)
        case ContractKeys.Code.contextApp: return fallbackObject(keys.app)
        case ContractKeys.Code.contextScreen: return fallbackObject(keys.screen)
        case ContractKeys.Code.contextTraits:
            let start = cursor
            let isObject = cursor.pointee == 0x7b
            guard skipValue(level: 2, .context) else { return false }
            if isObject { keepFrom(start, Int(EventField.contextTraits.rawValue)) }
            return true
        default: return fallbackValue(code)
        }
    }

    /// An object of `context` whose members stand in for contract fields; anything else is stepped over.
    private mutating func fallbackObject(_ table: KeyTable) -> Bool {
        guard cursor.pointee == 0x7b else { return skipValue(level: 2, .context) }
        var state = openObject()
        while state == .member {
            let code = key(table)
            guard code != KeyScan.failed else {
                if field == .event, reason != .notJSON { field = .context }
                return false
            }
            guard colon() else { return false }
            if code == KeyTable.unknown {
                guard skipValue(level: 3, .context) else { return false }
            } else {
                guard fallbackValue(code) else { return false }
            }
            state = nextMember()
        }
        return state == .end || fail(.notJSON, .event)
    }

    /// Takes a string that fits, or an integer for the screen, unless the event says it itself.
    @inline(__always)
    private mutating func fallbackValue(_ code: Int) -> Bool {
        let start = cursor
        if cursor.pointee == 0x22 {
            cursor += 1
            var text = ByteSlice.empty
            guard string(&text, Int(EventField.context.rawValue)) else { return false }
            if text.count > ContractLimits.stringBytesMax, !fits(text, ContractLimits.stringBytesMax) {
                return fail(.tooLong, .context)
            }
            let limit = Int(limits[code])
            if limit > 0, text.count <= limit || fits(text, limit), !isStrictlySeen(code) { keep(code, text) }
            return true
        }
        let isScreen = code == Int(EventField.screenWidth.rawValue) || code == Int(EventField.screenHeight.rawValue)
        guard skipValue(level: 3, .context) else { return false }
        if isScreen, !isStrictlySeen(code), DecimalText.integer(start, cursor - start, digitsMax: 6) != nil {
            keepFrom(start, code)
        }
        return true
    }

    /// Whether the event named this field itself, outside a fallback.
    @inline(__always)
    private func isStrictlySeen(_ code: Int) -> Bool {
        guard code >= 64, code < 96, code != Int(EventField.os.rawValue), code != Int(EventField.library.rawValue)
        else {
            return false
        }
        return seen.1 & (1 &<< UInt64(code &- 64)) != 0
    }
}
