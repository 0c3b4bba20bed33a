internal import AurumCore
package import Database
internal import Events

/// Statements over many rows, and rows read back.
enum ReEngagementRows {
    private static func key(_ value: Int64?) -> JSONValue { value.map { .integer($0) } ?? .null }

    private static func json(_ opens: [SeenOpen]) -> String {
        let rows = opens.map { open -> JSONValue in
            let (facts, keys) = (open.seen.facts, open.seen.keys)
            var members = facts.json.object ?? [:]
            members["link"] = open.link?.json
            return .array([
                .string(facts.org.storable), .string(facts.app.storable), .string(open.seen.eventID.storable),
                .integer(facts.at.microseconds), .integer(open.seen.receivedAt.microseconds),
                .string(JSONValue.object(members).canonical), key(keys.device), key(keys.advertising),
                key(keys.vendor), key(keys.user), key(keys.click), .integer(Int64(bitPattern: open.seen.person)),
            ])
        }
        return JSONValue.array(rows).canonical
    }

    static func insert(_ opens: [SeenOpen]) -> SQLStatement {
        let json = json(opens)
        return .dialect(
            sqlite: """
                INSERT INTO reengagements (org, app, event_id, at, received_at, state, version,
                    is_reengagement, facts, device_key, advertising_key, vendor_key, user_key, click_key, person)
                SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), 'waiting', 0, 0,
                    json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
                    json_extract(value, '$[8]'), json_extract(value, '$[9]'), json_extract(value, '$[10]'),
                    json_extract(value, '$[11]')
                FROM json_each(\(json)) WHERE true
                ON CONFLICT (org, app, event_id) DO NOTHING
                """,
            postgres: """
                INSERT INTO reengagements (org, app, event_id, at, received_at, state, version,
                    is_reengagement, facts, device_key, advertising_key, vendor_key, user_key, click_key, person)
                SELECT value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT), CAST(value->>4 AS BIGINT),
                    'waiting', 0, 0, value->>5, CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT),
                    CAST(value->>8 AS BIGINT), CAST(value->>9 AS BIGINT), CAST(value->>10 AS BIGINT),
                    CAST(value->>11 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                ON CONFLICT (org, app, event_id) DO NOTHING
                """)
    }

    static func insertKeys(_ opens: [SeenOpen]) -> SQLStatement {
        let rows = opens.flatMap { open -> [JSONValue] in
            let facts = open.seen.facts
            return open.seen.keys.all.map { key in
                .array([
                    .string(facts.org.storable), .integer(key), .integer(facts.at.microseconds),
                    .string(facts.app.storable), .string(open.seen.eventID.storable),
                ])
            }
        }
        let json = JSONValue.array(rows).canonical
        return .dialect(
            sqlite: """
                INSERT INTO reengagement_keys (org, found_key, at, app, event_id)
                SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]')
                FROM json_each(\(json)) WHERE true
                ON CONFLICT (org, found_key, at, app, event_id) DO NOTHING
                """,
            postgres: """
                INSERT INTO reengagement_keys (org, found_key, at, app, event_id)
                SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT), value->>3, value->>4
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                ON CONFLICT (org, found_key, at, app, event_id) DO NOTHING
                """)
    }

    /// In the order of the key: servers that write at once never wait for each other in a circle.
    private static func json(_ activity: [(place: ActivityPlace, span: ActivitySpan)]) -> String {
        let sorted = activity.sorted {
            ($0.place.org, $0.place.app, $0.place.device, $0.place.halfDay)
                < ($1.place.org, $1.place.app, $1.place.device, $1.place.halfDay)
        }
        let rows = sorted.map { place, span -> JSONValue in
            .array([
                .string(place.org.storable), .string(place.app.storable), .integer(place.device),
                .integer(place.halfDay), .integer(span.first), .integer(span.last),
            ])
        }
        return JSONValue.array(rows).canonical
    }

    static func upsert(_ activity: [(place: ActivityPlace, span: ActivitySpan)]) -> SQLStatement {
        let json = json(activity)
        return .dialect(
            sqlite: """
                INSERT INTO device_activity (org, app, device_key, half_day, first_at, last_at)
                SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
                FROM json_each(\(json)) WHERE true
                ON CONFLICT (org, device_key, app, half_day) DO UPDATE SET
                    first_at = MIN(device_activity.first_at, excluded.first_at),
                    last_at = MAX(device_activity.last_at, excluded.last_at)
                """,
            postgres: """
                INSERT INTO device_activity (org, app, device_key, half_day, first_at, last_at)
                SELECT value->>0, value->>1, CAST(value->>2 AS BIGINT), CAST(value->>3 AS BIGINT),
                    CAST(value->>4 AS BIGINT), CAST(value->>5 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                ON CONFLICT (org, device_key, app, half_day) DO UPDATE SET
                    first_at = LEAST(device_activity.first_at, excluded.first_at),
                    last_at = GREATEST(device_activity.last_at, excluded.last_at)
                """)
    }

