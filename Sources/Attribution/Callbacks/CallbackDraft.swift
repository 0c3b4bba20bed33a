internal import AurumCore
internal import Foundation

/// What is wrong with a member of a body.
package struct CallbackProblem: Sendable, Equatable {
    package var field: String
    package var detail: String
}

/// Why a request about callbacks is refused.
package enum CallbackError: Error, Equatable, Sendable {
    case invalid([CallbackProblem])
    case unknownCallback
    case unknownDelivery
    case tooManyCallbacks
    /// A delivery that is not to be sent again; its state.
    case settled(CallbackState)
    /// The template of a delivery is disabled or gone.
    case switchedOff
    /// The stored secret opens with no key of this installation.
    case sealedByOther

    package var sentence: String {
        switch self {
        case .invalid(let problems): problems.map { "\($0.field): \($0.detail)" }.joined(separator: "; ")
        case .unknownCallback: "There is no such callback."
        case .unknownDelivery: "There is no such delivery of a callback."
        case .tooManyCallbacks: "An organisation has at most \(CallbackStore.callbacksMax) callbacks."
        case .settled(let state): "The delivery is \(state.rawValue) and is not sent again."
        case .switchedOff: "The callback of this delivery is disabled or removed."
        case .sealedByOther:
            "The secret was sealed with a key that this installation does not have; set it again."
        }
    }
}

/// What a template tells of.
package enum CallbackKind: String, Sendable, CaseIterable {
    case install
    /// What a person does in the app later.
    case conversion
    /// A lead that a buyer took.
    case sale

    init(event: String) { self = Self(rawValue: event).flatMap { $0 == .conversion ? nil : $0 } ?? .conversion }
}

/// A template as a body asks for it, or the changes to one that a body holds.
struct CallbackDraft: Sendable {
    var network: String
    var event: String
    var template: CallbackTemplate
    var isEnabled: Bool
    /// nil: as it is; `.some(nil)`: none from now on.
    var secret: String??

    static let secretBytes = 16...200
    private static let networkBytesMax = 64
    private static let known: Set = ["network", "event", "method", "url", "body", "secret", "enabled"]

    /// - Parameter known: what a change starts from; nil for a new one.
    /// - Throws: `CallbackError.invalid` with all problems.
    init(_ body: JSONValue, from known: StoredCallback?, allowLoopback: Bool) throws(CallbackError) {
        guard let members = body.object else {
            throw .invalid([CallbackProblem(field: "", detail: "the body must be an object")])
        }
        var problems: [CallbackProblem] = []
        func report(_ field: String, _ detail: String) {
            problems.append(CallbackProblem(field: String(field.prefix(40)), detail: detail))
        }
        for name in members.keys.sorted() where !Self.known.contains(name) { report(name, "unknown field") }
        network = known?.network ?? ""
        if members["network"] != nil || known == nil {
            if let text = members["network"]?.string?.lowercased(), Self.isPlain(text) {
                network = text
            } else {
                report("network", "must be the network's name as touches have it: 1 to 64 printable characters")
            }
        }
        event = known?.event ?? ""
        if members["event"] != nil || known == nil {
            if let text = members["event"]?.string, ConversionDefinition.isName(text) {
                event = text
            } else {
                report("event", "must be install, sale or the name of a conversion")
            }
        }
        isEnabled = known?.isEnabled ?? true
        if let value = members["enabled"] {
            if let flag = value.bool { isEnabled = flag } else { report("enabled", "must be true or false") }
        }
        secret = nil
        switch members["secret"] {
        case nil: break
        case .null: secret = .some(nil)
        case .some(let value):
            if let text = value.string, Self.secretBytes.contains(text.utf8.count),
                text.utf8.allSatisfy({ (33...126).contains($0) })
            {
                secret = .some(text)
            } else {
                report("secret", "must be 16 to 200 printable ASCII characters without spaces, or null for none")
            }
        }
        do throws(CallbackError) {
            template = try Self.template(members, known, allowLoopback: allowLoopback)
        } catch {
            if case .invalid(let more) = error { problems += more }
            throw .invalid(problems)
        }
        if !problems.isEmpty { throw .invalid(problems) }
    }

    private static func template(
        _ members: [String: JSONValue], _ known: StoredCallback?, allowLoopback: Bool
    ) throws(CallbackError) -> CallbackTemplate {
        var method = known?.method ?? .get
        if let value = members["method"] {
            guard let given = value.string.flatMap({ CallbackMethod(rawValue: $0.uppercased()) }) else {
                throw .invalid([CallbackProblem(field: "method", detail: "must be GET or POST")])
            }
            method = given
        }
        var body = known?.body
        if let value = members["body"] { body = value == .null ? nil : value }
        guard let url = members["url"].map({ $0.string }) ?? known?.url else {
            throw .invalid([CallbackProblem(field: "url", detail: "is required, with macros in its query")])
        }
        return try CallbackTemplate(method: method, url: url, body: body, allowLoopback: allowLoopback)
    }

    private static func isPlain(_ text: String) -> Bool {
        (1...networkBytesMax).contains(text.utf8.count)
            && text.unicodeScalars.allSatisfy { $0.value > 32 && $0.value != 127 }
    }
}
