/// Why a command has no answer.
package enum RedisError: Error, Sendable, Equatable {
    /// No connection is up, or it broke while the command had not left or may be repeated: nothing was changed.
    case unavailable
    /// The deadline of a command that may be repeated passed.
    case timeout
    /// The connection owes `RedisLimits.inFlightMax` replies already, or its socket takes no more; nothing was sent.
    case backpressure
    /// The command had left when the connection broke or the deadline passed: it may or may not have been carried out.
    /// Of a batch: this is so of a part of it.
    case outcomeUnknown
    /// The server broke the protocol; the connection was closed.
    case protocolError(String)
    /// The server answered an error: its first word, and the rest.
    case server(code: String, message: String)
    /// The keys of one command, or of one script, lie in several slots of the cluster; nothing was sent.
    case crossSlot
    /// A cluster kept redirecting, or was down, until the command had followed `RedisLimits.redirectsMax` times.
    case tooManyRedirects
    /// The calling task was cancelled; a command that had left may have been carried out.
    case cancelled
    /// The client has been stopped.
    case closed

    /// A word for metrics and logs, never with user text.
    package var tag: String {
        switch self {
        case .unavailable: "unavailable"
        case .timeout: "timeout"
        case .backpressure: "backpressure"
        case .outcomeUnknown: "outcome_unknown"
        case .protocolError: "protocol_error"
        case .server: "server_error"
        case .crossSlot: "cross_slot"
        case .tooManyRedirects: "too_many_redirects"
        case .cancelled: "cancelled"
        case .closed: "closed"
        }
    }
}
