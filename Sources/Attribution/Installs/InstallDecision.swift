internal import AurumCore
internal import Foundation

/// How an install was matched, in the order in which methods are tried. Source: the specification of attribution,
/// section 2.
package enum InstallMethod: String, Sendable, CaseIterable {
    /// Advertising id, vendor id or the device's own, inside one app.
    case deviceID = "device_id"
    case clickID = "click_id"
    case installReferrer = "install_referrer"
    case deepLink = "deep_link"
    case userID = "user_id"
    case organic
}

/// How old a touch may be when the app is first opened.
package struct InstallWindow: Sendable, Equatable {
    /// Microseconds, both ends included.
    package var click: Int64
    package var view: Int64
    /// Of the definition of the conversion `install`; 0 for the built-in one.
    package var version: Int

    package init(click: Int64, view: Int64, version: Int) {
        (self.click, self.view, self.version) = (click, view, version)
    }

    package init(_ window: LookbackWindow, version: Int = 0) {
        self.init(click: window.click.microseconds, view: window.view.microseconds, version: version)
    }

    func reach(_ kind: CandidateTouch.Kind) -> Int64 { kind == .click ? click : view }
    package var longest: Int64 { max(click, view) }
}

/// A touch with everything that a decision keeps of it.
package struct InstallTouch: Sendable, Equatable {
    package var touch: CandidateTouch
    /// As the event gave it: orders touches of one moment by its bytes.
    package var eventID: String
    package var app: String
    package var creative: String?
    package var adGroup: String?
    package var channel = "other"
    package var place = JourneyPlace()
    /// The methods that found it.
    package var methods: Set<InstallMethod> = []

    package init(_ touch: CandidateTouch, eventID: String, app: String) {
        (self.touch, self.eventID, self.app) = (touch, eventID, app)
    }

    /// By time, then by the bytes of the event id, then by app.
    func isOlder(than other: InstallTouch) -> Bool {
        if touch.at != other.touch.at { return touch.at < other.touch.at }
        let (mine, others) = (eventID.utf8, other.eventID.utf8)
        if !mine.elementsEqual(others) { return mine.lexicographicallyPrecedes(others) }
        return app.utf8.lexicographicallyPrecedes(other.app.utf8)
    }
}

/// What a run over the log knows an event by.
package struct JourneyPlace: Sendable, Equatable {
    /// Before any merge; 0 for nobody.
    package var person: UInt64 = 0
    package var order: UInt64 = 0
    package var tail: UInt16 = 0
    package var click: UInt64 = 0

    package init() {}
}

/// What led to an install, and what did not.
package struct InstallDecision: Sendable, Equatable {
    package struct RunnerUp: Sendable, Equatable {
        package var touch: InstallTouch
        /// The first method that found it.
        package var method: InstallMethod
        /// `fraud:CODE`, `outside_window`, `view_after_click`, `later_method` or `older`.
        package var reason: String
    }

    package var method = InstallMethod.organic
    /// nil for an organic install.
    package var touch: InstallTouch?
    package var runnersUp: [RunnerUp] = []
    /// Touches that lost and are not listed.
    package var runnersUpLeftOut = 0
    package var window: InstallWindow
    /// Of the install itself: a rejected one keeps its decision and earns nobody credit.
    package var install = FraudVerdict.clean
    /// Of the touch.
    package var touchVerdict = FraudVerdict.clean
    /// The device had an earlier install of the app.
    package var isReinstall = false

    package static let runnersUpMax = 20

    package init(window: InstallWindow) { self.window = window }

    /// The worse of both verdicts, with all codes.
    package var verdict: FraudVerdict {
        let order: [FraudVerdict.Outcome] = [.clean, .suspect, .rejected]
        let outcome = order.last { $0 == install.outcome || $0 == touchVerdict.outcome } ?? .clean
        return FraudVerdict(outcome: outcome, codes: Set(install.codes + touchVerdict.codes).sorted())
    }

    /// 1 for what identifiers say; nil where nothing was matched.
    package var confidence: Double? { method == .organic ? nil : 1 }
}

extension InstallDecision {
    /// Everything but the install itself and the version: two decisions that say the same have the same text.
    var json: JSONValue {
        func text(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }
        let found = touch
        return [
            "method": .string(method.rawValue), "confidence": confidence.map { .number($0) } ?? .null,
            "touch": found.map { Self.json($0) } ?? .null, "network": text(found?.touch.network),
            "campaign": text(found?.touch.campaign), "publisher": text(found?.touch.publisher),
            "creative": text(found?.creative), "ad_group": text(found?.adGroup),
            "channel": text(found?.channel), "is_reinstall": .bool(isReinstall),
            "runners_up": .array(
                runnersUp.map { one in
                    var members = Self.json(one.touch).object ?? [:]
                    members["method"] = .string(one.method.rawValue)
                    members["reason"] = .string(one.reason)
                    members["campaign"] = text(one.touch.touch.campaign)
                    members["network"] = text(one.touch.touch.network)
                    return .object(members)
                }),
            "runners_up_left_out": .integer(Int64(runnersUpLeftOut)),
            "window": [
                "version": .integer(Int64(window.version)), "click_hours": .number(Double(window.click) / 3.6e9),
                "view_hours": .number(Double(window.view) / 3.6e9),
            ],
            "fraud": [
                "verdict": .string(verdict.outcome.rawValue), "codes": .array(verdict.codes.map { .string($0) }),
                "install": .string(install.outcome.rawValue), "touch": .string(touchVerdict.outcome.rawValue),
            ],
        ]
    }

    private static func json(_ touch: InstallTouch) -> JSONValue {
        [
            "id": .string(touch.eventID), "app": .string(touch.app), "kind": .string(touch.touch.kind.rawValue),
            "at": .string(touch.touch.at.rfc3339), "click_id": touch.touch.clickID.map { .string($0) } ?? .null,
        ]
    }
}
