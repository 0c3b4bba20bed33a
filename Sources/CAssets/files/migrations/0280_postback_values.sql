-- What a counted postback says of its campaign, whether it won, and the conversion value that it claims. NULL in what
-- an older release writes beside this one or wrote before, until the body is read anew.
ALTER TABLE postbacks ADD COLUMN source TEXT;
ALTER TABLE postbacks ADD COLUMN did_win INTEGER;
-- Empty without one, 0 to 63, low, medium, high, or unknown.
ALTER TABLE postbacks ADD COLUMN claimed_value TEXT;
CREATE INDEX postbacks_unread ON postbacks (org, received_at) WHERE source IS NULL AND state = 'counted';

-- What the conversion values of an app mean; every save is a version.
CREATE TABLE postback_schemas (
    org TEXT NOT NULL,
    app_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- Midnight UTC; windows that open from here on are read by it, until a later version begins.
    starts_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    -- The key that saved it.
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, app_id, version)
) STRICT;
