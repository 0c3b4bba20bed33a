/// Why a message or a command was not carried out.
package enum ConversationError: Error, Equatable, Sendable {
    case unknownConversation
    /// It has ended.
    case closed
    /// Somebody else owns it by now.
    case staleFence
    case rateLimited(retryAfterMilliseconds: Int)
    case tooLarge
    /// The store or a function failed; a stable code for the log, nothing of the visitor's.
    case unavailable(String)
}

/// The site a visitor talks on.
package struct ChatSite: Sendable, Equatable {
    package var org: String
    /// Who operates the assistant, as named in the disclosure and in consent texts.
    package var operatorName: String
    package var flowID: String

    package init(org: String, operatorName: String, flowID: String) {
        self.org = org
        self.operatorName = operatorName
        self.flowID = flowID
    }
}

/// The visitor's end of the connection. Of the address only a prefix is kept.
package struct ChatClient: Sendable, Equatable {
    package var address: String
    package var userAgentFamily: String?

    package init(address: String, userAgentFamily: String?) {
        self.address = address
        self.userAgentFamily = userAgentFamily
    }

    /// `203.0.113.0/24`, or the first three groups of an IPv6 address as a /48.
    package var prefix: String {
        if address.contains(":") {
            let groups = address.split(separator: ":", omittingEmptySubsequences: false).prefix(3)
            return groups.joined(separator: ":") + "::/48"
        }
        let parts = address.split(separator: ".")
        return parts.count == 4 ? parts.prefix(3).joined(separator: ".") + ".0/24" : "unknown"
    }
}
