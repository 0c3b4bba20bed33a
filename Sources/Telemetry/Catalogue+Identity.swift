/// Metrics of the identity graph.
extension MetricDefinition {
    package static let identityIdentifiers = MetricDefinition(
        "aurum_identity_identifiers", .gauge, "Identifiers that are linked to another.")
    package static let identityLinks = MetricDefinition(
        "aurum_identity_links", .gauge, "Links between identifiers.")
    package static let identityMerges = MetricDefinition(
        "aurum_identity_merges_total", .counter, labels: ["cause"], "Links that made two persons one.")
    package static let identityUnmerges = MetricDefinition(
        "aurum_identity_unmerges_total", .counter, "Merges taken back.")
    package static let identityRefused = MetricDefinition(
        "aurum_identity_refused_total", .counter, labels: ["reason"], "Links refused, by stable reason.")
}
