package import AurumCore
internal import Logging

/// Why a merge or unmerge was not made.
package enum IdentityError: Error, Sendable, Equatable {
    case refused(LinkRefusal)
    case sameIdentifier
    /// There is no such merge in this organisation, or it was taken back before.
    case unknownMerge
}

/// What is known of one person.
package struct PersonReport: Sendable, Equatable {
    package struct Identifier: Sendable, Equatable {
        package var namespace: PersonIdentifier.Namespace
        package var key: UInt64
        /// As the sender wrote it, where the log still shows it.
        package var value: String?
    }

    package struct Link: Sendable, Equatable {
        package var merge: MergeID
        package var from: UInt64
        package var to: UInt64
        package var cause: LinkCause
        /// The app that sent the event, or the key that merged by hand.
        package var actor: String
        package var at: Timestamp
        package var eventID: String?
    }

    /// The key of the oldest identifier.
    package var person: UInt64
    package var version: Int
    /// Oldest first.
    package var identifiers: [Identifier]
    package var links: [Link]
}

extension PersonReport {
    /// In answers; keys as 16 hex digits.
    package var json: JSONValue {
        [
            "person": .string(KeyText.hex(person)), "version": .integer(Int64(version)),
            "identifiers": .array(identifiers.map(\.json)), "links": .array(links.map(\.json)),
        ]
    }
}

extension PersonReport.Identifier {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = ["namespace": .string(namespace.name), "key": .string(KeyText.hex(key))]
        if let value { members["value"] = .string(value) }
        return .object(members)
    }
}

extension PersonReport.Link {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "merge_id": .string(merge.text), "from": .string(KeyText.hex(from)), "to": .string(KeyText.hex(to)),
            "cause": .string(cause.name), "actor": .string(actor), "at": .string(at.rfc3339),
        ]
        if let eventID { members["event_id"] = .string(eventID) }
        return .object(members)
    }
}

