-- Exports that are made by themselves, one for each period that is over.
CREATE TABLE export_schedules (
    org TEXT NOT NULL,
    name TEXT NOT NULL,
    -- JSON: every_hours, or daily with timezone.
    plan TEXT NOT NULL,
    -- JSON: the body of an export without its range and without the secret of its webhook.
    request TEXT NOT NULL,
    -- Sealed, and in no answer.
    secret TEXT,
    -- After the end of a period, so that what comes in late is in it.
    delay_minutes INTEGER NOT NULL,
    -- The period that is exported next, the end not in it.
    period_from INTEGER NOT NULL,
    period_to INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    -- Of the newest export that was made of it.
    last_export BLOB,
    -- Why the period before was not exported; NULL when it was.
    error TEXT,
    -- The key that set it.
    actor TEXT NOT NULL,
    -- Another one with every change.
    revision BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, name)
) STRICT;
CREATE INDEX export_schedules_due ON export_schedules (due_at);

-- Of an export that a schedule made: its name and the end of the period.
ALTER TABLE exports ADD COLUMN schedule TEXT;
ALTER TABLE exports ADD COLUMN period_to INTEGER;
CREATE UNIQUE INDEX exports_period ON exports (org, schedule, period_to) WHERE schedule IS NOT NULL;
-- The node whose folder holds the file.
ALTER TABLE exports ADD COLUMN writer BLOB;
-- Of an export to a webhook: the sealed secret, what became of the post, the attempts of the present go, since when it
-- is asked for, and when the next attempt may be.
ALTER TABLE exports ADD COLUMN hook_secret TEXT;
ALTER TABLE exports ADD COLUMN delivery TEXT;
ALTER TABLE exports ADD COLUMN delivery_tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE exports ADD COLUMN delivery_since INTEGER;
ALTER TABLE exports ADD COLUMN delivery_due INTEGER;
CREATE INDEX exports_waiting ON exports (delivery_due) WHERE delivery = 'waiting';

-- Every attempt to post an export, oldest first; outcome and end are NULL while nobody knows.
CREATE TABLE export_attempts (
    org TEXT NOT NULL,
    export BLOB NOT NULL,
    number INTEGER NOT NULL,
    outcome TEXT,
    reason TEXT NOT NULL,
    status INTEGER,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (org, export, number)
) STRICT;

-- Events that a key may write a second; NULL: what holds for keys of its kind.
ALTER TABLE api_keys ADD COLUMN events_per_second INTEGER;
