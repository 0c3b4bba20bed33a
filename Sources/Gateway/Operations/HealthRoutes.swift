internal import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Synchronization
internal import Telemetry

/// Whether the process lives, may take traffic, and what each component says.
struct HealthRoutes: Sendable {
    let access: Access
    let health: HealthRegistry

    func register(in book: RouteBook) {
        book.get("/health/live", RouteDescription("The process answers.", tag: "operations")) { _, _ in
            .json(["status": "ok"])
        }
        book.get("/health/ready", RouteDescription("May take traffic.", tag: "operations")) { _, _ in
            let ready = health.isReady
            return .json(
                ["status": ready ? "ok" : "unavailable", "components": Self.states(health)],
                status: ready ? .ok : .serviceUnavailable)
        }
        book.get(
            "/health", RouteDescription("Every component with figures.", tag: "operations", scope: .systemRead)
        ) { request, context in
            let local = context.clientAddress == "127.0.0.1" || context.clientAddress == "::1"
            if !local { _ = try access.require(.systemRead, request) }
            return try .encoded(Report(health))
        }
    }

    private static func states(_ health: HealthRegistry) -> JSONValue {
        .object(health.snapshot.mapValues { .string($0.state.rawValue) })
    }

    private struct Report: Encodable {
        let status: String
        let text: String
        let components: [String: ComponentHealth]

        init(_ health: HealthRegistry) {
            components = health.snapshot
            let states = components.values.map(\.state)
            let counts = [ComponentHealth.State.ok, .degraded, .down, .unconfigured]
                .map { state in (state, states.count { $0 == state }) }.filter { $0.1 > 0 }
            text = counts.map { "\($0.1) \($0.0.rawValue)" }.joined(separator: ", ") + " of \(states.count)"
            let required = components.values.filter(\.required).map(\.state)
            status = required.contains(.down) ? "down" : required.contains(.degraded) ? "degraded" : "ok"
        }
    }
}
