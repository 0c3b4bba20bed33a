/// Metrics of leads, the marketplace and the ledger.
extension MetricDefinition {
    package static let leadsCreated = MetricDefinition(
        "aurum_leads_created_total", .counter, labels: ["state"], "Leads taken in, by the state intake gave them.")
    package static let leadsRouted = MetricDefinition(
        "aurum_leads_routed_total", .counter, labels: ["outcome"], "Routing rounds by how they ended.")
    package static let marketPings = MetricDefinition(
        "aurum_market_pings_total", .counter, labels: ["outcome"], "Pings to buyers by outcome.")
    package static let marketPosts = MetricDefinition(
        "aurum_market_posts_total", .counter, labels: ["outcome"], "Posts to buyers by classified acknowledgement.")
    package static let marketDecisionDuration = MetricDefinition(
        "aurum_market_decision_duration_seconds", .histogram,
        "Eligibility, ranking and reservation, without buyers' time.")
    package static let marketPingDuration = MetricDefinition(
        "aurum_market_ping_duration_seconds", .histogram, "All pings of one round.")
    package static let marketPostDuration = MetricDefinition(
        "aurum_market_post_duration_seconds", .histogram, "One post, from start to its classified answer.")
    package static let marketInFlight = MetricDefinition(
        "aurum_market_in_flight", .gauge, "Leads being routed now.")
    package static let marketUnknownOpen = MetricDefinition(
        "aurum_market_unknown_open", .gauge, "Legs whose answer is not known.")
    package static let ledgerEntries = MetricDefinition(
        "aurum_ledger_entries_total", .counter, labels: ["kind"], "Ledger entries posted.")
}
