-- Since when uses of apps are kept of what a log holds; none where it is followed by a release that keeps none.
ALTER TABLE install_positions ADD COLUMN activity_since INTEGER;
-- How far the log was read with every use in the table: uses that change little are written later than the rest.
ALTER TABLE install_positions ADD COLUMN activity_position TEXT;

-- How long a device must have been away, and windows, each change a version with the time it holds from.
CREATE TABLE reengagement_rules (
    org TEXT NOT NULL,
    -- Empty for every app without a rule of its own.
    app TEXT NOT NULL,
    version INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, app, version)
) STRICT;

-- When a device used an app, by half days of 43,200 s since 1970: the first and the last event of each.
CREATE TABLE device_activity (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    device_key INTEGER NOT NULL,
    half_day INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (org, device_key, app, half_day)
) STRICT;
CREATE INDEX device_activity_time ON device_activity (org, half_day);

-- Opens from this time on find all touches and uses that may decide them: what was removed is of no interest to them.
CREATE TABLE reengagement_bounds (
    org TEXT NOT NULL,
    decidable_from INTEGER NOT NULL,
    PRIMARY KEY (org)
) STRICT;

-- Logs that held uses of an app before anybody had installed it: those are not kept.
CREATE TABLE reengagement_gaps (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    log INTEGER NOT NULL,
    -- From when on they are; none where nobody has installed it yet.
    kept_since INTEGER,
    PRIMARY KEY (org, app, log)
) STRICT;

-- Opens of an app that carry a click id, a link or a campaign. One that waits is decided by the next step of whoever
-- follows the log, and waits again when something comes that is older than it.
CREATE TABLE reengagements (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'decided')),
    -- Of the decision that holds; 0 before the first.
    version INTEGER NOT NULL,
    -- Whether the decision that holds says so.
    is_reengagement INTEGER NOT NULL CHECK (is_reengagement IN (0, 1)),
    facts TEXT NOT NULL,
    device_key INTEGER,
    advertising_key INTEGER,
    vendor_key INTEGER,
    user_key INTEGER,
    click_key INTEGER,
    person INTEGER NOT NULL,
    PRIMARY KEY (org, app, event_id)
) STRICT;
CREATE INDEX reengagements_waiting ON reengagements (received_at) WHERE state = 'waiting';
CREATE INDEX reengagements_time ON reengagements (org, at, app, event_id);
CREATE INDEX reengagements_event ON reengagements (org, event_id);

-- Each key of each of these opens.
CREATE TABLE reengagement_keys (
    org TEXT NOT NULL,
    found_key INTEGER NOT NULL,
    at INTEGER NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (org, found_key, at, app, event_id)
) STRICT;
CREATE INDEX reengagement_keys_event ON reengagement_keys (org, app, event_id);

-- What an open was decided to be. A decision never changes: another one is another version.
CREATE TABLE reengagement_decisions (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    method TEXT NOT NULL,
    network TEXT NOT NULL,
    campaign TEXT NOT NULL,
    -- The touch, for journeys of the person; without one all of these are empty or 0.
    touch_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    channel TEXT NOT NULL,
    person INTEGER NOT NULL,
    touch_person INTEGER NOT NULL,
    sort_id INTEGER NOT NULL,
    sort_tail INTEGER NOT NULL,
    click_hash INTEGER NOT NULL,
    body TEXT NOT NULL,
    cause TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    PRIMARY KEY (org, app, event_id, version)
) STRICT;
