internal import AurumCore
internal import Database
package import Runtime

/// The work on leads that outlives a request: selling them, asking again for answers that stayed unknown, giving those
/// up, and recognising revenue. Each is enqueued in the transaction that makes it necessary.
package struct LeadJobs: Sendable {
    static let route = JobKind("leads.route", priority: .high, attemptsMax: 20)
    static let repost = JobKind("leads.repost", attemptsMax: 20)
    static let expire = JobKind("leads.expire", attemptsMax: JobLimits.attemptsMax)
    static let recognise = JobKind("leads.recognise", priority: .low, attemptsMax: JobLimits.attemptsMax)

    /// Legs whose windows end in the same minute are recognised by one job.
    private static let recogniseEvery: Int64 = 60_000_000
    /// Waiting times before an unknown post is asked for again: 1, 5, 15, then every 60 minutes.
    private static let repostDelays: [Duration] = [.seconds(60), .seconds(300), .seconds(900), .seconds(3600)]

    /// Without them a lead would stay routing for ever, an answer open, or revenue deferred: nobody cancels them.
    package static let neverCancelled: Set<String> = [route.name, expire.name, recognise.name]

    private let store: SQLJobStore
    /// Leads of an organisation that are routed at once.
    private let concurrency: Int

    package init(_ store: SQLJobStore, concurrency: Int = 8) {
        (self.store, self.concurrency) = (store, concurrency)
    }

    /// One job sells a lead, until it is sold, unsold, or an answer is open.
    /// - Parameter isFollowUp: false for a new lead, which a full queue may refuse.
    func route(_ lead: UID, org: String, traceID: UID, in tx: Transaction, isFollowUp: Bool = false) throws {
        try store.enqueue(
            NewJob(
                Self.route, org: org, payload: ["lead": .string(lead.hex)], unique: (lead.hex, .untilDone),
                concurrency: JobConcurrency("leads.route", limit: concurrency), traceID: traceID), in: tx,
            isFollowUp: isFollowUp)
    }

    /// - Parameter attempts: posts made so far.
    func repost(_ leg: LegRow, attempts: Int, in tx: Transaction) throws {
        let delay = Self.repostDelays[min(max(attempts - 1, 0), Self.repostDelays.count - 1)]
        try store.enqueue(
            NewJob(
                Self.repost, org: leg.org, payload: ["leg": .string(leg.id.hex)], due: tx.now + delay,
                unique: (leg.id.hex, .untilDone), traceID: leg.traceID), in: tx, isFollowUp: true)
    }

    func expire(_ leg: LegRow, at due: Timestamp, in tx: Transaction) throws {
        try store.enqueue(
            NewJob(
                Self.expire, org: leg.org, payload: ["leg": .string(leg.id.hex)], due: due,
                unique: (leg.id.hex, .untilDone), traceID: leg.traceID), in: tx, isFollowUp: true)
    }

    /// - Parameter moment: the end of a leg's return window.
    func recognise(org: String, at moment: Timestamp, in tx: Transaction) throws {
        let minute = (moment.microseconds + Self.recogniseEvery - 1) / Self.recogniseEvery
        try store.enqueue(
            NewJob(
                Self.recognise, org: org, due: Timestamp(microseconds: minute * Self.recogniseEvery),
                unique: (String(minute), .untilStarted)), in: tx, isFollowUp: true)
    }
}
