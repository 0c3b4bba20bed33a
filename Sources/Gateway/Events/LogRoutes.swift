internal import Accounts
internal import AurumCore
internal import Events
internal import Hummingbird
internal import Logging

/// The log as files: what it consists of, compacting it now, and erasing persons from it.
struct LogRoutes: Sendable {
    let access: Access
    let upkeep: LogUpkeep
    /// Gives identifiers the form in which the log keeps them.
    let policies: EventPolicies
    let logger: Logger
    /// Removes what tables of record keep of a person, by an identifier as events store it.
    let forget: @Sendable (_ org: String, _ identifier: PersonIdentifier) async throws -> Void

    private static let valueBytesMax = 1000
    private static let namespaces = "anonymous, user, device, distinct"

    func register(in book: RouteBook) {
        book.get(
            "/v1/log",
            RouteDescription("Segments, archives and what the last compaction did.", tag: "events", scope: .systemRead)
        ) { request, _ in
            _ = try access.require(.systemRead, request)
            return .json(upkeep.status)
        }
        book.post(
            "/v1/log/compact",
            RouteDescription(
                "Archives every sealed segment now, and takes out what has expired or was erased.", tag: "events",
                scope: .keysManage)
        ) { request, _ in try await compact(request) }
        book.post(
            "/v1/identity/erase",
            RouteDescription(
                "Erases every event of a person: hidden at once, taken out of the files within 30 days.",
                tag: "identity", scope: .privacyManage, success: 202,
                body: ["namespace": "user", "value": "u1"])
        ) { request, _ in try await erase(request) }
        book.get(
            "/v1/identity/erasures",
            RouteDescription(
                "Records of erasures, newest first. They name nobody.", tag: "identity", scope: .privacyManage)
        ) { request, _ in
            let principal = try access.require(.privacyManage, request)
            return .json(["erasures": .array(upkeep.erasures(org: Self.org(request, principal)).map(\.json))])
        }
    }

    private func compact(_ request: Request) async throws -> Response {
        let principal = try access.require(.keysManage, request)
        guard principal.kind == .admin else {
            throw Problem.scopeMissing(.keysManage)
        }
        do {
            return .json(try await upkeep.runAside(all: true).json)
        } catch UpkeepError.running {
            throw Problem.conflict(code: "compaction_running", detail: UpkeepError.running.sentence)
        } catch let error as UpkeepError {
            logger.error("the log was not compacted: \(error.sentence)", metadata: ["code": "log_upkeep_failed"])
            throw Problem.unavailable(code: "log_upkeep_failed", detail: error.sentence)
        }
    }

    private func erase(_ request: Request) async throws -> Response {
        let principal = try access.require(.privacyManage, request)
        let body = try await RequestInput.json(request)
        guard let namespace = body["namespace"]?.string.flatMap({ PersonIdentifier.Namespace(name: $0) }),
            namespace != .event, namespace != .group
        else {
            throw Problem.invalid([FieldProblem(field: "namespace", detail: "must be one of \(Self.namespaces)")])
        }
        guard let value = body["value"]?.string, (1...Self.valueBytesMax).contains(value.utf8.count) else {
            throw Problem.invalid([FieldProblem(field: "value", detail: "must be text of 1 to 1000 bytes")])
        }
        let org = Self.org(request, principal)
        let stored = policies.storedForm(PersonIdentifier(namespace, value), org: org)
        do {
            // Once while the log still knows who is who, once when it hands out no more of the person.
            try await forget(org, stored)
            let record = try await upkeep.erase(org: org, [stored], actor: principal.keyID)
            try await forget(org, stored)
            return .json(record.json, status: .accepted)
        } catch let error as UpkeepError {
            throw Problem.unavailable(code: "log_upkeep_failed", detail: error.sentence)
        }
    }

    /// The administrator may act for any organisation.
    private static func org(_ request: Request, _ principal: Principal) -> String {
        guard principal.kind == .admin, let org = RequestInput.text("org", request) else { return principal.org }
        return org
    }
}
