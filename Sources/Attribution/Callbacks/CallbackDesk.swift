package import AurumCore
internal import Database
package import Events
package import Logging
package import Runtime
package import Telemetry

/// One request of a callback, and with what it is signed. Holds a click id and a secret: never logged.
package struct CallbackCall: Sendable {
    package var callback: UID
    package var delivery: UID
    package var request: CallbackRequest
    /// nil: unsigned.
    package var secret: String?

    package init(callback: UID, delivery: UID, request: CallbackRequest, secret: String?) {
        (self.callback, self.delivery) = (callback, delivery)
        (self.request, self.secret) = (request, secret)
    }
}

/// Whatever carries callbacks. Implementations never throw and answer soon after their task is cancelled.
package protocol CallbackSink: Sendable {
    func send(_ call: CallbackCall) async -> CallbackOutcome
}

/// A lead that a buyer took.
package struct CallbackSale: Sendable, Equatable {
    package var leg: UID
    package var traceID: UID?
    package var price: Money
    package var at: Timestamp

    package init(leg: UID, traceID: UID?, price: Money, at: Timestamp) {
        (self.leg, self.traceID, self.price, self.at) = (leg, traceID, price, at)
    }
}

/// Tells networks of installs, conversions and sales by callbacks, in jobs: at least once, under one delivery id, with
/// a record of every attempt. Nobody is told of installs that the fraud rules rejected or of persons who refuse
/// advertising.
package struct CallbackDesk: Sendable {
    /// What a person's last decision says against advertising, by identifiers as events store them.
    package typealias Refusal = @Sendable (_ org: String, _ identifiers: [PersonIdentifier]) -> UploadRefusal?

    package let store: CallbackStore
    private let sink: any CallbackSink
    private let people: Uploader.People
    private let refusal: Refusal
    private let registry: MetricRegistry
    private let clock: any WallClock
    private let logger: Logger
    /// Called between the sending and its record: tests end there.
    private let afterSending: @Sendable () throws -> Void

    /// - Parameter people: whose sales these are, as for uploads.
    package init(
        store: CallbackStore, sink: any CallbackSink, people: @escaping Uploader.People,
        refusal: @escaping Refusal, registry: MetricRegistry, clock: any WallClock, logger: Logger,
        afterSending: @escaping @Sendable () throws -> Void = {}
    ) {
        (self.store, self.sink, self.people, self.refusal) = (store, sink, people, refusal)
        (self.registry, self.clock, self.logger) = (registry, clock, logger)
        self.afterSending = afterSending
    }

    /// What does the jobs of callbacks. A stop interrupts them: what was on its way is told again under its id.
    package var handlers: [JobHandler] {
        [
            JobHandler(CallbackStore.sendJob, stopping: .interrupt, makesCalls: true) { try await self.send($0) },
            JobHandler(CallbackStore.saleJob, stopping: .interrupt) { try await self.takeUp($0) },
        ]
    }

    /// Removes what is old, and gives deliveries their jobs that lost them.
    package func tend() async throws {
        let purged = try await store.purge()
        if purged > 0 {
            logger.info(
                "old callbacks were removed", metadata: ["code": "callbacks_purged", "deliveries": "\(purged)"])
        }
        try await store.purgeConversions()
        try await store.adopt()
    }

    // MARK: asked by hand

    /// The template filled with an example; sent where that is asked for, with no record.
    /// - Throws: `CallbackError.unknownCallback`, `sealedByOther`.
    package func test(_ id: UID, org: String, sends: Bool) async throws -> JSONValue {
        let callback = try await store.known(id, org: org)
        let facts = CallbackFacts.sample(event: callback.event, network: callback.network, now: clock.now)
        let request = try callback.template.request(facts)
        var members: [String: JSONValue] = [
            "request": request.json, "signed": .bool(callback.secret != nil), "sent": .bool(sends),
        ]
        guard sends else { return .object(members) }
        let outcome = await sink.send(
            CallbackCall(
                callback: id, delivery: facts.deliveryID, request: request, secret: try store.secret(callback)))
        (members["outcome"], members["reason"]) = (.string(outcome.word), .string(outcome.reason))
        members["status"] = outcome.status.map { .integer(Int64($0)) } ?? .null
        return .object(members)
    }

    /// One delivery with every attempt, and what would be sent of it now: `request` is null where nothing would.
    /// - Throws: `CallbackError.unknownDelivery`.
    package func read(_ id: UID, org: String) async throws -> JSONValue {
        let (open, attempts) = try await store.whole(id, org: org)
        var members = open.delivery.json.object ?? [:]
        members["history"] = .array(attempts)
        members["request"] = .null
        if let person = try? await person(of: open), why(open, person) == nil,
            let request = try? open.callback.template.request(facts(open, person))
        {
            members["request"] = request.json
        }
        return .object(members)
    }

    // MARK: sales

    /// Takes up a sale where a template tells of sales. Repeating it changes nothing.
    package func follow(_ sale: CallbackSale, org: String) async throws {
        let (store, due) = (store, sale)
        try await store.database.write("callbacks.follow") { tx in
            guard try !CallbackStore.enabled("sale", org, receivedAt: due.at, in: tx).isEmpty else { return }
            var payload: [String: JSONValue] = [
                "leg": .string(due.leg.hex), "price_minor": .integer(due.price.minorUnits),
                "currency": .string(due.price.currency.code), "at": .integer(due.at.microseconds),
            ]
            payload["trace"] = due.traceID.map { .string($0.hex) }
            try store.jobs.enqueue(
                NewJob(
                    CallbackStore.saleJob, org: org, payload: .object(payload),
                    unique: (due.leg.hex, .untilDone)),
                in: tx, isFollowUp: true)
        }
    }

    /// Looks up whose click came before a sale, and takes it up for the templates of those networks.
    private func takeUp(_ job: RunningJob) async throws {
        let payload = try job.payload()
        let leg = try job.uid("leg")
        guard let minor = payload["price_minor"]?.integer, let at = payload["at"]?.integer,
            let currency = payload["currency"]?.string.flatMap({ Currency($0) })
        else { throw JobFault("bad_payload", retry: .never) }
        let moment = Timestamp(microseconds: at)
        let trace = payload["trace"]?.string.flatMap { UID($0) }
        let subject = UploadSubject(kind: .sale, id: leg, traceID: trace, at: moment)
        let person = try await people(job.org, [subject])[leg]
        let (store, org) = (store, job.org)
        try await store.database.write("callbacks.takeUp") { tx in
            try job.complete(in: tx)
            // Nobody knows the person any more: nobody knows the click either.
            guard let person else { return }
            for callback in try CallbackStore.enabled("sale", org, receivedAt: moment, in: tx) {
                guard person.touch(of: callback.network) != nil else { continue }
                var new = NewCallback(
                    kind: .sale, subject: NewCallback.subject(["sale", leg.hex]), reference: leg.hex, at: moment)
                new.traceID = trace
                new.value = Money(minorUnits: minor, currency: currency)
                new.suppression = person.refusal?.rawValue
                try store.add(new, to: callback, in: tx)
            }
        }
    }

    // MARK: one attempt

    private func send(_ job: RunningJob) async throws {
        let id = try job.uid("delivery")
        guard let known = try await store.open(id, org: job.org) else { return }
        let person = try await person(of: known)
        guard
            let open = try await store.begin(id, job, judge: { why($0, person) })
        else { return }
        let began = ContinuousClock.now
        let outcome = await perform(open, person)
        registry.histogram(.callbackRequests, open.delivery.kind.rawValue).observe(ContinuousClock.now - began)
        // The receiver may have it: what a stop interrupted is told again.
        try Task.checkCancellation()
        try afterSending()
        guard let delivery = try await store.record(outcome, of: id, job) else { return }
        note(delivery, outcome)
    }

    /// Whose a sale is; nil for what belongs to an install, and for a person that is not known any more.
    private func person(of open: OpenCallback) async throws -> UploadPerson? {
        guard open.delivery.kind == .sale, let leg = UID(open.delivery.reference) else { return nil }
        let subject = UploadSubject(
            kind: .sale, id: leg, traceID: open.delivery.traceID, at: open.delivery.occurredAt)
        return try await people(open.delivery.org, [subject])[leg]
    }

    /// Why a delivery is not sent as things stand now; nil where it is.
    private func why(_ open: OpenCallback, _ person: UploadPerson?) -> String? {
        guard open.callback.isEnabled else { return CallbackStore.switchedOff }
        let delivery = open.delivery
        let needsClick = (try? open.callback.template.macros.contains(.clickID)) ?? false
        if delivery.kind == .sale {
            guard let person else { return UploadRefusal.noConsent.rawValue }
            if let refusal = person.refusal { return refusal.rawValue }
            return person.touch(of: delivery.network) == nil ? "no_click_id" : nil
        }
        guard let install = open.install else { return "erased" }
        if let why = install.suppression { return why }
        guard install.network == delivery.network else { return "restated" }
        if delivery.kind == .install, install.isReinstall { return CallbackInstall.reinstall }
        if let refusal = refusal(delivery.org, Self.identifiers(install.facts)) { return refusal.rawValue }
        return needsClick && install.clickID?.isEmpty ?? true ? "no_click_id" : nil
    }

    private static func identifiers(_ facts: JSONValue) -> [PersonIdentifier] {
        let named: [(PersonIdentifier.Namespace, String)] = [
            (.device, "device_id"), (.user, "user_id"), (.click, "click_id"),
        ]
        return named.compactMap { namespace, name in
            facts[name]?.string.flatMap { $0.isEmpty ? nil : PersonIdentifier(namespace, $0) }
        }
    }

    private func facts(_ open: OpenCallback, _ person: UploadPerson?) -> CallbackFacts {
        let delivery = open.delivery
        var facts = CallbackFacts(
            deliveryID: delivery.id, event: delivery.event, network: delivery.network,
            conversionID: delivery.reference, at: delivery.occurredAt)
        (facts.value, facts.app) = (delivery.value, delivery.app)
        if delivery.kind == .sale {
            let touch = person?.touch(of: delivery.network)
            (facts.clickID, facts.campaign) = (touch?.clickID, touch?.campaign)
        } else {
            (facts.clickID, facts.campaign) = (open.install?.clickID, open.install?.campaign)
        }
        return facts
    }

    private func perform(_ open: OpenCallback, _ person: UploadPerson?) async -> CallbackOutcome {
        do throws(CallbackError) {
            let request = try open.callback.template.request(facts(open, person))
            guard request.url.utf8.count <= Self.urlBytesMax else {
                return .failed(reason: "url_too_long", status: nil, retryAfter: nil)
            }
            return await sink.send(
                CallbackCall(
                    callback: open.callback.id, delivery: open.delivery.id, request: request,
                    secret: try store.secret(open.callback)))
        } catch {
            return .failed(
                reason: error == .sealedByOther ? "secret_unreadable" : "template_unreadable", status: nil,
                retryAfter: nil)
        }
    }

    /// Of an address with its macros filled in: receivers take no longer ones.
    private static let urlBytesMax = 8000

    private func note(_ delivery: CallbackDelivery, _ outcome: CallbackOutcome) {
        let metadata: Logger.Metadata = [
            "org": "\(delivery.org)", "callback": "\(delivery.callback)", "delivery": "\(delivery.id)",
            "attempts": "\(delivery.machine.attempts)", "reason": "\(outcome.reason)",
        ]
        switch delivery.machine.state {
        case .delivered: logger.debug("a callback was delivered", metadata: metadata.with("callback_delivered"))
        case .refused: logger.warning("a callback was refused", metadata: metadata.with("callback_refused"))
        case .dead: logger.warning("a callback was given up", metadata: metadata.with("callback_dead"))
        case .waiting, .sending, .suppressed:
            logger.info("a callback failed and is tried again", metadata: metadata.with("callback_failed"))
        }
    }
}

extension Logger.Metadata {
    fileprivate func with(_ code: String) -> Logger.Metadata { merging(["code": "\(code)"]) { $1 } }
}
