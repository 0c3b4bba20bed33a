internal import AurumCore

/// Reads stored events back with the parser that accepted them. One decoder a read; not thread-safe.
final class EventDecoder {
    private var parser = EventParser()
    private var padded = RawBytes()
    private let secret: InstallationSecret

    init(secret: InstallationSecret) { self.secret = secret }

    deinit {
        parser.deallocate()
        padded.deallocate()
    }

    /// The event of one row, or nil when its bytes are no event (quarantined ones may be anything).
    func event(_ raw: ArraySlice<UInt8>, _ facts: RowFacts, _ block: BlockView) -> StoredEvent? {
        guard block.requests.indices.contains(facts.request) else { return nil }
        let request = block.requests[facts.request]
        guard parse(raw), parser.conclude(rules(request)) else { return nil }
        let origin = block.origin(facts.request)
        let check = secret.receiptCheck(
            segment: origin.segment, offset: origin.offset, request: origin.request, nonce: request.nonce)
        let receipt = ReceiptID(
            segment: origin.segment, offset: origin.offset, request: origin.request, check: check)
        return build(raw, facts, request, position: block.position(facts.row), receipt: receipt.text)
    }

    /// An event that stands in no log, read for what its members mean; nothing is held to the contract's whole rules.
    func detached(_ raw: [UInt8]) -> StoredEvent? {
        guard parse(raw[...]) else { return nil }
        let request = RequestView(
            PendingRequest(
                org: "", app: "", currency: "", format: .segmentBatch, isHistorical: true, receivedAt: 0, nonce: 0,
                bodyBytes: 0, done: { _ in }))
        let facts = RowFacts(request: 0, row: 0, time: 0, outcome: .stored, flags: 0)
        return build(raw[...], facts, request, position: LogPosition(segment: 0, offset: 0, row: 0), receipt: "")
    }

    /// What a `context` says of where its event came from, before any URL is asked.
    func contextFacts(_ context: [UInt8]) -> (campaign: Campaign, url: String?, referrer: String?)? {
        let raw = Array("{\"type\":\"page\",\"context\":".utf8) + context + [0x7d]
        guard parse(raw[...]) else { return nil }
        return (campaign, firstText([.pageURL]), firstText([.pageReferrer]))
    }

    private func parse(_ raw: ArraySlice<UInt8>) -> Bool {
        padded.reset(keeping: 1 << 20)
        raw.withUnsafeBytes { if let start = $0.baseAddress { padded.append(start, $0.count) } }
        padded.append([UInt8](repeating: 0, count: ByteScan.padding))
        let start = UnsafePointer(padded.base.assumingMemoryBound(to: UInt8.self))
        parser.newlineIsSpace = true
        guard let end = parser.parse(start, base: start) else { return false }
        return end - start <= raw.count
    }

    /// The rules at the time of receipt, so that whatever was accepted then is read now.
    private func rules(_ request: RequestView) -> ContractRules {
        ContractRules(
            flavour: request.format.flavour, impliedType: request.format.impliedType, receivedAt: request.receivedAt,
            envelopeSentAt: request.envelopeSentAt, isHistorical: request.isHistorical)
    }

    private func build(
        _ raw: ArraySlice<UInt8>, _ facts: RowFacts, _ request: RequestView, position: LogPosition, receipt: String
    ) -> StoredEvent {
        let keys = secret.keys(org: request.org, app: request.app)
        let type = EventType(rawValue: UInt8(truncatingIfNeeded: parser.type)) ?? .track
        let advertising = AdvertisingFacts(
            campaign: campaign, clickID: firstText([.clickID]), url: firstText([.url, .propertyURL, .pageURL]),
            referrer: firstText([.referrer, .propertyReferrer, .pageReferrer]))
        let sent = parser.has(.sentAt) ? parser.sentAt : request.envelopeSentAt
        let currency = statedCurrency
        let own = parser.has(.timestamp) ? parser.timestamp : parser.originalTimestamp
        return StoredEvent(
            position: position, receipt: receipt, org: request.org, app: request.app, format: request.format.label,
            outcome: facts.outcome, receivedAt: Timestamp(microseconds: request.receivedAt),
            id: identifier(raw, facts, facts.row - request.firstRow, request), type: type,
            name: firstText([.name]) ?? type.name, at: Timestamp(microseconds: facts.time),
            sentAt: sent.map { Timestamp(microseconds: $0) },
            atSent: facts.flags & BlockContent.Flag.shifted != 0 ? Timestamp(microseconds: own) : nil,
            traceID: trace(keys), hasOwnTraceID: parser.has(.traceID), anonymousID: firstText([.anonymousID]),
            userID: firstText([.userID]), deviceID: firstText([.deviceID, .contextDeviceID]),
            sessionID: firstText([.sessionID]),
            clickID: advertising.clickID, orderID: firstText([.orderID, .propertyOrderID]),
            leadID: firstText([.leadID]),
            advertisingID: firstText([.advertisingID, .contextAdvertisingID]), vendorID: firstText([.vendorID]),
            installReferrer: firstText([.installReferrer]), referralClickedAt: time(.referralClickedAt),
            installBeganAt: time(.installBeganAt), url: firstText([.url, .propertyURL, .pageURL]),
            referrer: firstText([.referrer, .propertyReferrer, .pageReferrer]),
            title: firstText([.title, .propertyTitle, .pageTitle]), screen: screen(type, request),
            groupID: firstText([.groupID]), previousID: firstText([.previousID]), campaign: advertising.campaign,
            channel: advertising.channel, value: parser.has(.value) ? Millionths(value: parser.value) : nil,
            currency: currency ?? (parser.has(.value) ? request.currency : nil), quantity: quantity,
            traits: json(.traits) ?? json(.contextTraits),
            props: json(.props), context: json(.context), consent: json(.consent), extra: extra(raw),
            raw: String(decoding: raw, as: UTF8.self),
            isUnverified: facts.flags & BlockContent.Flag.unverified != 0, isCurrencyImplied: currency == nil)
    }

