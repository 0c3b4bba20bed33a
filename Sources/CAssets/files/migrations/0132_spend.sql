-- What advertising cost, as networks report it: dimensions once, figures one row a day.
CREATE TABLE spend_lines (
    org TEXT NOT NULL,
    -- The first half of SHA-256 of the dimensions, in hex.
    line TEXT NOT NULL,
    network TEXT NOT NULL,
    account_id TEXT NOT NULL,
    campaign_id TEXT NOT NULL,
    campaign TEXT NOT NULL,
    ad_group_id TEXT NOT NULL,
    creative_id TEXT NOT NULL,
    country TEXT NOT NULL,
    currency TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, line)
) STRICT, WITHOUT ROWID;
CREATE TABLE spend_rows (
    org TEXT NOT NULL,
    -- Days since 1970-01-01 by the calendar of the account.
    day INTEGER NOT NULL,
    line TEXT NOT NULL,
    -- The import that wrote the row and the one that replaced it: the row counts while from_import <= head <
    -- until_import, so that an import is seen whole or not at all.
    from_import INTEGER NOT NULL,
    until_import INTEGER NOT NULL,
    spend_minor INTEGER NOT NULL CHECK (spend_minor >= 0),
    impressions INTEGER,
    clicks INTEGER,
    conversions_millionths INTEGER,
    value_minor INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, day, line, from_import)
) STRICT, WITHOUT ROWID;
CREATE INDEX spend_rows_replaced ON spend_rows (org, until_import) WHERE until_import < 9223372036854775807;
-- One row an organisation: the newest whole import, the newest number given out, and who imports now.
CREATE TABLE spend_heads (
    org TEXT NOT NULL,
    head INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    -- 0 when nobody imports.
    running INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org)
) STRICT;
-- The calendar of each account.
CREATE TABLE spend_accounts (
    org TEXT NOT NULL,
    network TEXT NOT NULL,
    account_id TEXT NOT NULL,
    timezone TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, network, account_id)
) STRICT;
