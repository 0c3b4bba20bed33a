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
    let holds: BreakerHolds

    func register(in book: RouteBook) {
        book.get(
            "/v1/breakers",
            RouteDescription(
                "Outside systems that were called, and whether they are; for those that a person holds off, who and "
                    + "since when.", tag: "operations", scope: .systemRead)
        ) { request, _ in
            _ = try access.require(.systemRead, request)
            let held = holds.holds
            return .json(["breakers": .array(guards.states.map { Self.row($0.name, $0.state, held[$0.name]) })])
        }
        for (word, summary) in [
            (
                "isolate",
                "Stops calls to an outside system until it is released: on every server of the database, also after a "
                    + "restart."
            ),
            (
                "observe",
                "Keeps a breaker from opening until it is released, so that every call goes out: on every server of "
                    + "the database, also after a restart."
            ),
            ("release", "Lets a breaker that a person isolated or observed decide by itself again."),
        ] {
            book.post(
                "/v1/breakers/{name}/" + word,
                RouteDescription(summary, tag: "operations", scope: .buyersWrite, success: 204)
            ) { request, context in
                let actor = try access.require(.buyersWrite, request).keyID
                let given = context.parameters.get("name") ?? ""
                let name = given.removingPercentEncoding ?? given
                let isKnown =
                    switch word {
                    case "isolate": try await holds.isolate(name, actor: actor)
                    case "observe": try await holds.observe(name, actor: actor)
                    default: try await holds.release(name, actor: actor)
                    }
                guard isKnown else {
                    throw Problem.notFound(
                        code: "breaker_unknown", detail: "Nothing of this name has been called since the start.")
                }
                return Response(status: .noContent)
            }
        }
    }
    private static func row(_ name: String, _ state: BreakerMachine.State, _ hold: BreakerHold?) -> JSONValue {
        var members: [String: JSONValue] = ["name": .string(name), "state": .string(state.rawValue)]
        if let hold {
            members[hold.kind.rawValue + "_by"] = .string(hold.actor)
            members[hold.kind.rawValue + "_at"] = .string(hold.since.rfc3339)
        }
        return .object(members)
    }
}
