internal import AurumCore
internal import Database
internal import Foundation

/// How many legs a buyer takes in a stretch of its local time.
package struct Cap: Sendable, Codable, Equatable {
    package enum Unit: String, Sendable, Codable, CaseIterable { case hour, day, week, month }

    package var unit: Unit
    package var limit: Int

    package init(unit: Unit, limit: Int) {
        self.unit = unit
        self.limit = limit
    }
}

/// One counted stretch of time.
package struct CapBucket: Sendable, Codable, Equatable, Hashable {
    package var unit: Cap.Unit
    /// Hour since 1970, or local date: `2026-11-21`, the week's Monday, `2026-11`.
    package var bucket: String
}

/// Reserves, commits and releases caps. Reserved and accepted legs together never exceed a limit: the table's own
/// check refuses it, whatever the code does.
enum CapStore {
    /// The bucket that holds `now` in `zone`. A day of 25 hours is one day; a week starts on Monday.
    static func bucket(_ unit: Cap.Unit, at now: Timestamp, zone: TimeZone) -> CapBucket {
        if unit == .hour { return CapBucket(unit: unit, bucket: String(now.microseconds / 3_600_000_000)) }
        let moment = Date(timeIntervalSince1970: Double(now.microseconds) / 1_000_000)
        let local = now + .seconds(zone.secondsFromGMT(for: moment))
        let date = local.utcDate
        switch unit {
        case .hour, .day: return CapBucket(unit: unit, bucket: date.description)
        case .week:
            let sinceMonday = (date.daysSince1970 + 3) % 7
            let monday = CivilDate(daysSince1970: date.daysSince1970 - sinceMonday)
            return CapBucket(unit: unit, bucket: monday.description)
        case .month: return CapBucket(unit: unit, bucket: String(date.description.prefix(7)))
        }
    }

    /// Reserves one leg in every cap of `buyer`, or throws `MarketError.capFull` so that the caller's transaction
    /// takes none.
    static func reserve(_ buyer: Buyer, org: String, now: Timestamp, in tx: Transaction) throws -> [CapBucket] {
        var buckets: [CapBucket] = []
        for cap in buyer.caps {
            let bucket = bucket(cap.unit, at: now, zone: buyer.zone)
            try tx.run(
                """
                INSERT INTO cap_buckets (org, buyer, unit, bucket, cap_limit, reserved, accepted, created_at)
                VALUES (\(org), \(buyer.code), \(cap.unit.rawValue), \(bucket.bucket), \(cap.limit), 0, 0, \(now))
                ON CONFLICT (org, buyer, unit, bucket) DO NOTHING
                """)
            let changed = try tx.run(
                """
                UPDATE cap_buckets SET reserved = reserved + 1, cap_limit = \(cap.limit)
                WHERE org = \(org) AND buyer = \(buyer.code) AND unit = \(cap.unit.rawValue)
                AND bucket = \(bucket.bucket) AND reserved + accepted + 1 <= \(cap.limit)
                """)
            guard changed == 1 else { throw MarketError.capFull(cap.unit) }
            buckets.append(bucket)
        }
        return buckets
    }

    /// The first cap without room, for the verdict; the reservation decides.
    static func full(_ buyer: Buyer, org: String, now: Timestamp, in tx: Transaction) throws -> Cap.Unit? {
        for cap in buyer.caps {
            let bucket = bucket(cap.unit, at: now, zone: buyer.zone)
            let used = try tx.value(
                Int.self,
                """
                SELECT reserved + accepted FROM cap_buckets WHERE org = \(org) AND buyer = \(buyer.code)
                AND unit = \(cap.unit.rawValue) AND bucket = \(bucket.bucket)
                """)
            if used ?? 0 >= cap.limit { return cap.unit }
        }
        return nil
    }

    /// Turns a leg's reservations into accepted ones.
    static func commit(_ leg: LegRow, in tx: Transaction) throws { try settle(leg, accepted: 1, in: tx) }

    /// Gives a leg's reservations back.
    static func release(_ leg: LegRow, in tx: Transaction) throws { try settle(leg, accepted: 0, in: tx) }

    private static func settle(_ leg: LegRow, accepted: Int, in tx: Transaction) throws {
        for bucket in leg.caps {
            try tx.run(
                """
                UPDATE cap_buckets SET reserved = reserved - 1, accepted = accepted + \(accepted)
                WHERE org = \(leg.org) AND buyer = \(leg.buyer) AND unit = \(bucket.unit.rawValue)
                AND bucket = \(bucket.bucket)
                """)
        }
    }
}
