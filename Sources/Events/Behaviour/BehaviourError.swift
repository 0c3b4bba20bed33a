/// Why a question about behaviour has no answer.
package enum BehaviourError: Error, Equatable, Sendable {
    /// The body says something wrong: every problem with the path of its member.
    case invalid([BehaviourProblem])
    /// The time limit of a query ran out.
    case timeout(rowsScanned: Int)
    /// The persons of one part of 64 need more memory than the query may take.
    case memory
    /// Too many queries of this organisation run.
    case busy
}

package struct BehaviourProblem: Equatable, Sendable {
    package var field: String
    package var detail: String

    package init(_ field: String, _ detail: String) { (self.field, self.detail) = (field, detail) }
}
