-- What an organisation decides about the events of an app.
CREATE TABLE apps (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    settings TEXT NOT NULL,
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, app)
) STRICT;

-- Tracking plans; a version never changes.
CREATE TABLE app_plans (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    version INTEGER NOT NULL,
    plan TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, app, version)
) STRICT;

-- The last consent of a person, by keyed hash of an identifier: 0 unknown, 1 granted, 2 denied.
CREATE TABLE consents (
    org TEXT NOT NULL,
    person INTEGER NOT NULL,
    analytics INTEGER NOT NULL CHECK (analytics BETWEEN 0 AND 2),
    ads INTEGER NOT NULL CHECK (ads BETWEEN 0 AND 2),
    personalisation INTEGER NOT NULL CHECK (personalisation BETWEEN 0 AND 2),
    gpc INTEGER NOT NULL CHECK (gpc IN (0, 1)),
    at INTEGER NOT NULL,
    PRIMARY KEY (org, person)
) STRICT, WITHOUT ROWID;

-- What was done with quarantined events, by the receipt they came under and their place in it.
CREATE TABLE quarantine_actions (
    org TEXT NOT NULL,
    receipt TEXT NOT NULL,
    place INTEGER NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('replaying', 'replayed', 'deleted')),
    outcome TEXT,
    plan_version INTEGER,
    replay_receipt TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (org, receipt, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_actions_event ON quarantine_actions (org, app, event_id);
