internal import AsyncHTTPClient
internal import Attribution
internal import AurumCore
internal import Connectors
internal import Database
internal import Events
internal import Foundation
internal import Leads
internal import Logging
internal import Runtime
internal import Telemetry

/// Conversions out: networks, and whose the conversions are.
enum UploadWiring {
    static func uploader(
        _ store: UploadStore, client: HTTPClient, guards: GuardBook, people: UploadPeople, clock: any WallClock,
        registry: MetricRegistry, health: HealthRegistry
    ) -> Uploader {
        let caller = NetworkCaller(client: client, guards: guards)
        return Uploader(
            store: store, sinks: [.meta: MetaConversions(caller), .google: GoogleDataManager(caller, clock: clock)],
            people: { try await people.persons(org: $0, $1) }, registry: registry, health: health,
            logger: Logger(label: "uploads"))
    }

    /// Takes up what the relay has just put into the log. Repeating it changes nothing.
    static func follow(_ batch: [OutboxEvent], _ uploads: UploadStore, _ leads: LeadReads) async throws {
        let relevant = batch.filter { Self.names.contains($0.name) }
        let orgs = try await uploads.organisations(among: Set(relevant.map(\.org)))
        for event in relevant where orgs.contains(event.org) {
            guard let fact = try await fact(event, leads) else { continue }
            try await uploads.follow(fact, org: event.org)
        }
    }

    private static let names: Set = ["delivery.accepted", "delivery.returned", "ledger.posted", "lead.qualified"]

    private static func fact(_ event: OutboxEvent, _ leads: LeadReads) async throws -> UploadFact? {
        if event.name == "lead.qualified" {
            guard let lead = event.props["lead"]?.string.flatMap({ UID($0) }) else { return nil }
            return .lead(lead, traceID: event.traceID, at: event.at)
        }
        guard let leg = event.props["leg"]?.string.flatMap({ UID($0) }) else { return nil }
        switch event.name {
        case "delivery.accepted":
            guard let minor = event.props["price_minor"]?.integer,
                let currency = event.props["currency"]?.string.flatMap({ Currency($0) })
            else { return nil }
            let price = Money(minorUnits: minor, currency: currency)
            return .sale(leg: leg, traceID: event.traceID, price: price, at: event.at)
        case "delivery.returned": return .returned(leg: leg)
        case "ledger.posted" where event.props["kind"]?.string == "recognised":
            guard let sale = try await leads.sale(org: event.org, leg: leg) else { return nil }
            return .recognised(leg: leg, traceID: sale.traceID, price: sale.price, at: sale.soldAt)
        default: return nil
        }
    }
}

/// Finds out whose conversions are, which clicks came before them, and who refuses advertising.
struct UploadPeople: Sendable {
    let leads: LeadReads
    let events: EventLog
    let store: PolicyEventStore
    let queries: QueryEngine
    let policies: EventPolicies
    let clock: any WallClock

    /// How long before a conversion a click may lie, and how long a refusal in an event counts at the least.
    private static let lookback: Duration = .seconds(90 * 86_400)
    private static let viewLookback: Duration = .seconds(7 * 86_400)
    private static let touchesMax = 1000
    /// Browsers are looked up in the newest events of a batch.
    private static let browserEventsMax = 5000

    /// Everything that is known of one person before the log is asked for all of them at once.
    private struct Known {
        var person = UploadPerson()
        var identifiers: Set<PersonIdentifier> = []
        /// The last decision, and what any event said; what counts of both in the end.
        var consent = AdvertisingConsent()
        var events = AdvertisingConsent()
        var isWithdrawn = false
    }

    /// Whose these are; what cannot be found is left out.
    func persons(org: String, _ subjects: [UploadSubject]) async throws -> [UID: UploadPerson] {
        let conversions = try await leads.conversions(
            org: org, legs: subjects.filter { $0.kind == .sale }.map(\.id),
            leads: subjects.filter { $0.kind == .lead }.map(\.id))
        let times = Dictionary(subjects.map { ($0.id, $0.at) }, uniquingKeysWith: { first, _ in first })
        var known: [UID: Known] = [:]
        for conversion in conversions {
            known[conversion.subject] = try await look(conversion, at: times[conversion.subject] ?? clock.now, org)
        }
        try await addRefusals(&known, org)
        try await settle(&known, org)
        try await addBrowsers(&known, org)
        return known.mapValues(Self.judged)
    }

