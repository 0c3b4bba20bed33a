/// The shape of a body. Raw values are written to the log and never change: append only.
package enum WireFormat: UInt8, CaseIterable, Sendable {
    case ndjson = 0
    case json, segmentBatch, segmentTrack, segmentIdentify, segmentPage, segmentScreen, segmentGroup, segmentAlias
    case internalEvents
    case rudderBatch, rudderTrack, rudderIdentify, rudderPage, rudderScreen, rudderGroup, rudderAlias
    /// Lines that `PostHogBody`, `MeasurementBody` and `QueryEvent` made.
    case postHog, measurement, pixel, click
    /// One install, sent by a server.
    case install

    /// The format of a Segment route by its last path part: `batch`, `track`, …, or the short forms `b`, `t`, ….
    package init?(segmentPath: some StringProtocol) {
        switch segmentPath {
        case "batch", "b": self = .segmentBatch
        case "track", "t": self = .segmentTrack
        case "identify", "i": self = .segmentIdentify
        case "page", "p": self = .segmentPage
        case "screen", "s": self = .segmentScreen
        case "group", "g": self = .segmentGroup
        case "alias", "a": self = .segmentAlias
        default: return nil
        }
    }

    /// The same shape as RudderStack's clients send it; other formats are their own.
    package var asRudder: WireFormat {
        switch self {
        case .segmentBatch: .rudderBatch
        case .segmentTrack: .rudderTrack
        case .segmentIdentify: .rudderIdentify
        case .segmentPage: .rudderPage
        case .segmentScreen: .rudderScreen
        case .segmentGroup: .rudderGroup
        case .segmentAlias: .rudderAlias
        default: self
        }
    }

    /// The label of metrics and of stored events.
    package var label: String {
        switch self {
        case .ndjson, .json: "native"
        case .segmentBatch, .segmentTrack, .segmentIdentify, .segmentPage, .segmentScreen, .segmentGroup, .segmentAlias:
            "segment"
        case .internalEvents: "internal"
        case .rudderBatch, .rudderTrack, .rudderIdentify, .rudderPage, .rudderScreen, .rudderGroup, .rudderAlias:
            "rudder"
        case .postHog: "posthog"
        case .measurement: "ga4"
        case .pixel: "pixel"
        case .click: "click"
        case .install: "install"
        }
    }

    /// Foreign formats are held to what their clients can know: no id needed, pages without a URL.
    var flavour: ContractRules.Flavour {
        switch self {
        case .ndjson, .json: .native
        case .internalEvents: .internal
        default: .segment
        }
    }

    /// The type that the route implies.
    var impliedType: EventType? {
        switch self {
        case .segmentTrack, .rudderTrack: .track
        case .segmentIdentify, .rudderIdentify: .identify
        case .segmentPage, .rudderPage: .page
        case .segmentScreen, .rudderScreen: .screen
        case .segmentGroup, .rudderGroup: .group
        case .segmentAlias, .rudderAlias: .alias
        case .install: .install
        default: nil
        }
    }

    /// One event a line.
    var isLines: Bool {
        switch self {
        case .ndjson, .internalEvents: true
        default: isTranslated
        }
    }

    /// Made by a translator, which has held the foreign body to its bounds.
    var isTranslated: Bool {
        switch self {
        case .postHog, .measurement, .pixel, .click: true
        default: false
        }
    }

    /// An object whose `batch` holds the events.
    var isBatch: Bool { self == .segmentBatch || self == .rudderBatch }
}

/// How the bytes of a body are packed.
package enum BodyEncoding: Sendable {
    case identity, gzip, zstd

    /// Reads a `Content-Encoding`; nil for one that is not taken. No header means identity.
    package init?(contentEncoding: String?) {
        switch contentEncoding?.lowercased() {
        case nil, "", "identity": self = .identity
        case "gzip", "x-gzip": self = .gzip
        case "zstd": self = .zstd
        default: return nil
        }
    }

    /// The decoded bytes of a body.
    ///
    /// - Throws: `bodyTooLarge`, `inflateRatio`, or `brokenPacking` with the offset in the packed bytes.
    package func decode(
        _ body: UnsafeRawBufferPointer, limits: EventLimits, bodyBytesMax: Int? = nil
    ) throws(CaptureError) -> [UInt8] {
        var limits = limits
        limits.bodyBytesMax = bodyBytesMax ?? limits.bodyBytesMax
        return try BodyInflater(limits: limits).inflate(body, self)
    }

    package func decode(
        _ body: [UInt8], limits: EventLimits, bodyBytesMax: Int? = nil
    ) throws(CaptureError) -> [UInt8] {
        let result = body.withUnsafeBytes { bytes in
            Result { () throws(CaptureError) in try decode(bytes, limits: limits, bodyBytesMax: bodyBytesMax) }
        }
        return try result.get()
    }
}
