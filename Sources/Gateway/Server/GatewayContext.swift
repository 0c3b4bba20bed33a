package import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes
package import Hummingbird
internal import Logging
internal import NIOCore

/// What the gateway knows about one request while it is answered.
package struct GatewayContext: RequestContext {
    package var coreContext: CoreRequestContextStorage
    /// Taken from the caller when well formed, otherwise made here; on every answer and log line.
    package var requestID: String
    /// Address of the peer, without its port.
    package let clientAddress: String
    /// Who is asking; nil until `Access` has looked, and for public routes.
    package var principal: Principal?

    package init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        requestID = ""
        clientAddress = source.channel.remoteAddress?.ipAddress ?? "unknown"
        principal = nil
    }
}

/// Request ids: 32 hex digits of our own, or the caller's when it is plain.
enum RequestID {
    static let header = HTTPField.Name("Aurum-Request-Id")!

    static func choose(_ offered: String?, now: Timestamp) -> String {
        if let offered, (8...64).contains(offered.utf8.count),
            offered.utf8.allSatisfy({ (48...57).contains($0) || (97...122).contains($0 | 32) || $0 == 45 || $0 == 95 })
        {
            return offered
        }
        return UID(now: now).hex
    }
}
