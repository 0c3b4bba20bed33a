/// The shape of a body. Raw values are written to the log and never change.
package enum WireFormat: UInt8, CaseIterable, Sendable {
    case ndjson = 0
    case json, segmentBatch, segmentTrack, segmentIdentify, segmentPage, segmentScreen, segmentGroup, segmentAlias
    case internalEvents

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

    /// `native`, `segment` or `internal`: the label of metrics and of stored events.
    package var label: String {
        switch flavour {
        case .native: "native"
        case .segment: "segment"
        case .internal: "internal"
        }
    }

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
        case .segmentTrack: .track
        case .segmentIdentify: .identify
        case .segmentPage: .page
        case .segmentScreen: .screen
        case .segmentGroup: .group
        case .segmentAlias: .alias
        default: nil
        }
    }
}

/// How the bytes of a body are packed.
package enum BodyEncoding: Sendable {
    case identity, gzip, zstd

    /// Reads a `Content-Encoding`; nil for one that is not taken. No header means identity.
    package init?(contentEncoding: String?) {
        switch contentEncoding?.lowercased() {
        case nil, "", "identity": self = .identity
        case "gzip", "x-gzip", "deflate": self = .gzip
        case "zstd": self = .zstd
        default: return nil
        }
    }
}
