internal import AsyncHTTPClient
internal import Attribution
internal import AurumCore
internal import Connectors
internal import Database
internal import Events
internal import Logging
internal import Runtime
internal import Telemetry

/// Callbacks to networks: who carries them, and whose installs and sales they tell of.
enum CallbackWiring {
    static func desk(
        _ store: CallbackStore, client: HTTPClient, guards: GuardBook, people: UploadPeople, clock: any WallClock,
        registry: MetricRegistry
    ) -> CallbackDesk {
        let (events, policies) = (people.events, people.policies)
        return CallbackDesk(
            store: store, sink: CallbackCaller(client: client, guards: guards, clock: clock),
            people: { try await people.persons(org: $0, $1) },
            refusal: { UploadRefusal(events.consent(org: $0, of: $1, policies)) }, registry: registry, clock: clock,
            logger: Logger(label: "callbacks"))
    }

    /// Takes up the sales that the relay has just put into the log. Repeating it changes nothing.
    static func follow(_ batch: [OutboxEvent], _ callbacks: CallbackDesk) async throws {
        let sales = batch.filter { $0.name == "delivery.accepted" }
        let orgs = try await callbacks.store.organisations(tellingSalesAmong: Set(sales.map(\.org)))
        for event in sales where orgs.contains(event.org) {
            guard let leg = event.props["leg"]?.string.flatMap({ UID($0) }),
                let minor = event.props["price_minor"]?.integer,
                let currency = event.props["currency"]?.string.flatMap({ Currency($0) })
            else { continue }
            let price = Money(minorUnits: minor, currency: currency)
            try await callbacks.follow(
                CallbackSale(leg: leg, traceID: event.traceID, price: price, at: event.at), org: event.org)
        }
    }
}
