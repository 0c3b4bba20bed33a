package import Accounts
package import Attribution
internal import AurumCore
package import Events
internal import Foundation
internal import HTTPTypes
package import Hummingbird
internal import Logging
internal import NIOCore

/// One thing wrong with one field of a request.
package struct FieldProblem: Sendable, Equatable {
    package var field: String
    package var detail: String

    package init(field: String, detail: String) {
        self.field = field
        self.detail = detail
    }
}

/// Everything that a request can end in but success. Each maps to one status, one stable code, one safe sentence and
/// one log level; codes and sentences never hold what a client sent.
package enum Problem: Error, Sendable, Equatable {
    case malformedBody(offset: Int?)
    /// A capture body that is broken in another way than its JSON.
    case unreadableBody(offset: Int, detail: String)
    case invalid([FieldProblem])
    case badQuery(name: String, detail: String)
    /// A part of the path that has to be an id and is none.
    case malformedID(name: String)
    case unknownKey
    case notSignedIn
    case scopeMissing(Scope)
    case originNotAllowed
    /// A publishable key where only a server's may be used.
    case serverKeyNeeded
    case redirectNotAllowed
    case notFound(code: String, detail: String)
    case unknownVersion
    /// The path exists with the methods of `allow`.
    case methodNotAllowed(allow: String)
    case conflict(code: String, detail: String)
    case gone(code: String, detail: String)
    case bodyTooLarge(limitBytes: Int)
    case tooManyEvents(limit: Int)
    case inflateRatio
    case unsupportedEncoding
    case unsupportedMediaType
    case rateLimited(retryAfterSeconds: Int)
    case unavailable(code: String, detail: String)
    case upgradeRequired
    /// What came was no HTTP request.
    case malformedRequest
    case addressTooLong(limitBytes: Int)
    case headersTooLarge(limitBytes: Int)
    case query(QueryError)
    case spend(SpendError)
    case internalError

    package var status: HTTPResponse.Status {
        switch self {
        case .malformedBody, .unreadableBody, .badQuery, .malformedID, .redirectNotAllowed, .malformedRequest:
            .badRequest
        case .invalid: .unprocessableContent
        case .unknownKey, .notSignedIn: .unauthorized
        case .scopeMissing, .originNotAllowed, .serverKeyNeeded: .forbidden
        case .notFound, .unknownVersion: .notFound
        case .methodNotAllowed: .methodNotAllowed
        case .conflict: .conflict
        case .gone: .gone
        case .bodyTooLarge, .tooManyEvents, .inflateRatio: .contentTooLarge
        case .unsupportedEncoding, .unsupportedMediaType: .unsupportedMediaType
        case .rateLimited: .tooManyRequests
        case .unavailable: .serviceUnavailable
        case .upgradeRequired: .upgradeRequired
        case .addressTooLong: .uriTooLong
        case .headersTooLarge: .requestHeaderFieldsTooLarge
        case .query(let error): error.status
        case .spend(let error): error.status
        case .internalError: .internalServerError
        }
    }

    /// The stable code, also the metric label.
    package var code: String {
        switch self {
        case .malformedBody, .unreadableBody: "malformed_body"
        case .invalid: "invalid_fields"
        case .badQuery: "bad_query"
        case .malformedID: "malformed_id"
        case .unknownKey: "unknown_key"
        case .notSignedIn: "not_signed_in"
        case .scopeMissing, .serverKeyNeeded: "scope_missing"
        case .redirectNotAllowed: "redirect_not_allowed"
        case .originNotAllowed: "origin_not_allowed"
        case .notFound(let code, _), .conflict(let code, _), .gone(let code, _), .unavailable(let code, _): code
        case .unknownVersion: "unknown_version"
        case .methodNotAllowed: "method_not_allowed"
        case .bodyTooLarge: "body_too_large"
        case .tooManyEvents: "too_many_events"
        case .inflateRatio: "inflate_ratio"
        case .unsupportedEncoding: "unsupported_encoding"
        case .unsupportedMediaType: "unsupported_media_type"
        case .rateLimited: "rate_limited"
        case .upgradeRequired: "upgrade_required"
        case .malformedRequest: "malformed_request"
        case .addressTooLong: "address_too_long"
        case .headersTooLarge: "headers_too_large"
        case .query(let error): error.code
        case .spend(let error): error.code
        case .internalError: "internal_error"
        }
    }

    /// A sentence that a caller can act on.
    package var detail: String {
        switch self {
        case .malformedBody(let offset?): "The body is not valid JSON at byte \(offset)."
        case .unreadableBody(_, let detail): detail
        case .malformedBody(nil): "The body is not valid JSON of the expected shape."
        case .invalid(let problems): "\(problems.count) field(s) are wrong; see `problems`."
        case .badQuery(let name, let detail): "Query parameter \(name): \(detail)"
        case .malformedID(let name): "The \(name) is malformed: it must be 32 hex digits or a UUID."
        case .unknownKey: "The key is missing, unknown or revoked. Send it as `Authorization: Bearer KEY`."
        case .notSignedIn: "Sign in first."
        case .scopeMissing(let scope): "The key lacks the scope \(scope.rawValue)."
        case .serverKeyNeeded: "This route takes a server's key, never a publishable one."
        case .redirectNotAllowed: "The address in `to` is none of the app's allowed hosts; the click was stored."
        case .originNotAllowed: "This key is not allowed from the page's origin."
        case .notFound(_, let detail), .conflict(_, let detail), .gone(_, let detail), .unavailable(_, let detail):
            detail
        case .unknownVersion: "Only version 1 exists: paths begin with /v1. See /openapi.json."
        case .methodNotAllowed(let allow):
            "The path exists, but not with this method, only with \(allow). See /openapi.json."
        case .bodyTooLarge(let limit): "The body is larger than \(limit) bytes."
        case .tooManyEvents(let limit): "The request holds more than \(limit) events."
        case .inflateRatio: "The compressed body grows more than a hundredfold."
        case .unsupportedEncoding: "Content-Encoding must be gzip, zstd or absent."
        case .unsupportedMediaType: "Content-Type must be application/json or application/x-ndjson."
        case .rateLimited(let seconds): "Too many requests; try again in \(seconds) s."
        case .upgradeRequired: "This path is a WebSocket: ask to upgrade."
        case .malformedRequest: "What was sent is no HTTP/1.1 request."
        case .addressTooLong(let limit):
            "The address of the request is longer than \(limit) bytes. Send what is long in a body."
        case .headersTooLarge(let limit):
            "The address and the headers of the request are larger than \(limit) bytes together, or too many."
        case .query(let error): error.sentence
        case .spend(let error): error.sentence
        case .internalError: "Something failed on our side. The request id finds it in the log."
        }
    }

    var logLevel: Logger.Level {
        switch self {
        case .internalError: .error
        case .query(let error): error.logLevel
        case .unavailable: .warning
        case .malformedBody, .unreadableBody, .invalid, .badQuery, .malformedID, .unknownKey, .notSignedIn,
            .scopeMissing, .originNotAllowed, .serverKeyNeeded, .redirectNotAllowed, .notFound, .unknownVersion,
            .methodNotAllowed, .conflict, .gone, .bodyTooLarge, .tooManyEvents, .inflateRatio,
            .unsupportedEncoding, .unsupportedMediaType, .rateLimited, .upgradeRequired, .malformedRequest,
            .addressTooLong, .headersTooLarge, .spend:
            .debug
        }
    }

    var retryAfterSeconds: Int? {
        switch self {
        case .rateLimited(let seconds): seconds
        case .unavailable: 1
        case .query(let error): error.retryAfterSeconds
        case .spend(.importRunning): 1
        default: nil
        }
    }

    /// The RFC 9457 document.
    func document(requestID: String) -> JSONValue {
        var members: [String: JSONValue] = [
            "type": .string("urn:aurum:problem:\(code)"), "title": .string(status.reasonPhrase),
            "status": .integer(Int64(status.code)), "detail": .string(detail), "code": .string(code),
            "request_id": .string(requestID),
        ]
        switch self {
        case .malformedBody(let offset?), .unreadableBody(let offset, _): members["offset"] = .integer(Int64(offset))
        default: break
        }
        if case .invalid(let problems) = self {
            members["problems"] = .array(
                problems.prefix(50).map { ["field": .string($0.field), "detail": .string($0.detail)] })
        }
        if case .query(let error) = self { members.merge(error.members) { $1 } }
        if case .spend(let error) = self { members.merge(error.members) { $1 } }
        return .object(members)
    }

    /// What stands above the document.
    var fields: HTTPFields {
        var headers = HTTPFields()
        headers[.contentType] = "application/problem+json"
        headers[.cacheControl] = "no-store"
        if let seconds = retryAfterSeconds { headers[.retryAfter] = String(seconds) }
        if status == .unauthorized { headers[.wwwAuthenticate] = "Bearer" }
        if case .methodNotAllowed(let allow) = self { headers[.allow] = allow }
        return headers
    }

    func response(requestID: String) -> Response {
        let body = ByteBuffer(string: document(requestID: requestID).canonical)
        return Response(status: status, headers: fields, body: .init(byteBuffer: body))
    }
}
