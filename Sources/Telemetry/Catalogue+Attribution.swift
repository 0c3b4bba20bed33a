/// Metrics of attribution, spend and campaign reports.
extension MetricDefinition {
    package static let attributionSpend = MetricDefinition(
        "aurum_attribution_spend_minor_units_total", .counter, labels: ["currency"],
        "Spend of imported files that changed something, in minor units, as it came in.")
    package static let attributionJourneyTouches = MetricDefinition(
        "aurum_attribution_journey_touches", .histogram, "Touchpoints that a credited lead or sale had.")
    package static let attributionTouchpoints = MetricDefinition(
        "aurum_attribution_touchpoints_total", .counter, labels: ["channel"],
        "Clicks and views that were read from the log and recorded as touchpoints which installs are matched with.")
    package static let attributionComputeSeconds = MetricDefinition(
        "aurum_attribution_compute_duration_seconds", .histogram, labels: ["model"],
        "Dividing one lead or sale among the touchpoints of its journey under one model.")
    package static let attributionFreshness = MetricDefinition(
        "aurum_attribution_freshness_seconds", .gauge, "From the newest credited sale to its credit.")
    package static let attributionRestatements = MetricDefinition(
        "aurum_attribution_restatements_total", .counter, labels: ["cause"],
        "Credits that changed after they were given.")
    package static let attributionReportDuration = MetricDefinition(
        "aurum_attribution_report_seconds", .histogram, "One campaign report.")
    package static let attributionSums = MetricDefinition(
        "aurum_attribution_sums_total", .counter, labels: ["outcome"],
        "Sums of credit over stretches of time that campaign reports needed: hit (kept in memory and still right), "
            + "merged (of shorter ones) or read (from the tables).")
    package static let attributionSumFacts = MetricDefinition(
        "aurum_attribution_sum_facts_total", .counter,
        "Rows of credit that campaign reports read from the tables for sums.")
    package static let attributionSumBytes = MetricDefinition(
        "aurum_attribution_sums_bytes", .gauge, "Memory that kept sums of credit take.")
    package static let attributionLogRuns = MetricDefinition(
        "aurum_attribution_log_runs_total", .counter, labels: ["outcome"],
        "Runs over the event log that credit conversions, by how they ended.")
    package static let attributionLogSeconds = MetricDefinition(
        "aurum_attribution_log_run_seconds", .histogram, "One run over the event log, storing included.")
    package static let attributionLogSucceeded = MetricDefinition(
        "aurum_attribution_log_run_success_time_seconds", .gauge,
        "Unix time at which a run over the event log of this process last ended without a failure.")
    package static let attributionSchedulesFailing = MetricDefinition(
        "aurum_attribution_schedules_failing", .gauge,
        "Conversions with a schedule whose newest scheduled run failed, of all organisations.")
    package static let attributionLogTouches = MetricDefinition(
        "aurum_attribution_log_touchpoints_total", .counter, "Touchpoints that runs over the event log made.")
    package static let attributionExplanations = MetricDefinition(
        "aurum_attribution_explanations_total", .counter, labels: ["outcome"],
        "Questions about single conversions of runs over the event log, by how they ended: `done` or an error's code.")
    package static let attributionExplanationSeconds = MetricDefinition(
        "aurum_attribution_explanation_seconds", .histogram,
        "One question about single conversions of a run over the event log.")
    package static let attributionClaimRatio = MetricDefinition(
        "aurum_attribution_network_claim_ratio", .gauge, labels: ["network"],
        "Conversions that a network claimed over those credited to it, in the newest reconciliation without "
            + "parameters of the organisation `default`.")
    package static let uploadItems = MetricDefinition(
        "aurum_upload_items_total", .counter, labels: ["destination", "outcome"],
        "Conversions by what came of an attempt to send them, or why they were not sent.")
    package static let uploadRequests = MetricDefinition(
        "aurum_upload_batch_seconds", .histogram, labels: ["network", "action"],
        "One batch of conversions at a network, every request of it.")
    package static let callbackDeliveries = MetricDefinition(
        "aurum_callback_deliveries_total", .counter, labels: ["kind", "outcome"],
        "Attempts to tell networks by callbacks, by what came of each: delivered, refused, failed or dead; suppressed "
            + "ones were not sent.")
    package static let callbackRequests = MetricDefinition(
        "aurum_callback_request_seconds", .histogram, labels: ["kind"], "One request of a callback.")
    package static let attributionMatches = MetricDefinition(
        "aurum_attribution_match_total", .counter, labels: ["method", "outcome"],
        "Decisions about installs, by how they were matched and what the fraud rules said; `restated` for a later one.")
    package static let attributionReEngagements = MetricDefinition(
        "aurum_attribution_reengagements_total", .counter, labels: ["outcome"],
        "Opens by clicks and links, by what they were decided to be; `restated` for a later decision.")
    package static let attributionMatchSeconds = MetricDefinition(
        "aurum_attribution_match_seconds", .histogram, "Finding and judging the touches of one install.")
    package static let attributionInstallsWaiting = MetricDefinition(
        "aurum_attribution_installs_waiting", .gauge, "Installs that were read and not decided yet.")
    package static let attributionInstallsPurged = MetricDefinition(
        "aurum_attribution_installs_purged_total", .counter,
        "Installs that were removed with their decisions, because their app keeps them no longer.")
    package static let postbacksReceived = MetricDefinition(
        "aurum_postback_received_total", .counter, labels: ["scheme", "verdict"],
        "Apple's postbacks that came in, the same body again included: skadnetwork or adattributionkit with valid, "
            + "invalid or unverifiable; unknown with unreadable for what is none.")
    package static let postbackDuplicates = MetricDefinition(
        "aurum_postback_duplicate_total", .counter, labels: ["scheme"],
        "Valid postbacks whose conversion and window was counted already.")
    package static let linkClicks = MetricDefinition(
        "aurum_link_clicks_total", .counter, labels: ["target"],
        "Requests for short links, by where they were sent: ios, android, web, expired or loop.")
    package static let linkResolutions = MetricDefinition(
        "aurum_link_resolutions_total", .counter, labels: ["outcome"],
        "First opens that asked for the payload of a click on a link.")
    package static let stopAlerts = MetricDefinition(
        "aurum_attribution_stop_alerts_total", .counter, labels: ["rule"],
        "Alerts of stop rules, one a campaign, rule and day: over_cap or no_conversion.")
    package static let stopAlertsOpen = MetricDefinition(
        "aurum_attribution_stop_alerts_open", .gauge, labels: ["rule"],
        "Alerts whose stop rule holds, of all organisations, as of the last look.")
    package static let stopLooks = MetricDefinition(
        "aurum_attribution_stop_looks_total", .counter, labels: ["outcome"],
        "Looks at the stop rules of one organisation: done or failed.")
    package static let stopLookSeconds = MetricDefinition(
        "aurum_attribution_stop_look_seconds", .histogram, "One look at the stop rules of all organisations.")
    package static let autoLooks = MetricDefinition(
        "aurum_attribution_auto_advice_total", .counter, labels: ["outcome"],
        "Looks at the advice of one organisation that may be decided without a person: done or failed.")
    package static let budgetDecisions = MetricDefinition(
        "aurum_attribution_budget_decisions_total", .counter, labels: ["by", "action", "decision"],
        "Decisions about budgets, by whether a person made them.")
    package static let attributionRestatedPurged = MetricDefinition(
        "aurum_attribution_restated_purged_total", .counter,
        "Rows of older versions of the credit of leads and sales that were removed for their age.")
    package static let budgetHistoryPurged = MetricDefinition(
        "aurum_attribution_budget_history_purged_total", .counter, labels: ["kind"],
        "Old alerts of stop rules and decisions about budgets that were removed: alert or decision.")
}
