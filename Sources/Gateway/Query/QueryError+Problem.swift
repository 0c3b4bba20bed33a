internal import AurumCore
internal import Events
internal import HTTPTypes
internal import Logging

/// How the failures of queries look over HTTP.
extension QueryError {
    var status: HTTPResponse.Status {
        switch self {
        case .malformed: .badRequest
        case .busy: .tooManyRequests
        case .timeout: .gatewayTimeout
        case .tooLarge: .unprocessableContent
        case .cancelled, .storage: .serviceUnavailable
        }
    }

    var logLevel: Logger.Level {
        switch self {
        case .malformed, .busy, .cancelled: .debug
        case .timeout, .tooLarge: .warning
        case .storage: .error
        }
    }

    var retryAfterSeconds: Int? {
        switch self {
        case .busy, .storage: 1
        case .malformed, .timeout, .tooLarge, .cancelled: nil
        }
    }

    /// Members of the problem document beside the usual ones.
    var members: [String: JSONValue] {
        switch self {
        case .malformed(let error):
            switch error.place {
            case .byte(let offset): ["offset": .integer(Int64(offset))]
            case .path(let path): ["place": .string(path)]
            }
        case .timeout(let rows): ["rows_scanned": .integer(Int64(rows))]
        case .busy, .tooLarge, .cancelled, .storage: [:]
        }
    }
}
