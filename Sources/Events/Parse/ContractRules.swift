/// What the route, the key and the envelope of a request say about all of its events.
struct ContractRules: Sendable {
    enum Flavour: UInt8, Sendable { case native, segment, `internal` }

    var flavour = Flavour.native
    /// The type that the path of a Segment request implies; nil where each event names its own.
    var impliedType: EventType?
    /// Microseconds since 1970.
    var receivedAt: Int64 = 0
    /// `sentAt` of the envelope, for events without one of their own.
    var envelopeSentAt: Int64?
    var isHistorical = false
}

/// The rules of the contract that need the whole event.
extension EventParser {
    /// Checks what only the complete event shows: required fields, identifiers, money, times.
    ///
    /// The order is fixed: type, id, name, identifier, fields of the type, money, time.
    @inline(__always)
    mutating func conclude(_ rules: ContractRules) -> Bool {
        if let implied = rules.impliedType {
            type = Int(implied.rawValue)
            keep(Int(EventField.type.rawValue), .empty)
        }
        guard has(.type) else { return fail(.missingField, .type) }
        if type >= Int(EventType.postback.rawValue), rules.flavour != .internal { return fail(.reservedType, .type) }
        if rules.flavour == .native, !isFilled(.id) { return fail(.missingField, .id) }
        if type == Int(EventType.track.rawValue) {
            guard isFilled(.name) else { return fail(.missingField, .name) }
            guard hasIdentifier else { return fail(.missingIdentifier, .event) }
        } else if rules.flavour != .internal {
            guard fieldsOfType(rules.flavour) else { return false }
        }
        guard money(rules.flavour) else { return false }
        return time(rules)
    }

    /// Present and not the empty string.
    @inline(__always)
    func isFilled(_ field: EventField) -> Bool { has(field) && slice(field).count > 0 }

    @inline(__always)
    private var hasIdentifier: Bool {
        isFilled(.anonymousID) || isFilled(.userID) || isFilled(.deviceID) || isFilled(.contextDeviceID) || isAnonymous
    }

    /// Analytics was denied: the event says what happened and not to whom.
    var isAnonymous: Bool {
        guard has(.analytics) else { return false }
        return decoded(slice(.analytics)).0.pointee == 0x64
    }

    private var hasDevice: Bool { isFilled(.deviceID) || isFilled(.contextDeviceID) }

    private var hasURL: Bool { isFilled(.url) || isFilled(.propertyURL) || isFilled(.pageURL) }

    /// What each type needs besides an identifier. Source: the contract's taxonomy. Segment's libraries send pages
    /// without a URL, screens by `name` and `identify` without a user, so those are taken from that format.
    @inline(never)
    private mutating func fieldsOfType(_ flavour: ContractRules.Flavour) -> Bool {
        let type = EventType(rawValue: UInt8(truncatingIfNeeded: type)) ?? .track
        if type == .conversion, !isFilled(.name) { return fail(.missingField, .name) }
        switch type {
        case .click, .impression:
            guard hasIdentifier || isFilled(.clickID) else { return fail(.missingIdentifier, .event) }
        case .install:
            guard hasDevice || isFilled(.clickID) || isFilled(.installReferrer) || isAnonymous else {
                return hasIdentifier ? fail(.missingField, .deviceID) : fail(.missingIdentifier, .event)
            }
        default:
            guard hasIdentifier else { return fail(.missingIdentifier, .event) }
        }
        if isAnonymous, type != .page, type != .screen, type != .consent { return true }
        switch type {
        case .open where !hasDevice: return fail(.missingField, .deviceID)
        case .page where flavour == .native && !hasURL: return fail(.missingField, .url)
        case .screen where !isFilled(.screen) && (flavour == .native || !isFilled(.name)):
            return fail(.missingField, .screen)
        case .identify where flavour == .native && !isFilled(.userID): return fail(.missingField, .userID)
        case .group where !isFilled(.groupID): return fail(.missingField, .groupID)
        case .alias where !isFilled(.previousID): return fail(.missingField, .previousID)
        case .alias where !isFilled(.userID): return fail(.missingField, .userID)
        case .consent where !has(.consent): return fail(.missingField, .consent)
        default: return true
        }
    }

    /// `value` with its currency; else the first of `properties.revenue`, `value` and `total` that is money.
    @inline(__always)
    private mutating func money(_ flavour: ContractRules.Flavour) -> Bool {
        if has(.value) {
            if flavour == .native, !has(.currency) { return fail(.missingField, .currency) }
        } else {
            let fallbacks: UInt64 = 0b111 &<< UInt64(EventField.propertyRevenue.rawValue &- 64)
            if present.1 & fallbacks != 0 { guard propertyMoney() else { return false } }
        }
        guard type == Int(EventType.adRevenue.rawValue) else { return true }
        guard has(.value) else { return fail(.missingField, .value) }
        if flavour == .native, !has(.currency), !has(.propertyCurrency) { return fail(.missingField, .currency) }
        return true
    }

    @inline(never)
    private mutating func propertyMoney() -> Bool {
        guard takeMoney(.propertyRevenue), has(.value) || takeMoney(.propertyValue) else { return false }
        return has(.value) || takeMoney(.propertyTotal)
    }

    /// Takes the money of one property when it is a number or decimal text; false when it is neither and meant as
    /// money: `revenue` always is, the others where a currency is named. Other text there is an ordinary property.
    @inline(__always)
    private mutating func takeMoney(_ field: EventField) -> Bool {
        guard has(field) else { return true }
        let text = slice(field)
        let isText = text.start > 0 && base[text.start &- 1] == 0x22
        let (bytes, count) = decoded(text)
        guard let millionths = DecimalText.millionths(bytes, count, exponent: !isText) else {
            let isMoney = !isText || field == .propertyRevenue || has(.propertyCurrency) || has(.currency)
            return !isMoney || fail(.badMoney, field)
        }
        value = millionths
        keep(Int(EventField.value.rawValue), text)
        return true
    }

    @inline(__always)
    private mutating func time(_ rules: ContractRules) -> Bool {
        isShifted = false
        let own = has(.timestamp)
        guard own || has(.originalTimestamp) else {
            moment = rules.receivedAt
            return true
        }
        moment = own ? timestamp : originalTimestamp
        if rules.flavour == .internal { return true }
        if let sent = has(.sentAt) ? sentAt : rules.envelopeSentAt {
            let drift = rules.receivedAt &- sent
            if drift.magnitude > UInt64(ContractLimits.clockToleranceMicroseconds) {
                moment &+= drift
                isShifted = true
            }
        }
        let field = own ? EventField.timestamp : .originalTimestamp
        if moment > rules.receivedAt &+ ContractLimits.futureMicroseconds { return fail(.timestampFuture, field) }
        if !rules.isHistorical, moment < rules.receivedAt &- ContractLimits.pastMicroseconds {
            return fail(.timestampTooOld, field)
        }
        return true
    }
}
