package import AurumCore
internal import Crypto
internal import Foundation

/// A touch as the rules look at it.
package struct FraudTouch: Sendable, Equatable {
    var id: UID
    /// The event's id as it was given, where that is no UUID.
    var event: String?
    /// Microseconds since 1970.
    var at: Int64
    var kind: CandidateTouch.Kind
    var network: String?
    var publisher: String?
    /// Digest of the device's identifier within the organisation.
    var device: UID?
    var address: String?
    /// The network that the address is in, as the log keeps it.
    var range: String?
    var system: String?

    var source: FraudSource? {
        publisher.map { FraudSource(network: network ?? "", publisher: $0) }
    }
}

/// Who sold a touch.
package struct FraudSource: Sendable, Hashable, Comparable {
    /// Empty where the touch names none.
    package var network: String
    package var publisher: String

    package init(network: String, publisher: String) { (self.network, self.publisher) = (network, publisher) }

    package static func < (left: FraudSource, right: FraudSource) -> Bool {
        (left.network, left.publisher) < (right.network, right.publisher)
    }
}

/// An install with every touch that may have led to it: all that the rules know of it.
package struct FraudInstall: Sendable, Equatable {
    package var id: UID
    /// The event's id as it was given, where that is no UUID.
    var event: String?
    var app: String
    /// Microseconds since 1970.
    var at: Int64
    var beganAt: Int64?
    var device: UID?
    var address: String?
    var range: String?
    var system: String?
    var isEmulator = false
    var isFromDataCentre = false
    /// By time and id.
    var touches: [FraudTouch] = []

    /// Touches of an install that are kept, the newest: far more than windows leave of a person.
    static let touchesMax = 50
    private static let textBytesMax = 500

    /// Who claims the install: its newest click before it, else its newest view.
    package var claim: Int? {
        let before = touches.indices.filter { touches[$0].at <= at }
        return before.last { touches[$0].kind == .click } ?? before.last
    }

    /// Microseconds from a touch to the install; nil when their clocks have nothing in common.
    func delay(_ touch: FraudTouch) -> Int64? {
        let (delay, isOver) = at.subtractingReportingOverflow(touch.at)
        return isOver ? nil : delay
    }
}

extension FraudInstall {
    /// - Parameter touches: in any order; ids that stand twice count once.
    package init(_ facts: InstallFacts, _ touches: [CandidateTouch]) {
        (id, event) = (facts.id, Self.text(facts.event))
        app = Self.text(facts.app) ?? ""
        at = facts.at.microseconds
        beganAt = facts.installBeganAt?.microseconds
        device =
            [facts.deviceID, facts.advertisingID, facts.vendorID].lazy
            .compactMap { Self.digest($0, org: facts.org) }.first
        (address, range, system) = (
            Self.text(facts.addressHash), Self.text(facts.addressNetwork), Self.text(facts.system)
        )
        (isEmulator, isFromDataCentre) = (facts.isEmulator, facts.isFromDataCentre)
        var seen: Set<UID> = []
        let made = touches.filter { seen.insert($0.id).inserted }.map { touch in
            FraudTouch(
                id: touch.id, event: Self.text(touch.event), at: touch.at.microseconds, kind: touch.kind,
                network: Self.text(touch.network), publisher: Self.text(touch.publisher),
                device: Self.digest(touch.deviceID, org: facts.org),
                address: Self.text(touch.addressHash), range: Self.text(touch.addressNetwork),
                system: Self.text(touch.system))
        }
        self.touches = made.sorted { ($0.at, $0.id) < ($1.at, $1.id) }
    }

    /// A text as every table keeps it; nil for none.
    static func text(_ text: String?) -> String? {
        guard let text, !text.isEmpty else { return nil }
        return String(decoding: text.storable.utf8.prefix(textBytesMax), as: UTF8.self)
    }

    /// What stands for an identifier of a device in the tables: half of SHA-256 of the organisation and the identifier
    /// in small letters. nil for identifiers that name nothing, such as all zeros.
    static func digest(_ identifier: String?, org: String) -> UID? {
        guard let identifier, identifier.utf8.contains(where: { $0 != 0x30 && $0 != 0x2d && $0 != 0x20 }) else {
            return nil
        }
        var hash = SHA256()
        hash.update(data: Data(org.utf8))
        hash.update(data: Data([0]))
        hash.update(data: Data(identifier.lowercased().utf8))
        return UID(bytes: Array(hash.finalize().prefix(16)))
    }
}
