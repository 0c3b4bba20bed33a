/// Metrics of capture and of the event log.
extension MetricDefinition {
    package static let eventsReceived = MetricDefinition(
        "aurum_events_received_total", .counter, labels: ["source", "format"], "Events received, before validation.")
    package static let eventsOutcome = MetricDefinition(
        "aurum_events_outcome_total", .counter, labels: ["outcome", "source"],
        "Events by recorded outcome; the outcomes add up to the received.")
    package static let eventsReplayed = MetricDefinition(
        "aurum_events_replayed_total", .counter, labels: ["outcome"],
        "Events sent again out of the quarantine by their new outcome; they were received and quarantined before.")
    package static let eventsAcceptDuration = MetricDefinition(
        "aurum_events_accept_duration_seconds", .histogram, labels: ["source"], "Request to durable acknowledgement.")
    package static let eventsBatch = MetricDefinition(
        "aurum_events_batch_events", .histogram, labels: ["source"], "Events a request.")
    package static let logCommitDuration = MetricDefinition(
        "aurum_log_commit_duration_seconds", .histogram, "One group commit: write and fdatasync.")
    package static let logCommitGroup = MetricDefinition(
        "aurum_log_commit_group_requests", .histogram, "Requests acknowledged by one fdatasync.")
    package static let logSegmentBytes = MetricDefinition(
        "aurum_log_segment_bytes", .gauge, labels: ["state"], "Bytes of the log on disk.")
    package static let logDamagedRanges = MetricDefinition(
        "aurum_log_damaged_ranges", .gauge, "Stretches of segments that the last start found damaged.")
    package static let logLostFiles = MetricDefinition(
        "aurum_log_lost_files", .gauge, "Archives and segments that the last start found missing or damaged.")
    package static let logLostRows = MetricDefinition(
        "aurum_log_lost_rows", .gauge, "Rows of archives that the last start found missing or damaged.")
    package static let quarantineBytes = MetricDefinition(
        "aurum_events_quarantine_bytes", .gauge, "Bytes of quarantined events that can still be read.")
    package static let eventsOlderTouchLookups = MetricDefinition(
        "aurum_events_older_touch_lookups_total", .counter,
        "Journeys for which touchpoints were looked up in the log because memory no longer holds all of them.")
    package static let eventsTouchFiles = MetricDefinition(
        "aurum_events_touch_files_total", .counter,
        "Sorted files of touchpoints made beside segments and archives for such journeys.")
    package static let dedupIdentifiers = MetricDefinition(
        "aurum_events_dedup_identifiers", .gauge, "Event ids remembered for de-duplication.")
    package static let dedupWindow = MetricDefinition(
        "aurum_events_dedup_window_seconds", .gauge,
        "How far back every accepted id is certainly remembered; the whole window while nothing was forgotten.")
    package static let dedupUnverified = MetricDefinition(
        "aurum_events_dedup_unverified_total", .counter,
        "Events stored although their time lies before the de-duplication window.")
    package static let clicksUnrecorded = MetricDefinition(
        "aurum_events_clicks_unrecorded_total", .counter,
        "Clicks that were redirected while the log could not store them.")
    package static let eventsDirectRequests = MetricDefinition(
        "aurum_events_direct_requests_total", .counter,
        "Bodies of events that were read on their connection, without the router.")
    package static let logBacklogBytes = MetricDefinition(
        "aurum_log_backlog_bytes", .gauge, "Bytes of sealed segments that may be compacted and are not.")
    package static let logFiles = MetricDefinition(
        "aurum_log_files", .gauge, labels: ["kind"], "Segments and archives of the log.")
    package static let logRowsRemoved = MetricDefinition(
        "aurum_log_rows_removed_total", .counter, labels: ["reason"], "Rows that compaction took out of files.")
    package static let logDuplicatesFound = MetricDefinition(
        "aurum_log_duplicates_found_total", .counter, "Second copies that compaction found among accepted events.")
    package static let logRowsCompacted = MetricDefinition(
        "aurum_log_rows_compacted_total", .counter, "Rows that compaction has read.")
    package static let logUpkeepDuration = MetricDefinition(
        "aurum_log_upkeep_duration_seconds", .histogram, "One run of upkeep that wrote something.")
    package static let logErasuresPending = MetricDefinition(
        "aurum_log_erasures_pending", .gauge, "Erasures whose rows are hidden and still on disk.")
}
