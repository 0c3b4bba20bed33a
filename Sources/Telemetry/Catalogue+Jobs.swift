/// Metrics of the job queue.
extension MetricDefinition {
    package static let jobs = MetricDefinition(
        "aurum_jobs_total", .counter, labels: ["type", "event"],
        "Jobs by what happened to them: enqueued, done, retried, dead, cancelled, lost, released, postponed, redriven.")
    package static let jobsWait = MetricDefinition(
        "aurum_jobs_wait_seconds", .histogram, labels: ["type", "priority"], "From due to begun.")
    package static let jobsRun = MetricDefinition(
        "aurum_jobs_run_seconds", .histogram, labels: ["type"], "One attempt.")
    package static let jobsDue = MetricDefinition(
        "aurum_jobs_due", .gauge, labels: ["type"], "Jobs whose time has come and that no worker has.")
    package static let jobsOpen = MetricDefinition(
        "aurum_jobs_open", .gauge, labels: ["type"], "Jobs that are neither done, dead nor cancelled.")
    package static let jobsDead = MetricDefinition(
        "aurum_jobs_dead", .gauge, labels: ["type"], "Dead letters, waiting to be redriven.")
    package static let jobsMissedTicks = MetricDefinition(
        "aurum_jobs_missed_ticks_total", .counter, labels: ["schedule"], "Ticks of schedules that no job was made for.")
}
