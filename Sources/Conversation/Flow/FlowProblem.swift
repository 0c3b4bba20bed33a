/// Why a flow file is refused.
package struct FlowProblem: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        case invalidYAML, unsupportedYAML, duplicateKey, unknownKey, missingKey, wrongType
        case unknownStep, unknownSlot, unknownText, unknownFunction, unknownLanguage
        case invalidCondition, typeMismatch, unreachableStep, noPathToEnd, cycleWithoutAsk, callNeedsOnFailure
        case mayBeUnset, missingTranslation, textTooLong, tooManyQuickReplies, quickReplyTooLong
        case tooManySteps, tooManySlots, noDisclosure
    }

    package var code: Code
    package var file: String
    package var line: Int
    package var column: Int
    package var detail: String

    package var description: String { "\(file):\(line):\(column): \(code.rawValue): \(detail)" }
}

/// All problems of all flow files, together, in the order of the files.
package struct FlowProblems: Error, Equatable, Sendable, CustomStringConvertible {
    package var problems: [FlowProblem]

    package var description: String { problems.map(\.description).joined(separator: "\n") }
}
