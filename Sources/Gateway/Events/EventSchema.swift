internal import AurumCore
internal import Events

/// The JSON Schema of one event as `/v1/events` takes it.
enum EventSchema {
    static let version1: JSONValue = [
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "/schemas/event/1",
        "title": "Event, contract 1",
        "type": "object", "required": ["id", "type"], "additionalProperties": true,
        "properties": .object(
            strings.mapValues { maximum in
                ["type": ["string", "null"], "maxLength": .integer(maximum)]
            }
            .merging(others) { $1 }),
    ]

    /// Text fields with their longest length in bytes.
    private static let strings: [String: Int64] = [
        "name": 200, "anonymous_id": 200, "user_id": 200, "device_id": 200, "session_id": 200, "click_id": 200,
        "order_id": 200, "lead_id": 200, "advertising_id": 64, "vendor_id": 64, "install_referrer": 2048, "url": 4096,
        "referrer": 4096, "title": 512, "screen": 512, "group_id": 200, "previous_id": 200,
    ]

    private static let time: JSONValue = [
        "description": "RFC 3339 text or milliseconds since 1970.", "type": ["string", "integer", "null"],
    ]

    private static let others: [String: JSONValue] = [
        "id": ["type": "string", "minLength": 1, "maxLength": 200],
        "type": ["enum": .array(EventType.allCases.map { .string($0.name) })],
        "ts": time, "sent_at": time, "referral_clicked_at": time, "install_began_at": time,
        "trace_id": ["type": ["string", "null"], "pattern": "^[0-9a-fA-F]{32}$"],
        "value": [
            "description": "At most 12 integer and 6 fraction digits.", "type": ["string", "number", "null"],
        ],
        "currency": ["type": ["string", "null"], "pattern": "^[A-Za-z]{3}$"],
        "quantity": ["type": ["integer", "null"], "minimum": 0, "maximum": 1_000_000],
        "traits": ["type": ["object", "null"]],
        "props": ["type": ["object", "null"], "maxProperties": 256],
        "context": ["type": ["object", "null"]],
        "campaign": [
            "type": ["object", "null"],
            "properties": .object(
                Dictionary(
                    uniqueKeysWithValues: [
                        "id", "name", "source", "medium", "term", "content", "network", "ad_group_id", "creative_id",
                        "placement_id", "keyword", "publisher_id",
                    ].map { ($0, ["type": ["string", "null"], "maxLength": 200] as JSONValue) })),
        ],
        "consent": [
            "type": ["object", "null"],
            "properties": [
                "gpc": ["type": ["boolean", "null"]],
                "analytics": ["enum": ["granted", "denied", "unknown", .null]],
                "ads": ["enum": ["granted", "denied", "unknown", .null]],
                "personalisation": ["enum": ["granted", "denied", "unknown", .null]],
                "tcf": ["type": ["string", "null"], "maxLength": 2048],
            ],
        ],
    ]
}
