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

/// What `QueryTracker` counts.
extension MetricDefinition {
    package static let databaseRows = MetricDefinition(
        "aurum_database_rows_total", .counter, labels: ["statement"], "Rows read and rows changed.")
    package static let databaseErrors = MetricDefinition(
        "aurum_database_errors_total", .counter, labels: ["statement", "class"], "Reads and writes that failed.")
    package static let databaseSlow = MetricDefinition(
        "aurum_database_slow_total", .counter, labels: ["statement"],
        "Reads and writes that took longer than the setting database.slowMs.")
    package static let databaseLong = MetricDefinition(
        "aurum_database_transactions_long_total", .counter, labels: ["statement"],
        "Transactions that were open for more than a second.")
    package static let databaseRepeated = MetricDefinition(
        "aurum_database_n_plus_one_total", .counter, labels: ["statement"],
        "Statements that one request ran more than 20 times, by the read or write that ran them.")
    package static let databaseTransactionsOpen = MetricDefinition(
        "aurum_database_transaction_open", .gauge, "Transactions open now.")
    package static let databasePoolWait = MetricDefinition(
        "aurum_database_pool_wait_seconds", .histogram, "Waiting for a connection, or for the turn of a write.")
    package static let databaseErrorRate = MetricDefinition(
        "aurum_database_error_rate", .gauge, labels: ["class", "window"],
        "Part of the reads and writes of the last 1m and 5m that failed in this way.")
}

/// Metrics of connections to PostgreSQL.
extension MetricDefinition {
    package static let databaseConnectionsOpened = MetricDefinition(
        "aurum_database_connections_opened_total", .counter, "Connections to PostgreSQL that were opened.")
    package static let databaseConnectionsClosed = MetricDefinition(
        "aurum_database_connections_closed_total", .counter, labels: ["reason"],
        "Connections to PostgreSQL that were closed.")
    package static let databaseReruns = MetricDefinition(
        "aurum_database_reruns_total", .counter, "Transactions run again because another got in their way.")
    package static let databasePool = MetricDefinition(
        "aurum_database_pool", .gauge, labels: ["state"], "Connections open and busy, and calls that wait for one.")
    package static let databaseAcquireTimeouts = MetricDefinition(
        "aurum_database_acquire_timeouts", .gauge, "Calls that waited too long for a connection, since the start.")
}

extension MetricDefinition {
    package static let databaseClockOffset = MetricDefinition(
        "aurum_database_clock_offset_seconds", .gauge,
        "How far this machine's clock is ahead of the PostgreSQL server's; negative where it is behind.")
}

/// Metrics of backups that the server makes by itself.
extension MetricDefinition {
    package static let backupRuns = MetricDefinition(
        "aurum_backup_runs_total", .counter, labels: ["outcome"],
        "Backups that were due, by what became of them: made, unverified, failed, no_room.")
    package static let backupNewest = MetricDefinition(
        "aurum_backup_newest_time_seconds", .gauge, "Unix time of the newest whole backup that this process made.")
}

extension MetricDefinition {
    package static let outboxRejected = MetricDefinition(
        "aurum_outbox_rejected_total", .counter, labels: ["name"],
        "Events of leads, sales and the ledger that the event log refused for good.")
    package static let outboxOldest = MetricDefinition(
        "aurum_outbox_oldest_seconds", .gauge,
        "How long the oldest event of leads, sales and the ledger has waited for the event log.")
}
