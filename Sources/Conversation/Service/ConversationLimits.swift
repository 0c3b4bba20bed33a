/// Bounds of the dialogue engine. Every one has a stated result when it is reached.
package struct ConversationLimits: Sendable, Equatable {
    package static let standard = ConversationLimits()

    /// Characters of one message; more is `too_large`.
    package var messageCharactersMax = 2000
    /// Bytes of one frame; more is `too_large`.
    package var frameBytesMax = 16_384
    /// Messages of one conversation; more is `rate_limited` with the time to wait.
    package var messagesPer10Seconds = 10
    package var messagesPerDay = 200
    /// Messages waiting while a turn runs; more is `rate_limited`.
    package var queuedInputsMax = 20
    /// Turns of one conversation; then it is closed politely.
    package var turnsMax = 60
    /// Times one question is shown; then it is skipped or handed over.
    package var stepShowsMax = 3
    /// Basis points of certainty from which an answer is taken without asking back.
    package var confirmedConfidence = 8500
    /// Messages kept of one conversation, both sides; then it is handed over and closed.
    package var transcriptRowsMax = 2000
    /// New conversations; more is `rate_limited`.
    package var conversationsPerAddressHour = 30
    package var conversationsPerSiteMinute = 300
    /// Frames waiting for one slow socket; more closes it with 1013.
    package var outgoingFramesMax = 512
    /// Malformed frames of one socket within ten seconds; then it is closed with 1008.
    package var badFramesMax = 5
    /// How long a resume token lives, and how long a replaced one still works.
    package var resumeTokenLifetime: Duration = .seconds(30 * 86_400)
    package var replacedTokenGrace: Duration = .seconds(60)

    package init() {}

    /// Name and value of every bound, for the start-up print.
    package var table: [(name: String, value: String)] {
        Mirror(reflecting: self).children.compactMap { child in child.label.map { ($0, "\(child.value)") } }
    }
}
