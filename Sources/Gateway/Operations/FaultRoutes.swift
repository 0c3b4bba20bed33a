internal import Accounts
internal import AurumCore
internal import Hummingbird
internal import Runtime

/// Faults that strike calls of outside systems on purpose, in a server that was started for tests. In every other there
/// is nothing behind these routes, and they say so.
struct FaultRoutes: Sendable {
    private static let path = "/v1/faults"

    let access: Access
    let faults: FaultInjector?

    func register(in book: RouteBook) {
        book.get(
            Self.path,
            RouteDescription("The faults that strike calls of outside systems.", tag: "operations", scope: .systemRead)
        ) { request, _ in
            _ = try access.require(.systemRead, request)
            return .json(Self.row(try injector()))
        }
        book.put(
            Self.path,
            RouteDescription(
                "Strikes calls of outside systems from now on, by a plan and its seed; for the administrator of a "
                    + "server that was started for tests.", tag: "operations", scope: .keysManage,
                body: ["plan": "seed=7; buyer:* latency 0.2 300; buyer:* drop 0.05"])
        ) { request, _ in
            let actor = try administrator(request)
            let faults = try injector()
            let body = try await RequestInput.json(request)
            guard let text = body["plan"]?.string else {
                throw Problem.invalid([FieldProblem(field: "plan", detail: "must be a text")])
            }
            do throws(FaultPlan.Problem) { faults.set(try FaultPlan(text), actor: actor) } catch {
                throw Problem.invalid([FieldProblem(field: "plan", detail: error.description)])
            }
            return .json(Self.row(faults))
        }
        book.delete(
            Self.path,
            RouteDescription("Ends all faults.", tag: "operations", scope: .keysManage, success: 204)
        ) { request, _ in
            let actor = try administrator(request)
            try injector().set(nil, actor: actor)
            return Response(status: .noContent)
        }
    }

    /// The key of the administrator who asks.
    private func administrator(_ request: Request) throws -> String {
        let principal = try access.require(.keysManage, request)
        guard principal.kind == .admin else { throw Problem.scopeMissing(.keysManage) }
        return principal.keyID
    }

    private func injector() throws -> FaultInjector {
        guard let faults else {
            throw Problem.conflict(
                code: "faults_disabled",
                detail: "This server was not started with AURUM_FAULTS_ENABLED=true and a profile for tests.")
        }
        return faults
    }

    private static func row(_ faults: FaultInjector) -> JSONValue {
        guard let plan = faults.plan else { return ["active": false] }
        return ["active": true, "plan": .string(plan.text)]
    }
}
