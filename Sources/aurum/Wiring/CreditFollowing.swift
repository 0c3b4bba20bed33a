internal import Attribution
internal import AurumCore
internal import Events
internal import Leads
internal import Logging
internal import ServiceLifecycle

/// Looks again at the credit of leads and sales soon after touches of their persons came in late, or persons were
/// merged. What a stop leaves is done by the next start.
struct CreditFollowing: Service {
    /// Between two looks, so that what comes of one person within it is one.
    static let pause: Duration = .seconds(5)

    let follower: CreditFollower
    let store: BlockEventStore
    let logger: Logger

    init(
        _ attribution: AttributionService, _ events: EventLog, _ policies: EventPolicies, _ leads: LeadReads,
        logger: Logger
    ) {
        let store = events.store
        (self.store, self.logger) = (store, logger)
        follower = CreditFollower(
            attribution, source: store, log: store.logIdentity,
            keys: { org, visitor in
                let stored = policies.storedForm(PersonIdentifier(.anonymous, visitor), org: org)
                return store.personKeys(org: org, of: stored)
            },
            live: { org, since, limit in
                try await leads.credited(org: org, since: since, limit: limit).map { Self.live($0, org) }
            }, orgs: { try await leads.orgs() }, clock: SystemWallClock(), logger: logger)
    }

    /// For the jobs that look at all of them, because somebody asks.
    static func recomputation(
        _ attribution: AttributionService, _ leads: LeadReads, logger: Logger
    ) -> LiveRecomputation {
        LiveRecomputation(
            attribution,
            page: { org, from, place, limit in
                try await leads.credited(
                    org: org, since: from, before: place.before, after: place.after, limit: limit
                ).map { live($0, org) }
            }, logger: logger)
    }

    private static func live(_ lead: CreditedLead, _ org: String) -> LiveCredit {
        LiveCredit(
            lead.isSold ? .sale : .lead, lead.id, org: org, traceID: lead.traceID, visitorID: lead.visitorID,
            at: lead.at, leadAt: lead.createdAt)
    }

    func run() async throws {
        let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let subscription = store.onCommit { _ in wake.yield() }
        defer { subscription.cancel() }
        // What an earlier process left.
        wake.yield()
        await cancelWhenGracefulShutdown {
            for await _ in wakes {
                do { try await follower.catchUp() } catch is CancellationError {
                    return
                } catch {
                    logger.warning(
                        "credit could not be looked at again yet",
                        metadata: ["code": "credit_waiting", "error": "\(error)"])
                    wake.yield()
                }
                do { try await Task.sleep(for: Self.pause) } catch { return }
                if await follower.hasMore { wake.yield() }
            }
        }
    }
}
