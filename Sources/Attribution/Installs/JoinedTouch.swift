internal import AurumCore
internal import Events

/// A touch that a match joins to the journey of who installed: an event of another person before any merge.
package struct JoinedTouch: Sendable {
    /// `person` is who installed.
    var place: JourneyPlace
    var at: Timestamp
    /// `LogRecord.Kind`.
    var kind: UInt8
    /// Empty without a name.
    var campaign: String
    var channel: String
    var app: String

    /// Those of the newest installs that one run takes.
    package static let max = 500_000
}

extension JoinedTouch {
    /// As a run over the log keeps it; nil where who installed is nobody.
    func record(_ plan: LogRunPlan) -> LogRecord? {
        guard place.person != 0 else { return nil }
        let person = plan.resolver.version == 0 ? place.person : plan.resolver.person(place.person)
        guard person != 0 else { return nil }
        let campaign = self.campaign.isEmpty ? 0 : LogBlockReader.campaign(self.campaign, plan)
        return LogRecord(
            person: person, time: at.microseconds, id: place.order, extra: place.click,
            label: TouchLabel.of(campaign: campaign, channel: TouchChannel.number(channel)), tail: place.tail,
            kind: kind, app: UInt8(truncatingIfNeeded: Swift.min(255, plan.apps.code(app))))
    }
}
