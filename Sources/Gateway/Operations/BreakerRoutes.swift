internal import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Runtime

/// Which outside systems are given up for now, and a person's hand on the switch.
struct BreakerRoutes: Sendable {
    let access: Access
    let guards: GuardBook

    func register(in book: RouteBook) {
        book.get(
            "/v1/breakers",
            RouteDescription(
                "Outside systems that were called, and whether they are.", tag: "operations", scope: .systemRead)
        ) { request, _ in
            _ = try access.require(.systemRead, request)
            return .json([
                "breakers": .array(
                    guards.states.map { ["name": .string($0.name), "state": .string($0.state.rawValue)] })
            ])
        }
        for (word, summary) in [
            ("isolate", "Stops calls to an outside system until it is released."),
            ("release", "Lets calls to an isolated system out again."),
        ] {
            book.post(
                "/v1/breakers/{name}/" + word,
                RouteDescription(summary, tag: "operations", scope: .buyersWrite, success: 204)
            ) { request, context in
                _ = try access.require(.buyersWrite, request)
                let given = context.parameters.get("name") ?? ""
                let name = given.removingPercentEncoding ?? given
                guard word == "isolate" ? guards.isolate(name) : guards.release(name) else {
                    throw Problem.notFound(
                        code: "breaker_unknown", detail: "Nothing of this name has been called since the start.")
                }
                return Response(status: .noContent)
            }
        }
    }
}