    private static func judged(_ known: Known) -> UploadPerson {
        var person = known.person
        if known.consent.hasGPC {
            person.refusal = .globalPrivacyControl
        } else if known.consent.isDenied || known.isWithdrawn {
            person.refusal = .noConsent
        }
        person.isConsentGiven = known.consent.isGranted && person.refusal == nil
        return person
    }

    // MARK: one person

    private func look(_ conversion: LeadConversion, at: Timestamp, _ org: String) async throws -> Known {
        var known = Known()
        known.isWithdrawn = conversion.isWithdrawn
        (known.person.email, known.person.phone) = (conversion.email, conversion.phone)
        known.person.externalID = conversion.source.visitorID
        if let visitor = conversion.source.visitorID, !visitor.isEmpty {
            known.identifiers.insert(PersonIdentifier(.anonymous, visitor))
        }
        let touches = try await store.journey(
            JourneyQuery(
                org: org, traceID: conversion.traceID, identifiers: Array(known.identifiers), until: at,
                lookback: Self.lookback, viewLookback: Self.viewLookback, limit: Self.touchesMax))
        for touch in touches.reversed() {
            let named: [(PersonIdentifier.Namespace, String?)] = [
                (.anonymous, touch.anonymousID), (.user, touch.userID), (.device, touch.deviceID),
            ]
            for case (let namespace, let value?) in named where !value.isEmpty {
                known.identifiers.insert(PersonIdentifier(namespace, value))
            }
            let click = Self.click(touch)
            if let click { known.person.clicks.append(click) }
            if let network = touch.network ?? touch.source,
                let value = touch.clickID.flatMap({ $0.isEmpty ? nil : $0 }) ?? click?.value
            {
                known.person.touches.append(
                    NetworkTouch(network: network, clickID: value, campaign: touch.campaign ?? touch.campaignID))
            }
        }
        if known.person.clicks.isEmpty, let landing = conversion.source.landing {
            known.person.clicks = Self.clicks(in: landing, at: at)
        }
        // Sites may know the person by the address, and may have been told a decision under it.
        if let email = conversion.email {
            known.identifiers.formUnion([email.exposed, email.normalized].map { PersonIdentifier(.user, $0) })
        }
        known.consent = events.consent(org: org, of: Array(known.identifiers), policies)
        return known
    }

    /// The click of a touchpoint, where its network takes conversions back by it.
    private static func click(_ touch: Touch) -> NetworkClick? {
        if let landing = touch.landing, let found = clicks(in: landing, at: touch.at).first { return found }
        guard let value = touch.clickID, !value.isEmpty else { return nil }
        switch touch.network {
        case "google": return NetworkClick(.gclid, value, at: touch.at)
        case "meta": return NetworkClick(.fbclid, value, at: touch.at)
        default: return nil
        }
    }

    /// The click ids in the query of an address.
    private static func clicks(in url: String, at: Timestamp) -> [NetworkClick] {
        guard let items = URLComponents(string: url)?.queryItems else { return [] }
        return items.compactMap { item in
            guard let kind = NetworkClick.Kind(rawValue: item.name), let value = item.value,
                (1...500).contains(value.utf8.count)
            else { return nil }
            return NetworkClick(kind, value, at: at)
        }
    }

    // MARK: all of them at once

    /// Identifiers of one query: each has at most twenty answers, few words for `ads` times three for `gpc`, so that
    /// none is left out of ten thousand rows.
    private static let valuesMax = 500
    private static let columns: [(PersonIdentifier.Namespace, ColumnName)] = [
        (.anonymous, ColumnName("anonymous_id")), (.user, ColumnName("user_id")), (.device, ColumnName("device_id")),
    ]

