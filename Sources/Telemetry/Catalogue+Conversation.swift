/// Metrics of the dialogue engine.
extension MetricDefinition {
    package static let conversationsStarted = MetricDefinition(
        "aurum_conversation_started_total", .counter, "Conversations begun.")
    package static let conversationsEnded = MetricDefinition(
        "aurum_conversation_ended_total", .counter, labels: ["outcome"], "Conversations ended, by outcome.")
    package static let conversationTurnDuration = MetricDefinition(
        "aurum_conversation_turn_duration_seconds", .histogram,
        "One turn: from the message's arrival until it and its reply are durable.")
    package static let conversationMessages = MetricDefinition(
        "aurum_conversation_messages_total", .counter, labels: ["outcome"],
        "Messages of visitors, by outcome: accepted, duplicate, refused.")
    package static let conversationRepliesFenced = MetricDefinition(
        "aurum_conversation_replies_fenced_total", .counter,
        "Replies dropped because somebody else owned the talk by then.")
    package static let conversationHandOvers = MetricDefinition(
        "aurum_conversation_hand_overs_total", .counter, labels: ["reason"], "Talks given to people, by reason.")
    package static let conversationFunctionFailures = MetricDefinition(
        "aurum_conversation_function_failures_total", .counter, "Functions of a flow that failed twice.")
}
