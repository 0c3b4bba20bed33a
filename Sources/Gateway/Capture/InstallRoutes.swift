internal import Accounts
internal import AurumCore
internal import Events
internal import Hummingbird

/// Installs that an app's own server or a store's server reports.
struct InstallRoutes: Sendable {
    let desk: CaptureDesk

    private static let example: JSONValue = [
        "id": "install-7f3a", "device_id": "device-1", "ts": "2026-11-21T09:30:00Z",
        "install_referrer": "utm_source=google-play&utm_medium=organic",
        "context": ["platform": "android", "app_version": "2.4.0"],
    ]

    func register(in book: RouteBook) {
        book.post(
            "/v1/installs",
            RouteDescription(
                "Stores one install, sent by a server; never with a publishable key.", tag: "events",
                scope: .eventsWrite, success: 202, body: Self.example)
        ) { try await install($0, $1) }
        book.readableByPages(.post, "/v1/installs")
    }

    private func install(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try desk.access.require(.eventsWrite, request)
        guard principal.kind != .publishable else { throw Problem.serverKeyNeeded }
        let body = try await desk.read(request, principal, context)
        let encoding = try desk.encoding(request)
        try await desk.charge(principal, events: 1)
        let receipt = try await desk.submit(body, .install, desk.source(principal, request), encoding: encoding)
        return desk.answer(receipt.json, status: .accepted, receipt, request)
    }
}
