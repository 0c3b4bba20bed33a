internal import Accounts
internal import AurumCore
internal import Database
internal import Events
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import Runtime
internal import Telemetry

/// What all capture routes share: bounds before reading, the key, the log, the receipt on the answer.
struct CaptureDesk: Sendable {
    let access: Access
    let capture: EventCapture
    let limits: EventLimits
    let rates: CaptureRates
    let settings: CaptureRoutes.Settings
    let clock: any WallClock
    let bulk: BulkWrites
    let unrecordedClicks: Counter
    let logger: Logger

    // MARK: in

    /// The body as it came, refused before it is read when the log cannot take it, the address is over its rate or
    /// the body is too large.
    func read(
        _ request: Request, _ principal: Principal?, _ context: GatewayContext, limit: Int? = nil
    ) async throws -> ByteBuffer {
        try await admit(principal, context)
        return try await RequestInput.body(request, limit: limit ?? limits.bodyBytesMax)
    }

    /// Refuses what the log cannot take, and strangers that come too often.
    func admit(_ principal: Principal?, _ context: GatewayContext) async throws(Problem) {
        if let refusal = capture.refusal() { throw Problem(refusal, limits: limits) }
        // A key for what happened long ago is one for imports: they wait while the disk is nearly full.
        if principal?.historical == true {
            do throws(BulkWrites.Refused) { try bulk.check() } catch { throw Problem(error) }
        }
        if principal?.kind != .server, principal?.kind != .admin {
            try await rates.limiter.check(rates.request(from: context.clientAddress))
        }
    }

    /// Holds a publishable key, or one with a rate of its own, to its rate. Answers how many events it was charged for;
    /// other keys have no rate.
    @discardableResult
    func charge(_ principal: Principal, events: @autoclosure () -> Int) async throws(Problem) -> Int {
        guard principal.kind == .publishable || principal.eventsPerSecond != nil else { return 0 }
        let charged = max(1, events())
        if let request = rates.events(charged, principal) { try await rates.limiter.check(request) }
        return charged
    }

    /// Charges a key for a body and stores it; what was in it is what it costs in the end, one event at least. A body
    /// that is refused costs one.
    /// - Parameter events: as many as can be known before the body is read.
    func charged(
        _ principal: Principal, events: @autoclosure () -> Int, _ submit: () async throws -> Receipt
    ) async throws -> Receipt {
        let charged = try await charge(principal, events: events())
        do {
            let receipt = try await submit()
            await settle(principal, charged: charged, received: receipt.received)
            return receipt
        } catch {
            await settle(principal, charged: charged, received: 0)
            throw error
        }
    }

    /// Books what a body held more than it was charged for, and gives back what it held less.
    private func settle(_ principal: Principal, charged: Int, received: Int) async {
        let due = max(1, received)
        guard charged > 0, due != charged, let request = rates.events(abs(due - charged), principal) else { return }
        if due > charged { await rates.limiter.owe(request) } else { await rates.limiter.giveBack(request) }
    }

    func encoding(_ request: Request) throws(Problem) -> BodyEncoding {
        guard let encoding = BodyEncoding(contentEncoding: request.headers[.contentEncoding]) else {
            throw .unsupportedEncoding
        }
        return encoding
    }

    /// The decoded bytes of a body.
    func decode(_ body: ByteBuffer, _ encoding: BodyEncoding, bodyBytesMax: Int? = nil) throws(Problem) -> [UInt8] {
        let bytesMax = bodyBytesMax ?? limits.bodyBytesMax
        return try withBytes(body, bodyBytesMax: bytesMax) { (bytes) throws(CaptureError) in
            try encoding.decode(bytes, limits: limits, bodyBytesMax: bytesMax)
        }
    }

    /// Runs a reader over a body; its refusals become problems.
    func withBytes<Value>(
        _ body: ByteBuffer, bodyBytesMax: Int? = nil,
        _ read: (UnsafeRawBufferPointer) throws(CaptureError) -> Value
    ) throws(Problem) -> Value {
        let result = body.withUnsafeReadableBytes { bytes in
            Result { () throws(CaptureError) in try read(bytes) }
        }
        return try unwrap(result, bodyBytesMax)
    }

