/// What the dashboard's questions over stored events came to.
package struct QuestionReport: Sendable {
    /// How one question was answered; milliseconds.
    package struct Times: Sendable {
        package var name: String
        package var first: Double
        /// Every time but the first, in their order.
        package var again: [Double] = []
    }

    /// What one load stored.
    package struct Stored: Sendable {
        package var events = 0
        package var seconds: Double = 0
        package var refusedRequests = 0
        /// Requests whose events may have been stored or not.
        package var unansweredRequests = 0

        package var perSecond: Double { seconds > 0 ? Double(events) / seconds : 0 }
    }

    /// Events that the folder held before anything was filled in.
    package var found = 0
    package var filled = Stored()
    /// Seconds that the compaction after the fill took; nil when nothing was filled in.
    package var compactionSeconds: Double?
    /// From the start of the process to the first 200 of `/health/ready`.
    package var readySeconds: Double = 0
    package var residentBytesAtStart: Double = 0
    package var questions: [Times] = []
    /// A sentence for each answer that was none.
    package var failures: [String] = []
    package var meanwhile = Stored()
    package var target = TargetReading()
    /// Events that the server counts when everything is over.
    package var counted = 0

    package init() {}

    /// Events stored when the questions began.
    package var stored: Int { found + filled.events }

    /// Events too few or too many by the server's own count; events of unanswered requests may be there or not.
    package var difference: Int {
        let least = stored + meanwhile.events
        let most = least + (filled.unansweredRequests + meanwhile.unansweredRequests) * HistoryBodies.batch
        return max(0, least - counted) + max(0, counted - most)
    }

    /// Every answer's time, the first ones included.
    package var all: [Double] { questions.flatMap { [$0.first] + $0.again } }

    /// The value at a share of the sorted ones, by nearest rank; 0 of nothing.
    package static func percentile(_ share: Double, of values: [Double]) -> Double {
        let rank = Int((Double(values.count) * share).rounded(.up))
        return values.isEmpty ? 0 : values.sorted()[max(1, rank) - 1]
    }
}

/// Why the questions could not be asked: a sentence for the operator.
package struct QuestionFailure: Error, CustomStringConvertible, Equatable {
    package let description: String
    init(_ description: String) { self.description = description }
}
