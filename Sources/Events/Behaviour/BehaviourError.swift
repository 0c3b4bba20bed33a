/// Everything that is wrong with a question, each with the path of its member.
package struct BehaviourError: Error, Equatable, Sendable {
    package struct Problem: Equatable, Sendable {
        package var field: String
        package var detail: String
    }

    package var problems: [Problem]
}
