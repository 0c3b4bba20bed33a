-- Whom to tell of installs, in-app conversions and sales. One that was removed keeps its row, so that what became of
-- its deliveries can still be read.
CREATE TABLE callbacks (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    -- In small letters, as touches are compared with it.
    network TEXT NOT NULL,
    -- 'install', 'sale', or the name of a conversion.
    event TEXT NOT NULL,
    method TEXT NOT NULL CHECK (method IN ('GET', 'POST')),
    url TEXT NOT NULL,
    -- JSON, of POST.
    body TEXT,
    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled', 'removed')),
    -- Sealed, and in no answer.
    secret TEXT,
    -- What was received earlier is not told.
    enabled_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX callbacks_event ON callbacks (event, org) WHERE state = 'enabled';

-- One thing that one template tells. Holds no personal data: click ids are looked up when it is sent.
CREATE TABLE callback_deliveries (
    org TEXT NOT NULL,
    -- The same in every attempt.
    id BLOB NOT NULL,
    callback BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('install', 'conversion', 'sale')),
    event TEXT NOT NULL,
    network TEXT NOT NULL,
    -- A hash of what is told once.
    subject BLOB NOT NULL,
    -- The event's id; of a sale the sold leg.
    reference TEXT NOT NULL,
    -- App and event id of the install; both empty for a sale.
    app TEXT NOT NULL,
    install TEXT NOT NULL,
    trace_id BLOB,
    value_minor INTEGER,
    currency TEXT,
    occurred_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sending', 'delivered', 'refused', 'dead', 'suppressed')),
    reason TEXT NOT NULL,
    -- Of the newest answer.
    status INTEGER,
    attempts INTEGER NOT NULL,
    -- Attempts since it was taken up, or set to work again.
    tries INTEGER NOT NULL,
    first_at INTEGER,
    -- NULL: nothing is to be done.
    due_at INTEGER,
    ended_at INTEGER,
    updated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX callback_deliveries_once ON callback_deliveries (org, callback, subject);
CREATE INDEX callback_deliveries_state ON callback_deliveries (org, state, id);
CREATE INDEX callback_deliveries_due ON callback_deliveries (due_at, org, id) WHERE due_at IS NOT NULL;
CREATE INDEX callback_deliveries_created ON callback_deliveries (created_at);
CREATE INDEX callback_deliveries_install ON callback_deliveries (org, app, install) WHERE install <> '';

-- Every attempt, oldest first; outcome and end are NULL while nobody knows.
CREATE TABLE callback_attempts (
    org TEXT NOT NULL,
    delivery BLOB NOT NULL,
    number INTEGER NOT NULL,
    outcome TEXT,
    reason TEXT NOT NULL,
    status INTEGER,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (org, delivery, number)
) STRICT;

-- In-app conversions that a template tells of, until the install they belong to is decided. Keys are hashes.
CREATE TABLE callback_conversions (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    conversion TEXT NOT NULL,
    at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    repeats TEXT NOT NULL,
    order_id TEXT,
    value_minor INTEGER,
    currency TEXT,
    -- Why its person is not told of, '' where nobody refused.
    refusal TEXT NOT NULL,
    device_key INTEGER,
    advertising_key INTEGER,
    vendor_key INTEGER,
    user_key INTEGER,
    PRIMARY KEY (org, app, event_id, conversion)
) STRICT;
CREATE INDEX callback_conversions_order ON callback_conversions (received_at, org, app, event_id, conversion);
CREATE INDEX callback_conversions_device ON callback_conversions (org, device_key) WHERE device_key IS NOT NULL;
CREATE INDEX callback_conversions_user ON callback_conversions (org, user_key) WHERE user_key IS NOT NULL;
CREATE INDEX installs_user ON installs (org, user_key, at) WHERE user_key IS NOT NULL;
