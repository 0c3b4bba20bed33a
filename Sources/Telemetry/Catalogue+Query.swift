/// Metrics of queries over the event log.
extension MetricDefinition {
    package static let queryDuration = MetricDefinition(
        "aurum_query_seconds", .histogram, labels: ["kind"], "One query, from admission to its answer.")
    package static let queryRowsScanned = MetricDefinition(
        "aurum_query_rows_scanned_total", .counter, "Rows of the blocks that queries read.")
    package static let queryRowsKept = MetricDefinition(
        "aurum_query_rows_kept_total", .counter, "Rows that kept partial answers stood for.")
    package static let queryRefused = MetricDefinition(
        "aurum_query_refused_total", .counter, labels: ["reason"], "Queries without an answer, by code.")
    package static let exportDeliveries = MetricDefinition(
        "aurum_export_deliveries_total", .counter, labels: ["outcome"],
        "Attempts to post exports to webhooks, by what came of each: delivered, refused, failed or dead.")
}
