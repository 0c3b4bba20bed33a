internal import Accounts
package import AurumCore
internal import Hummingbird

/// Why no backup was made: a sentence for the operator.
package struct BackupRefused: Error, Sendable {
    package let sentence: String

    package init(sentence: String) { self.sentence = sentence }
}

/// Makes backups of the running server.
package struct BackupRoutes: Sendable {
    package typealias Make = @Sendable (_ folder: String) async throws -> JSONValue

    let access: Access
    let make: Make

    func register(in book: RouteBook) {
        book.post(
            "/v1/backups",
            RouteDescription(
                "Backs up tables, log and keys into a new folder on the server's machine.", tag: "operations",
                scope: .keysManage, body: ["to": "/mnt/backups/2026-11-21"]
            ).bulk
        ) { request, _ in try await create(request) }
    }

    private func create(_ request: Request) async throws -> Response {
        // Whoever may make a backup may write files with the server's rights.
        guard try access.require(.keysManage, request).kind == .admin else { throw Problem.scopeMissing(.keysManage) }
        let body = try await RequestInput.json(request)
        guard let folder = body["to"]?.string, folder.hasPrefix("/"), folder.utf8.count <= 1000 else {
            throw Problem.invalid([FieldProblem(field: "to", detail: "must be the whole path of a new folder")])
        }
        do { return .json(try await make(folder)) } catch let refused as BackupRefused {
            throw Problem.conflict(code: "backup_failed", detail: refused.sentence)
        }
    }
}
