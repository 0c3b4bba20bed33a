/// Counts units against limits. Never throws: an implementation that loses its shared count decides by the limit's
/// `degradedMode` and says so in `RateVerdict.mode`.
package protocol RateLimiter: Sendable {
    /// Takes the units of one request, or nothing.
    func decide(_ request: RateRequest) async -> RateVerdict

    /// Takes the units of all requests, or of none. All of one organisation; a limit of the network stands alone.
    func decide(all requests: [RateRequest]) async -> RateVerdict

    /// Takes units that may not be there: what comes next waits until they are. For costs that are known afterwards.
    func owe(_ request: RateRequest) async

    /// Gives units back that were taken and not used; of a `gcra` only, which forgets in what order they came.
    func giveBack(_ request: RateRequest) async
}

extension RateRequest {
    func checkReturn() { precondition(limit.algorithm == .gcra, "units of \(limit.name) cannot be given back") }
}

extension [RateRequest] {
    /// One script touches one slot, so what is decided together must belong together.
    func checkScopes() {
        precondition(!isEmpty, "no limit was asked")
        for request in self { precondition(request.scope == self[0].scope, "limits of two owners in one decision") }
        if count > 1, self[0].scope == .net { preconditionFailure("limits of the network are asked one by one") }
    }
}
