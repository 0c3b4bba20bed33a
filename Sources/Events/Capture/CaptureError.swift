package import AurumCore

/// Why a request was refused as a whole: nothing of it is stored.
package enum CaptureError: Error, Equatable, Sendable {
    /// The array, object or envelope is not JSON; the byte where that showed.
    case malformedBody(offset: Int)
    /// JSON of another shape than the route takes; what it takes, and the byte where that should be.
    case unexpectedShape(offset: Int, wanted: String)
    /// The gzip or zstd data is broken or cut; the byte of it where that showed.
    case brokenPacking(offset: Int)
    case bodyTooLarge, tooManyEvents, inflateRatio
    case overloaded, storageFull, quarantineFull, logFailed

    /// The stable tag of the problem document.
    package var tag: String {
        switch self {
        case .malformedBody, .unexpectedShape, .brokenPacking: "malformed_body"
        case .bodyTooLarge: "body_too_large"
        case .tooManyEvents: "too_many_events"
        case .inflateRatio: "inflate_ratio"
        case .overloaded: "overloaded"
        case .storageFull: "storage_full"
        case .quarantineFull: "quarantine_full"
        case .logFailed: "log_failed"
        }
    }

    package var status: Int {
        switch self {
        case .malformedBody, .unexpectedShape, .brokenPacking: 400
        case .bodyTooLarge, .tooManyEvents, .inflateRatio: 413
        case .overloaded, .storageFull, .quarantineFull, .logFailed: 503
        }
    }

    package var sentence: String {
        switch self {
        case .malformedBody(let offset): "The body is not valid JSON at byte \(offset)."
        case .unexpectedShape(let offset, let wanted): "This route takes \(wanted), which is not at byte \(offset)."
        case .brokenPacking(let offset): "The packed body is broken or cut at byte \(offset) of its gzip or zstd data."
        case .bodyTooLarge: "The body is larger than this route takes."
        case .tooManyEvents: "The body holds more events than one request may."
        case .inflateRatio: "The body unpacks to far more than its size allows."
        case .overloaded: "Too much is waiting to be stored; send it again later."
        case .storageFull: "The volume of the event log is nearly full; nothing new is accepted."
        case .quarantineFull:
            "The quarantine is full and this request needs it: replay or delete what is there, or mend the events."
        case .logFailed: "The event log failed to write and refuses until the server is restarted."
        }
    }

    /// When to try again; nil where trying again is no use.
    package var retryAfterSeconds: Int? {
        switch self {
        case .overloaded: 1
        case .storageFull, .quarantineFull, .logFailed: 30
        default: nil
        }
    }
}

/// Where a body comes from, as its key says; never from the body.
package struct CaptureSource: Sendable, Equatable {
    package var org: String
    package var app: String
    /// Currency of Segment-shaped money that names none.
    package var defaultCurrency: String
    /// Historical requests may be older than 400 days and are never late.
    package var isHistorical: Bool
    /// The client's clock when it sent the body, where the body says so around its events.
    package var sentAt: Timestamp?
    /// The request carried `Sec-GPC: 1`.
    package var hasGPC: Bool
    /// The key may stand in a web page, so what it sends is looked at for bots.
    package var isBrowser: Bool
    /// The plan that a replay holds its events against; nil outside replays, `.some(nil)` for none.
    var planToReplayUnder: CompiledPlan??
    /// Its events were received before, and are sent again out of the quarantine.
    var isReplay = false

    package static func == (left: CaptureSource, right: CaptureSource) -> Bool {
        left.org == right.org && left.app == right.app && left.defaultCurrency == right.defaultCurrency
            && left.isHistorical == right.isHistorical && left.sentAt == right.sentAt && left.hasGPC == right.hasGPC
            && left.isBrowser == right.isBrowser
    }

    package init(
        org: String, app: String, defaultCurrency: String = "USD", isHistorical: Bool = false,
        sentAt: Timestamp? = nil, hasGPC: Bool = false, isBrowser: Bool = false
    ) {
        self.org = org
        self.app = app
        self.defaultCurrency = defaultCurrency
        self.isHistorical = isHistorical
        self.hasGPC = hasGPC
        self.isBrowser = isBrowser
        self.sentAt = sentAt
    }
}