    /// Makes the last use of half days later, of those that are still there.
    static func move(_ activity: [(place: ActivityPlace, span: ActivitySpan)]) -> SQLStatement {
        let json = json(activity)
        return .dialect(
            sqlite: """
                INSERT INTO device_activity (org, app, device_key, half_day, first_at, last_at)
                SELECT known.org, known.app, known.device_key, known.half_day, known.first_at,
                    json_extract(moved.value, '$[5]')
                FROM json_each(\(json)) AS moved CROSS JOIN device_activity AS known
                WHERE known.org = json_extract(moved.value, '$[0]') AND known.app = json_extract(moved.value, '$[1]')
                    AND known.device_key = json_extract(moved.value, '$[2]')
                    AND known.half_day = json_extract(moved.value, '$[3]')
                ON CONFLICT (org, device_key, app, half_day) DO UPDATE SET
                    last_at = MAX(device_activity.last_at, excluded.last_at)
                """,
            postgres: """
                INSERT INTO device_activity (org, app, device_key, half_day, first_at, last_at)
                SELECT known.org, known.app, known.device_key, known.half_day, known.first_at,
                    CAST(moved.value->>5 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB)) AS moved(value)
                JOIN device_activity AS known ON known.org = moved.value->>0 AND known.app = moved.value->>1
                    AND known.device_key = CAST(moved.value->>2 AS BIGINT)
                    AND known.half_day = CAST(moved.value->>3 AS BIGINT)
                ON CONFLICT (org, device_key, app, half_day) DO UPDATE SET
                    last_at = GREATEST(device_activity.last_at, excluded.last_at)
                """)
    }

    /// Lets opens wait again which one of these may change.
    static func reopen(_ changes: [KeyChange]) -> SQLStatement {
        let rows = changes.map { change -> JSONValue in
            .array([
                .string(change.org.storable), .integer(change.key), .integer(change.times.lowerBound),
                .integer(change.times.upperBound),
            ])
        }
        let json = JSONValue.array(rows).canonical
        return .dialect(
            sqlite: """
                UPDATE reengagements SET state = 'waiting' WHERE (org, app, event_id) IN (
                    SELECT known.org, known.app, known.event_id
                    FROM json_each(\(json)) AS change CROSS JOIN reengagement_keys AS known
                    WHERE known.org = json_extract(change.value, '$[0]')
                        AND known.found_key = json_extract(change.value, '$[1]')
                        AND known.at >= json_extract(change.value, '$[2]')
                        AND known.at <= json_extract(change.value, '$[3]'))
                """,
            postgres: """
                UPDATE reengagements SET state = 'waiting' WHERE (org, app, event_id) IN (
                    SELECT known.org, known.app, known.event_id
                    FROM jsonb_array_elements(CAST(\(json) AS JSONB)) AS change(value)
                    JOIN reengagement_keys AS known ON known.org = change.value->>0
                        AND known.found_key = CAST(change.value->>1 AS BIGINT)
                        AND known.at >= CAST(change.value->>2 AS BIGINT)
                        AND known.at <= CAST(change.value->>3 AS BIGINT))
                """)
    }
}

/// Something about an identifier that opens of these times may be decided otherwise for; both ends included.
struct KeyChange: Sendable {
    var org: String
    var key: Int64
    var times: ClosedRange<Int64>

    /// What a part of the log may change for opens that were decided before it came.
    static func all(of batch: InstallBatch) -> [KeyChange] {
        var found: [KeyChange] = []
        func add(_ org: String, _ keys: [Int64], from: Int64, for length: Int64) {
            let (end, isOver) = from.addingReportingOverflow(length)
            for key in keys { found.append(KeyChange(org: org, key: key, times: from...(isOver ? .max : end))) }
        }
        for seen in batch.touches {
            add(seen.org, seen.keys.all, from: seen.touch.touch.at.microseconds, for: touchReach)
        }
        for seen in batch.installs {
            add(seen.facts.org, seen.keys.all, from: seen.facts.at.microseconds, for: .max)
        }
        for (place, span) in Array(batch.activity) + Array(batch.moved) {
            add(place.org, [place.device], from: span.first, for: span.last - span.first + activityReach)
        }
        return found
    }

    /// The longest window that there may be.
    private static let touchReach = Int64(ConversionDefinition.clickHours.upperBound) * 3_600_000_000
    private static let activityReach =
        Int64(ReEngagementRule.days.upperBound) * 86_400_000_000 + ReEngagementDecision.sameSession
}

extension InstallKeys {
    /// Those that there are, each once.
    var all: [Int64] { Set([device, advertising, vendor, click, user].compactMap { $0 }).sorted() }
    /// Those of the device.
    var devices: [Int64] { Set([device, advertising, vendor].compactMap { $0 }).sorted() }
}

/// An open as it is kept.
package struct KeptOpen: RowDecodable, Sendable {
    var install: KeptInstall
    var link: OpenLink?
    var isWaiting: Bool

    package init(row: Row) throws {
        install = try InstallRow(row: row).install
        isWaiting = try row.get("state", as: String.self) == "waiting"
        link = OpenLink(try row.get("facts", as: JSONValue.self)["link"] ?? .null)
    }
}
