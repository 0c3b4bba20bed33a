/// Metrics of the fraud rules.
extension MetricDefinition {
    package static let fraudVerdicts = MetricDefinition(
        "aurum_fraud_verdicts_total", .counter, labels: ["outcome"], "Verdicts of installs and their touches.")
    package static let fraudCodes = MetricDefinition(
        "aurum_fraud_codes_total", .counter, labels: ["code"], "What verdicts found, by code.")
    package static let fraudDecisionSeconds = MetricDefinition(
        "aurum_fraud_decision_seconds", .histogram, "Judging one install with all its touches.")
    package static let fraudReviews = MetricDefinition(
        "aurum_fraud_reviews_total", .counter, labels: ["outcome"],
        "Looks at all installs of the reference window, by how they ended.")
    package static let fraudReviewSeconds = MetricDefinition(
        "aurum_fraud_review_seconds", .histogram, "One look at all installs of an app.")
    package static let fraudChanges = MetricDefinition(
        "aurum_fraud_changes_total", .counter, "Verdicts that changed after the fact.")
    package static let fraudProposals = MetricDefinition(
        "aurum_fraud_proposals_total", .counter, labels: ["state"],
        "Proposals about publishers that were made, decided or withdrawn.")
}
