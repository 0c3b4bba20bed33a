package import AurumCore

extension UserAgentFacts {
    /// The members that answers add to an event.
    package var members: [String: JSONValue] {
        var members: [String: JSONValue] = ["device_class": .string(device.rawValue)]
        if let browser { members["browser"] = .string(browser) }
        if let browserMajor { members["browser_major"] = .integer(Int64(browserMajor)) }
        if let os { members["os_name"] = .string(os) }
        return members
    }
}

extension StoredEvent {
    /// What the event's user agent says; nil without one.
    package var agent: UserAgentFacts? {
        let text = context?["user_agent"]?.string ?? context?["userAgent"]?.string
        return text.map { UserAgentFacts($0) }
    }
}
