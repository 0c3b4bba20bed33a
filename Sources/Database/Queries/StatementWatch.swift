internal import ServiceLifecycle

/// Takes plans of slow statements and warns of transactions that stay open, as long as the server runs.
package struct StatementWatch: Service {
    /// How often open transactions are looked at.
    static let interval: Duration = .seconds(1)

    private let database: Database

    package init(database: Database) { self.database = database }

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                // Apart from the other: a plan waits for a connection like anybody else.
                group.addTask {
                    for await _ in database.queries.planSignal { await database.takePlans() }
                }
                group.addTask {
                    while !Task.isCancelled {
                        database.queries.watch()
                        try? await Task.sleep(for: Self.interval)
                    }
                }
            }
        }
    }
}
