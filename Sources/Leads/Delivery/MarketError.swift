/// Why a step of the market could not be taken.
package enum MarketError: Error, Equatable, Sendable {
    /// The record is no longer in the state where the step starts.
    case stateChanged
    case capFull(Cap.Unit)
    case unknownLead
    case unknownLeg
    /// The leg is not waiting for an answer.
    case notUnknown(LegState)
}