    // MARK: fields

    private func text(_ field: EventField) -> String? {
        guard parser.has(field) else { return nil }
        let (bytes, count) = parser.decoded(parser.slice(field))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }

    private func firstText(_ fields: [EventField]) -> String? {
        for field in fields where parser.isFilled(field) { return text(field) }
        return nil
    }

    private func json(_ field: EventField) -> JSONValue? {
        guard parser.has(field) else { return nil }
        let slice = parser.slice(field)
        return try? JSONReader.value(UnsafeBufferPointer(start: parser.base + slice.start, count: slice.count))
    }

    private func time(_ field: EventField) -> Timestamp? {
        guard let text = text(field) else { return nil }
        if let milliseconds = Int64(text) { return Timestamp(milliseconds: milliseconds) }
        return Timestamp(rfc3339: text)
    }

    private var quantity: Int64? { text(.quantity).flatMap { Int64($0) } }

    /// Segment's screens are named by `name`.
    private func screen(_ type: EventType, _ request: RequestView) -> String? {
        text(.screen) ?? (type == .screen && request.format.flavour == .segment ? text(.name) : nil)
    }

    private var statedCurrency: String? {
        if parser.has(.currency) { return text(.currency)?.uppercased() }
        if parser.has(.propertyCurrency), parser.isCurrency(parser.slice(.propertyCurrency)) {
            return text(.propertyCurrency)?.uppercased()
        }
        return nil
    }

    private func identifier(
        _ raw: ArraySlice<UInt8>, _ facts: RowFacts, _ index: Int, _ request: RequestView
    ) -> String {
        if facts.flags & BlockContent.Flag.serverID != 0 {
            return DerivedID.ofServer(nonce: request.nonce, index: index)
        }
        if facts.flags & BlockContent.Flag.derivedID != 0 {
            return raw.withUnsafeBufferPointer { DerivedID.fromBytes(app: request.app, index: index, $0) }
        }
        return text(.id) ?? ""
    }

    private func trace(_ keys: IdentityKeys) -> UID {
        if parser.has(.traceID) { return UID(high: parser.traceID.high, low: parser.traceID.low) }
        let order: [(EventField, PersonIdentifier.Namespace)] = [
            (.userID, .user), (.anonymousID, .anonymous), (.deviceID, .device), (.contextDeviceID, .device),
            (.clickID, .click), (.id, .event),
        ]
        for (field, namespace) in order where parser.isFilled(field) {
            let trace = keys.trace(ofPerson: keys.person(PersonIdentifier(namespace, text(field) ?? "")))
            return UID(high: trace.high, low: trace.low)
        }
        let trace = keys.trace(ofPerson: (0, 0))
        return UID(high: trace.high, low: trace.low)
    }

    private var campaign: Campaign {
        var campaign = Campaign()
        campaign.id = firstText([.campaignID, .contextCampaignID])
        campaign.name = firstText([.campaignName, .contextCampaignName])
        campaign.source = firstText([.campaignSource, .contextCampaignSource])
        campaign.medium = firstText([.campaignMedium, .contextCampaignMedium])
        campaign.term = firstText([.campaignTerm, .contextCampaignTerm])
        campaign.content = firstText([.campaignContent, .contextCampaignContent])
        campaign.network = firstText([.campaignNetwork])
        campaign.adGroupID = firstText([.adGroupID])
        campaign.creativeID = firstText([.creativeID])
        campaign.placementID = firstText([.placementID])
        campaign.keyword = firstText([.keyword])
        campaign.publisherID = firstText([.publisherID])
        campaign.declaredChannel = firstText([.contextChannel])
        return campaign
    }

    private static let knownNames = Set(FieldNames.top.map(\.0))

    /// Members that the contract does not know. A write key is a credential and stays out.
    private func extra(_ raw: ArraySlice<UInt8>) -> [String: JSONValue] {
        guard let all = try? raw.withUnsafeBufferPointer({ try JSONReader.object($0) }) else { return [:] }
        return all.filter { !Self.knownNames.contains($0.key) && $0.key != "writeKey" }
    }
}
