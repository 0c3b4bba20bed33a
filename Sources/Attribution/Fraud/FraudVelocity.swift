internal import AurumCore

/// What happens too often in too little time. The answer does not depend on the order in which facts came.
struct FraudVelocity: Sendable {
    /// Clicks in a window that holds too many.
    private(set) var crowded: Set<UID> = []
    /// Clicks beyond the number that a window may hold.
    private(set) var excess: Set<UID> = []
    /// Installs of one hour behind an address that has too many devices.
    private(set) var farmed: Set<UID> = []
    /// Installs beyond the number that a device may have in a day.
    private(set) var repeated: Set<UID> = []

    struct Click: Sendable, Equatable {
        var id: UID
        var at: Int64
        var device: UID?
        var address: String?
        var network: String?
    }

    struct Install: Sendable, Equatable {
        var id: UID
        var at: Int64
        var device: UID?
        var address: String?
    }

    static let minute: Int64 = 60_000_000
    static let hour: Int64 = 3_600_000_000
    static let day: Int64 = 86_400_000_000

    /// - Parameters:
    ///   - clicks: of one app; ids that stand twice count once.
    ///   - installs: of the same app.
    ///   - limits: that hold for a network at a time.
    init(clicks: [Click], installs: [Install], _ limits: (_ network: String?, _ at: Int64) -> FraudLimits) {
        var seen: Set<UID> = []
        let clicks = clicks.filter { seen.insert($0.id).inserted }.sorted { ($0.at, $0.id) < ($1.at, $1.id) }
        let byDevice = Dictionary(grouping: clicks.filter { $0.device != nil }, by: \.device)
        for group in byDevice.values {
            markClicks(group, Self.minute) { limits($0.network, $0.at).count(.deviceMinute) }
            markClicks(group, Self.hour) { limits($0.network, $0.at).count(.deviceHour) }
        }
        for group in Dictionary(grouping: clicks.filter { $0.address != nil }, by: \.address).values {
            markClicks(group, Self.minute) { limits($0.network, $0.at).count(.addressMinute) }
        }
        seen = []
        let installs = installs.filter { seen.insert($0.id).inserted }.sorted { ($0.at, $0.id) < ($1.at, $1.id) }
        for group in Dictionary(grouping: installs.filter { $0.address != nil }, by: \.address).values {
            markFarm(group, limits)
        }
        for group in Dictionary(grouping: installs.filter { $0.device != nil }, by: \.device).values {
            Self.windows(group, Self.day, at: \.at) { first, last in
                if last - first + 1 > limits(nil, group[last].at).count(.deviceInstalls) {
                    repeated.insert(group[last].id)
                }
            }
        }
    }

    private mutating func markClicks(_ clicks: [Click], _ span: Int64, _ most: (Click) -> Int) {
        // What was marked once is not marked again, so that a long burst costs no square.
        var marked = 0
        Self.windows(clicks, span, at: \.at) { first, last in
            guard last - first + 1 > most(clicks[last]) else { return }
            excess.insert(clicks[last].id)
            for index in max(first, marked)...last { crowded.insert(clicks[index].id) }
            marked = last + 1
        }
    }

    private mutating func markFarm(_ installs: [Install], _ limits: (String?, Int64) -> FraudLimits) {
        var counts: [UID: Int] = [:]
        var (start, marked) = (0, 0)
        Self.windows(installs, Self.hour, at: \.at) { first, last in
            while start < first {
                if let device = installs[start].device {
                    counts[device] = (counts[device] ?? 1) - 1
                    if counts[device] == 0 { counts[device] = nil }
                }
                start += 1
            }
            if let device = installs[last].device { counts[device, default: 0] += 1 }
            guard counts.count > limits(nil, installs[last].at).count(.farmDevices) else { return }
            for index in max(first, marked)...last { farmed.insert(installs[index].id) }
            marked = last + 1
        }
    }

    /// Shows each place with the first that lies less than `span` before it.
    private static func windows<Item>(
        _ items: [Item], _ span: Int64, at time: (Item) -> Int64, _ show: (_ first: Int, _ last: Int) -> Void
    ) {
        var first = 0
        for last in items.indices {
            // In order of time, so that only the difference of the farthest could be too large: that is out as well.
            while first < last {
                let (distance, isOver) = time(items[last]).subtractingReportingOverflow(time(items[first]))
                guard isOver || distance >= span else { break }
                first += 1
            }
            show(first, last)
        }
    }
}