    /// Who refused advertising, and who allowed it, in any event since the longest lookback.
    private func addRefusals(_ known: inout [UID: Known], _ org: String) async throws {
        let all = known.values.reduce(into: Set<PersonIdentifier>()) { $0.formUnion($1.identifiers) }
        let kept = Dictionary(all.map { ($0, policies.storedForm($0, org: org)) }, uniquingKeysWith: { $1 })
        var found: [PersonIdentifier: AdvertisingConsent] = [:]
        for (namespace, column) in Self.columns {
            let values = Set(kept.filter { $0.key.namespace == namespace }.map(\.value.value)).sorted()
            for start in stride(from: 0, to: values.count, by: Self.valuesMax) {
                let some = Array(values[start..<min(start + Self.valuesMax, values.count)])
                for (value, consent) in try await consents(column, some, org) {
                    found[PersonIdentifier(namespace, value), default: AdvertisingConsent()].formUnion(consent)
                }
            }
        }
        for subject in known.keys {
            for identifier in known[subject]?.identifiers ?? [] {
                if let stored = kept[identifier], let consent = found[stored] {
                    known[subject]?.events.formUnion(consent)
                }
            }
        }
    }

    /// Where some events refuse, and others or the last decision allow, the newest counts.
    private func settle(_ known: inout [UID: Known], _ org: String) async throws {
        for (subject, one) in known {
            var newest = one.events
            if newest.isRefused, newest.isGranted || one.consent.isGranted {
                newest =
                    try await events.newestConsent(
                        org: org, of: Array(one.identifiers), from: refusalsFrom, policies) ?? newest
            }
            known[subject]?.consent = one.consent.settled(with: newest)
        }
    }

    private var refusalsFrom: Timestamp { clock.now - Self.lookback - .seconds(86_400) }

    /// Consent in the events of `values`.
    private func consents(
        _ column: ColumnName, _ values: [String], _ org: String
    ) async throws -> [(String, AdvertisingConsent)] {
        let (ads, gpc) = (ColumnName("consent.ads"), ColumnName("consent.gpc"))
        var query = EventQuery()
        query.from = refusalsFrom
        query.filter = .and([
            .isIn(column, values.map { .text($0) }),
            .or([
                .isIn(ads, [.text("denied"), .text("false"), .text("granted")]), .compare(gpc, .equal, .text("true")),
            ]),
        ])
        (query.groupBy, query.limit, query.bots) = ([column, ads, gpc], 10_000, .include)
        return try await rows(query, org).compactMap { row in
            guard row.count >= 3, case .text(let value) = row[0] else { return nil }
            var consent = AdvertisingConsent()
            consent.add(ads: Self.text(row[1]), gpc: Self.text(row[2]))
            return (value, consent)
        }
    }

    private func rows(_ query: EventQuery, _ org: String) async throws -> [[QueryValue]] {
        do throws(QueryError) {
            return try await queries.answer(query, org: org).rows
        } catch {
            guard case .busy = error else { throw error }
            throw JobFault("queries_busy", "Too many queries of the organisation run.", retry: .after(.seconds(15)))
        }
    }

    private static func text(_ value: QueryValue) -> String? {
        if case .text(let text) = value { text } else { nil }
    }

    /// The newest browser of each person, and the cookie of Meta's pixel where the site sends it along.
    private func addBrowsers(_ known: inout [UID: Known], _ org: String) async throws {
        var owners: [String: [UID]] = [:]
        for (subject, one) in known {
            for identifier in one.identifiers where identifier.namespace == .anonymous {
                owners[policies.storedForm(identifier, org: org).value, default: []].append(subject)
            }
        }
        guard !owners.isEmpty else { return }
        var filter = EventFilter(org: org)
        filter.identifiers = owners.keys.map { PersonIdentifier(.anonymous, $0) }
        filter.types = [.page, .track]
        filter.from = clock.now - .seconds(8 * 86_400)
        filter.limit = Self.browserEventsMax
        for event in try await events.store.events(filter) {
            for subject in owners[event.anonymousID ?? ""] ?? [] {
                let (context, props) = (event.context, event.props)
                if known[subject]?.person.userAgent == nil {
                    known[subject]?.person.userAgent = context?["user_agent"]?.string ?? context?["userAgent"]?.string
                }
                if known[subject]?.person.browserID == nil {
                    known[subject]?.person.browserID = context?["fbp"]?.string ?? props?["fbp"]?.string
                }
            }
        }
    }
}
