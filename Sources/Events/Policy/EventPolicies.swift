internal import AurumCore
package import Database
internal import Synchronization
package import Telemetry

/// What stands between a parsed event and the log: plans, consent, sealing, and the bound of the quarantine.
///
/// One for the process. Asked once a request for a `RequestPolicy`.
package final class EventPolicies: Sendable {
    package let apps: AppBook
    package let consents: ConsentBook
    package let sealer: any PersonalFieldSealer
    package let quota: QuarantineQuota
    /// Networks of data centres; nil without a list.
    let datacentres: AddressRanges?
    let rates = RateWindow()

    package init(
        apps: AppBook, consents: ConsentBook, sealer: any PersonalFieldSealer,
        quota: QuarantineQuota = QuarantineQuota(bytesMax: QuarantineQuota.bytesMaxStandard),
        datacentres: AddressRanges? = nil
    ) {
        (self.apps, self.consents, self.sealer, self.quota) = (apps, consents, sealer, quota)
        self.datacentres = datacentres?.isEmpty == true ? nil : datacentres
    }

    /// Reads settings, plans and consents of a database.
    package static func open(
        _ database: Database, sealer: any PersonalFieldSealer, quota: QuarantineQuota,
        datacentres: AddressRanges? = nil
    ) async throws -> EventPolicies {
        EventPolicies(
            apps: try await AppBook.open(database), consents: try await ConsentBook.open(database), sealer: sealer,
            quota: quota, datacentres: datacentres)
    }

    /// The policy for one request; nil for Aurum's own events, which hold no personal data.
    func request(
        _ source: CaptureSource, _ format: WireFormat, receivedAt: Int64, keys: IdentityKeys,
        plan: CompiledPlan?? = nil
    ) -> RequestPolicy? {
        guard format != .internalEvents else { return nil }
        let app = apps.state(org: source.org, app: source.app)
        return RequestPolicy(
            self, app: app, source: source, format: format, receivedAt: receivedAt, keys: keys,
            plan: plan ?? (app.settings.planMode == .off ? nil : app.plan),
            refuses: plan != nil || app.settings.planMode == .enforce)
    }

    /// The form in which the log keeps an identifier: look-ups by value must use it.
    package func storedForm(_ identifier: String, org: String) -> String {
        EventRewrite.stored(identifier, org: org, sealer: sealer) ?? identifier
    }

    package func storedForm(_ identifier: PersonIdentifier, org: String) -> PersonIdentifier {
        let isReference = identifier.namespace == .event || identifier.namespace == .click
        let value = EventRewrite.stored(identifier.value, org: org, sealer: sealer, isReference: isReference)
        return PersonIdentifier(identifier.namespace, value ?? identifier.value)
    }

    /// The keyed hash under which a personal field is found: the value of `traits.<name>_hash`.
    package func lookupHash(_ value: String, org: String) -> String {
        sealer.lookupHash(PersonalCanonical.text(value), org: org)
    }
}

/// Bytes of quarantined events on disk, and how many there may be.
package final class QuarantineQuota: Sendable {
    package static let bytesMaxStandard = 10 << 30
    package let bytesMax: Int
    private let used = Atomic<Int>(0)
    private let gauge: Gauge?

    package init(bytesMax: Int, registry: MetricRegistry? = nil) {
        self.bytesMax = bytesMax
        gauge = registry?.gauge(.quarantineBytes)
    }

    /// The smaller of 10 GB and a twentieth of the volume.
    package convenience init(volumeBytes: Int?, registry: MetricRegistry) {
        let share = volumeBytes.map { $0 / 20 } ?? Self.bytesMaxStandard
        self.init(bytesMax: min(Self.bytesMaxStandard, share), registry: registry)
    }

    package var bytes: Int { used.load(ordering: .relaxed) }

    /// Counts an event; false when it does not fit any more.
    func enter(_ count: Int) -> Bool {
        let after = used.add(count, ordering: .relaxed).newValue
        guard after <= bytesMax else {
            used.subtract(count, ordering: .relaxed)
            return false
        }
        gauge?.set(Double(after))
        return true
    }

    func leave(_ count: Int) {
        guard count > 0 else { return }
        let after = used.subtract(count, ordering: .relaxed).newValue
        gauge?.set(Double(after))
    }

    /// Sets what a scan of the log found.
    package func measured(_ bytes: Int) {
        used.store(bytes, ordering: .relaxed)
        gauge?.set(Double(bytes))
    }
}
