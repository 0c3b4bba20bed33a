/// Metrics of the process and of HTTP. Each area declares its own in `Catalogue+<Area>.swift`; nothing counts outside.
extension MetricDefinition {
    package static let httpRequests = MetricDefinition(
        "aurum_http_requests_total", .counter, labels: ["route", "method", "status_class"], "Requests answered.")
    package static let httpRequestDuration = MetricDefinition(
        "aurum_http_request_duration_seconds", .histogram, labels: ["route", "method"], "From accept to answer.")
    package static let httpRequestsInFlight = MetricDefinition(
        "aurum_http_requests_in_flight", .gauge, "Requests being answered now.")
    package static let httpRejected = MetricDefinition(
        "aurum_http_rejected_total", .counter, labels: ["route", "reason"], "Requests refused, by problem tag.")
    package static let webSocketConnections = MetricDefinition(
        "aurum_websocket_connections", .gauge, labels: ["kind"], "Sockets open now.")
    package static let processResidentBytes = MetricDefinition(
        "aurum_process_resident_bytes", .gauge, "Resident memory.")
    package static let processCPUSeconds = MetricDefinition(
        "aurum_process_cpu_seconds_total", .gauge, "User and system CPU time since start.")
    package static let processOpenFiles = MetricDefinition("aurum_process_open_files", .gauge, "Open file descriptors.")
    package static let processStartTime = MetricDefinition(
        "aurum_process_start_time_seconds", .gauge, "Unix time of the start.")
    package static let buildInfo = MetricDefinition(
        "aurum_build_info", .gauge, labels: ["version", "commit"], "Always 1; what is running.")
}