    func withBytes<Value>(
        _ body: [UInt8], bodyBytesMax: Int? = nil, _ read: (UnsafeRawBufferPointer) throws(CaptureError) -> Value
    ) throws(Problem) -> Value {
        let result = body.withUnsafeBytes { bytes in
            Result { () throws(CaptureError) in try read(bytes) }
        }
        return try unwrap(result, bodyBytesMax)
    }

    private func unwrap<Value>(
        _ result: Result<Value, CaptureError>, _ bodyBytesMax: Int?
    ) throws(Problem) -> Value {
        switch result {
        case .success(let value): return value
        case .failure(let error):
            var limits = limits
            limits.bodyBytesMax = bodyBytesMax ?? limits.bodyBytesMax
            throw Problem(error, limits: limits)
        }
    }

    // MARK: to the log

    func source(
        _ principal: Principal, _ request: Request, isHistorical: Bool = false, sentAt: Timestamp? = nil
    ) -> CaptureSource {
        CaptureSource(
            org: principal.org, app: principal.app,
            defaultCurrency: settings(principal.org, principal.app).defaultCurrency,
            isHistorical: principal.historical || isHistorical, sentAt: sentAt,
            hasGPC: request.headers[.globalPrivacyControl] == "1", isBrowser: principal.kind == .publishable)
    }

    /// Durable when it returns.
    func submit(
        _ body: ByteBuffer, _ format: WireFormat, _ source: CaptureSource, encoding: BodyEncoding = .identity
    ) async throws -> Receipt {
        let now = clock.now
        let result: Result<Receipt, CaptureError> = await withCheckedContinuation { continuation in
            body.withUnsafeReadableBytes { bytes in
                capture.submit(bytes, format: format, encoding: encoding, source: source, receivedAt: now) {
                    continuation.resume(returning: $0)
                }
            }
        }
        return try unwrap(result, nil)
    }

    func submit(_ body: [UInt8], _ format: WireFormat, _ source: CaptureSource) async throws -> Receipt {
        let now = clock.now
        let result: Result<Receipt, CaptureError> = await withCheckedContinuation { continuation in
            body.withUnsafeBytes { bytes in
                capture.submit(bytes, format: format, source: source, receivedAt: now) {
                    continuation.resume(returning: $0)
                }
            }
        }
        return try unwrap(result, nil)
    }

    // MARK: out

    /// An answer with the receipt in its header, readable by the page that asked.
    func answer(
        _ text: String, type: String = "application/json", status: HTTPResponse.Status, _ receipt: Receipt?,
        _ request: Request
    ) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.aurumReceipt] = receipt?.id
        CrossOriginRoutes.allow(request, &headers)
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    /// What a browser asks before it posts from another origin: allowed to origins that some key is bound to.
    func preflight(_ request: Request) -> Response {
        guard let origin = request.headers[.origin], access.keys.isAllowed(origin: origin) else {
            return Response(status: .forbidden)
        }
        return Response(
            status: .noContent,
            headers: [
                .accessControlAllowOrigin: origin, .accessControlAllowMethods: "POST",
                .accessControlAllowHeaders: "authorization, content-type, content-encoding, x-write-key, anonymousid",
                .accessControlMaxAge: "7200", .vary: "Origin",
            ])
    }
}

extension Problem {
    init(_ error: CaptureError, limits: EventLimits) {
        switch error {
        case .malformedBody(let offset): self = .malformedBody(offset: offset)
        case .unexpectedShape(let offset, _), .brokenPacking(let offset):
            self = .unreadableBody(offset: offset, detail: error.sentence)
        case .bodyTooLarge: self = .bodyTooLarge(limitBytes: limits.bodyBytesMax)
        case .tooManyEvents: self = .tooManyEvents(limit: limits.batchEventsMax)
        case .inflateRatio: self = .inflateRatio
        case .overloaded, .storageFull, .quarantineFull, .logFailed:
            self = .unavailable(code: error.tag, detail: error.sentence)
        }
    }
}
