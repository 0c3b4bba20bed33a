internal import AurumCore
internal import Synchronization

/// How many conversations may begin: per address prefix and hour, per site and minute.
final class OpenLimiter: Sendable {
    /// Addresses remembered at most; beyond it the oldest half is forgotten.
    private static let addressesMax = 20_000

    private struct State: Sendable {
        var byAddress: [String: [Timestamp]] = [:]
        var bySite: [String: [Timestamp]] = [:]
    }

    private let state = Mutex(State())

    /// Milliseconds to wait, or nil when a conversation may begin now; then it is counted.
    func admit(address: String, site: String, limits: ConversationLimits, now: Timestamp) -> Int? {
        state.withLock { state in
            if state.byAddress.count > Self.addressesMax {
                state.byAddress = state.byAddress.filter { ($0.value.last ?? now) > now - .seconds(1800) }
            }
            let fromAddress = (state.byAddress[address] ?? []).filter { $0 > now - .seconds(3600) }
            let fromSite = (state.bySite[site] ?? []).filter { $0 > now - .seconds(60) }
            state.byAddress[address] = fromAddress
            state.bySite[site] = fromSite
            if fromAddress.count >= limits.conversationsPerAddressHour, let oldest = fromAddress.first {
                return Int((oldest + .seconds(3600) - now).microseconds / 1000) + 1
            }
            if fromSite.count >= limits.conversationsPerSiteMinute, let oldest = fromSite.first {
                return Int((oldest + .seconds(60) - now).microseconds / 1000) + 1
            }
            state.byAddress[address, default: []].append(now)
            state.bySite[site, default: []].append(now)
            return nil
        }
    }
}
