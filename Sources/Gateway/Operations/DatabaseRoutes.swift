internal import Accounts
internal import AurumCore
internal import Database
internal import Hummingbird

/// What the tables of record do: statements by name, slow ones with plans, connections, open transactions.
struct DatabaseRoutes: Sendable {
    static let statementsMax = 2000

    let access: Access
    let database: Database

    func register(in book: RouteBook) {
        book.get(
            "/v1/database",
            RouteDescription(
                "Statements by name, slow ones with their plans, connections, open transactions and error rates of "
                    + "the whole installation. Holds no value of any parameter.",
                tag: "operations", scope: .systemRead,
                query: [
                    "sort": "total, p95, calls or errors; total unless told.",
                    "limit": "Statements, 1 to \(Self.statementsMax), \(Database.statementsShown) unless told.",
                    "slow": "Slow calls, newest first, 0 to \(QueryTracker.slowMax), 100 unless told.",
                ])
        ) { request, _ in
            _ = try access.require(.systemRead, request)
            var order = QueryOrder.total
            if let text = RequestInput.text("sort", request) {
                guard let known = QueryOrder(rawValue: text) else {
                    let names = QueryOrder.allCases.map(\.rawValue).joined(separator: ", ")
                    throw Problem.badQuery(name: "sort", detail: "is one of \(names).")
                }
                order = known
            }
            let limit = try RequestInput.integer(
                "limit", request, in: 1...Self.statementsMax, standard: Database.statementsShown)
            let slow = try RequestInput.integer("slow", request, in: 0...QueryTracker.slowMax, standard: 100)
            return .json(database.queryReport(by: order, statements: limit, slow: slow))
        }
    }
}
