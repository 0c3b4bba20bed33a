package import Events

/// What the routes about behaviour, the live tail and exports translate for.
package struct BehaviourParts: Sendable {
    package var questions: BehaviourService
    package var exports: ExportService
    package var tail: TailFeed

    package init(questions: BehaviourService, exports: ExportService, tail: TailFeed) {
        (self.questions, self.exports, self.tail) = (questions, exports, tail)
    }
}
