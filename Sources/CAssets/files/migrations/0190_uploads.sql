-- Where conversions are sent. One that was removed keeps its row, so that its items can still be read.
CREATE TABLE upload_destinations (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    network TEXT NOT NULL CHECK (network IN ('meta', 'google')),
    state TEXT NOT NULL CHECK (state IN ('active', 'paused', 'removed')),
    dry_run INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    configuration TEXT NOT NULL,
    -- Sealed, and in no answer.
    credentials TEXT,
    succeeded_at INTEGER,
    failed_at INTEGER,
    failure TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX upload_destinations_name ON upload_destinations (org, name) WHERE state <> 'removed';
-- One conversion for one destination. Holds no personal data: who it was is looked up when it is sent.
CREATE TABLE upload_items (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    destination BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('sale', 'lead')),
    -- The sold leg or the lead: the id under which the network knows the conversion.
    subject BLOB NOT NULL,
    -- What the network calls it: an event's name or a conversion action's id.
    event TEXT NOT NULL,
    trace_id BLOB,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'accepted', 'rejected', 'unknown', 'too_old', 'suppressed',
        'restated', 'retracted', 'dry_run')),
    action TEXT NOT NULL CHECK (action IN ('send', 'restate', 'retract')),
    reason TEXT NOT NULL,
    currency TEXT NOT NULL,
    value_minor INTEGER NOT NULL,
    -- What the network should hold.
    wanted_minor INTEGER NOT NULL,
    -- What the newest attempt carried.
    sent_minor INTEGER NOT NULL,
    -- What the network said that it holds, NULL while it said nothing.
    told_minor INTEGER,
    is_returned INTEGER NOT NULL CHECK (is_returned IN (0, 1)),
    -- An attempt of the open action may have arrived.
    is_uncertain INTEGER NOT NULL CHECK (is_uncertain IN (0, 1)),
    attempts INTEGER NOT NULL,
    first_sent_at INTEGER,
    -- NULL: nothing is to be done.
    due_at INTEGER,
    occurred_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX upload_items_once ON upload_items (org, destination, kind, subject);
CREATE INDEX upload_items_subject ON upload_items (org, subject);
CREATE INDEX upload_items_state ON upload_items (org, state, id);
CREATE INDEX upload_items_due ON upload_items (org, destination, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX upload_items_sent ON upload_items (org, destination) WHERE state = 'sent';
CREATE INDEX upload_items_created ON upload_items (created_at);
-- Every attempt, oldest first; outcome and end are NULL while nobody knows.
CREATE TABLE upload_attempts (
    org TEXT NOT NULL,
    item BLOB NOT NULL,
    number INTEGER NOT NULL,
    action TEXT NOT NULL,
    batch BLOB NOT NULL,
    value_minor INTEGER NOT NULL,
    outcome TEXT,
    reason TEXT NOT NULL,
    -- Of dry runs: what would have been sent, with hashed identifiers.
    payload TEXT,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (org, item, number)
) STRICT;
CREATE INDEX upload_attempts_payload ON upload_attempts (started_at) WHERE payload IS NOT NULL;