/// Looks at persons, and merges and unmerges them by hand. A change is in the log, synced, before a call returns.
package struct IdentityService: Sendable {
    private let capture: EventCapture
    private let store: BlockEventStore
    let secret: InstallationSecret
    private let clock: any WallClock
    private let logger: Logger
    package let persons: PersonDirectory

    init(
        capture: EventCapture, store: BlockEventStore, persons: PersonDirectory, secret: InstallationSecret,
        clock: any WallClock, logger: Logger
    ) {
        (self.capture, self.store, self.persons, self.secret) = (capture, store, persons, secret)
        (self.clock, self.logger) = (clock, logger)
    }

    /// The keyed hash by which an identifier is known in an organisation.
    package func key(org: String, _ identifier: PersonIdentifier) -> UInt64 {
        secret.keys(org: org, app: "").person(identifier).high
    }

    // MARK: changes

    /// Makes two persons one; may join persons who both have a user id. Repeating it answers the same merge.
    ///
    /// - Throws: `IdentityError`, or the log's refusal.
    package func merge(
        org: String, _ a: PersonIdentifier, _ b: PersonIdentifier, reason: String, actor: String
    ) async throws -> MergeID {
        let keys = secret.keys(org: org, app: EventCapture.internalApp)
        let (from, to) = (LinkEnd(a, keys), LinkEnd(b, keys))
        guard from.key != to.key else { throw IdentityError.sameIdentifier }
        let id = UID(now: clock.now)
        let merge = MergeID(from: from.key, tag: keys.event(id: id.hex).high)
        switch trial(org, from, to, merge) {
        case .known(let before): return before
        case .refused(let refusal): throw IdentityError.refused(refusal)
        case .linked: break
        }
        try await append(
            id, org, IdentityRule.merged, merge,
            [
                "cause": .string(LinkCause.manual.name), "actor": .string(actor), "reason": .string(reason),
                "a": IdentityRule.props(from), "b": IdentityRule.props(to),
            ])
        // Another change may have come first in the log.
        if persons.graph(org: org).holds(merge) { return merge }
        switch trial(org, from, to, merge) {
        case .known(let before): return before
        case .refused(let refusal): throw IdentityError.refused(refusal)
        case .linked: throw IdentityError.unknownMerge
        }
    }

    /// What the link would end in now; changes nothing.
    private func trial(_ org: String, _ from: LinkEnd, _ to: LinkEnd, _ merge: MergeID) -> IdentityGraph.Outcome {
        var graph = persons.graph(org: org)
        return graph.link(
            from, to, cause: .manual, tag: merge.tag, at: 0, actor: "", limits: persons.limits,
            room: persons.limits.identifiersMax - persons.identifierCount)
    }

    /// Takes the link of a merge out again, whatever made it.
    package func unmerge(org: String, _ merge: MergeID, reason: String, actor: String) async throws {
        guard persons.graph(org: org).holds(merge) else { throw IdentityError.unknownMerge }
        try await append(
            UID(now: clock.now), org, IdentityRule.unmerged, merge,
            ["actor": .string(actor), "reason": .string(reason)])
    }

    private func append(
        _ id: UID, _ org: String, _ name: String, _ merge: MergeID, _ props: [String: JSONValue]
    ) async throws {
        var props = props
        props["merge_id"] = .string(merge.text)
        try await capture.appendInternal([
            InternalEvent(
                id: id, org: org, key: merge.text, name: name, traceID: nil, at: clock.now, props: .object(props))
        ])
        logger.info(
            "\(name)",
            metadata: [
                "code": "\(name.replacing(".", with: "_"))", "org": "\(org)", "merge_id": "\(merge.text)",
                "actor": "\(props["actor"]?.string ?? "")",
            ])
    }

    /// What the graphs would hold if they were made anew from every block of the log, for comparing with
    /// `PersonDirectory.lines`. Reads the whole log.
    package func rebuiltLines(_ source: any ColumnSource) throws -> [String] {
        let fresh = persons.emptied()
        let replay = IdentityReplay(secret: secret, persons: fresh)
        for segment in try source.segments() {
            for index in segment.blocks.indices {
                if let block = try segment.read(index) { try replay.take(block) }
            }
        }
        return fresh.lines
    }

    // MARK: looking

    /// The person of an identifier, with the values and event ids that the log still shows for the first links.
    package func person(org: String, _ identifier: PersonIdentifier) async throws -> PersonReport {
        let graph = persons.graph(org: org)
        let key = key(org: org, identifier)
        var report =
            graph.report(key)
            ?? PersonReport(
                person: key, version: graph.version,
                identifiers: [PersonReport.Identifier(namespace: identifier.namespace, key: key)], links: [])
        var values = [key: identifier.value]
        for index in report.links.indices.prefix(persons.limits.readableLinksMax) {
            guard let event = try await event(org, report.links[index]) else { continue }
            report.links[index].eventID = event.id
            let keys = secret.keys(org: org, app: event.app)
            for identifier in event.linkedIdentifiers { values[keys.person(identifier).high] = identifier.value }
        }
        for index in report.identifiers.indices {
            report.identifiers[index].value = values[report.identifiers[index].key]
        }
        return report
    }

    /// The event that made a link.
    private func event(_ org: String, _ link: PersonReport.Link) async throws -> StoredEvent? {
        var filter = EventFilter(org: org)
        switch link.cause {
        case .identify: filter.types = [.identify]
        case .alias: filter.types = [.alias]
        case .manual: (filter.types, filter.names) = ([.internal], [IdentityRule.merged])
        }
        (filter.from, filter.to, filter.limit) = (link.at, link.at, 1000)
        return try await store.events(filter).first { event in
            secret.keys(org: org, app: event.app).event(id: event.id).high == link.merge.tag
        }
    }
}

extension StoredEvent {
    /// Every identifier that persons are made of, `previous_id` under both of its readings.
    var linkedIdentifiers: [PersonIdentifier] {
        let all: [(PersonIdentifier.Namespace, String?)] = [
            (.user, userID), (.device, deviceID), (.anonymous, anonymousID), (.click, clickID),
            (.anonymous, previousID), (.user, previousID),
        ]
        return all.compactMap { namespace, value in
            value.flatMap { $0.isEmpty ? nil : PersonIdentifier(namespace, $0) }
        }
    }
}

extension IdentityGraph {
    /// nil for an identifier that is in no link.
    func report(_ key: UInt64) -> PersonReport? {
        guard let node = node(key) else { return nil }
        let members = members(node).sorted { nodes[$0].age < nodes[$1].age }
        var found: [PersonReport.Link] = []
        for member in members {
            eachLink(member) { _, link, _ in
                guard link.a == member, let cause = LinkCause(rawValue: link.cause) else { return }
                found.append(
                    PersonReport.Link(
                        merge: mergeID(link), from: nodes[link.a].key, to: nodes[link.b].key, cause: cause,
                        actor: actors.name(link.actor), at: Timestamp(microseconds: link.at)))
            }
        }
        found.sort { ($0.at, $0.merge.from, $0.merge.tag) < ($1.at, $1.merge.from, $1.merge.tag) }
        let identifiers = members.map { member in
            PersonReport.Identifier(
                namespace: PersonIdentifier.Namespace(rawValue: nodes[member].namespace) ?? .anonymous,
                key: nodes[member].key)
        }
        return PersonReport(person: person(key), version: version, identifiers: identifiers, links: found)
    }
}
