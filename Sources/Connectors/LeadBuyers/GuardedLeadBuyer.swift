internal import AurumCore
internal import Foundation
package import Leads
package import Runtime

/// A way to speak with buyers that gives up on a buyer who does not answer, and never lets one take every connection.
/// What it refuses was not sent, so the lead may go elsewhere.
package struct GuardedLeadBuyer<Base: LeadBuyer>: LeadBuyer {
    private let base: Base
    private let guards: GuardBook

    package init(_ base: Base, guards: GuardBook) {
        self.base = base
        self.guards = guards
    }

    /// What its guard, its metric and its health component are called.
    package static func name(_ buyer: Buyer) -> String {
        // Buyers of two organisations may have one code and are two systems.
        "buyer:\(buyer.code)@\(URLComponents(string: buyer.post)?.host ?? "")"
    }

    package func ping(
        _ ping: BuyerPing, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration
    ) async -> PingAnswer {
        var options = GuardOptions()
        // A ping takes nothing: it may be sent again, once, in the time it has; where the buyer asks for patience, not
        // before.
        options.triesMax = 2
        options.backoffFirst = .milliseconds(20)
        do throws(GuardRefusal) {
            return try await guards.guard(Self.name(buyer)).call(
                within: timeout, options, lost: .late, judge: Self.judge
            ) { left in
                await base.ping(ping, buyer: buyer, credentials: credentials, timeout: left)
            }
        } catch { return .unreachable(error.reason) }
    }

    package func post(
        _ post: BuyerPost, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration
    ) async -> PostAnswer {
        var options = GuardOptions()
        // An outcome nobody knows is never repeated blindly; the marketplace decides about the others.
        options.triesMax = 1
        options.judgesSlowness = false
        do throws(GuardRefusal) {
            return try await guards.guard(Self.name(buyer)).call(
                within: timeout, options, lost: .unknown(GuardRefusal.injectedReason), judge: Self.judge
            ) { left in
                await base.post(post, buyer: buyer, credentials: credentials, timeout: left)
            }
        } catch { return .notSent(error.reason) }
    }

    private static func judge(_ answer: PingAnswer) -> GuardJudgement {
        switch answer {
        case .bid, .declined: .good
        case .late, .unreadable: .bad
        case .unreachable: .badAndSafe
        case .busy(_, let retryAfter): .badAndSafeAfter(retryAfter)
        }
    }

    private static func judge(_ answer: PostAnswer) -> GuardJudgement {
        switch answer {
        case .accepted, .rejected, .refused: .good
        case .notSent, .unknown: .bad
        }
    }
}
