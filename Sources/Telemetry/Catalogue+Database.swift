/// Metrics of the tables of record.
extension MetricDefinition {
    package static let databaseDuration = MetricDefinition(
        "aurum_database_transaction_duration_seconds", .histogram, labels: ["statement"],
        "A read or write from the call to its answer, waiting and commit included.")
    package static let databaseCommits = MetricDefinition(
        "aurum_database_commits_total", .counter, "Commits made durable.")
    package static let databaseGroup = MetricDefinition(
        "aurum_database_commit_group_writes", .histogram, "Writes that shared one commit.")
}
