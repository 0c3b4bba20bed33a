-- Credit that other credit took the place of, because touches of its person came in late or persons were merged.
CREATE TABLE attribution_restated (
    org TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('lead', 'sale')),
    -- The lead or the sold leg.
    item BLOB NOT NULL,
    -- From 1 up; all models of one moment have the same.
    version INTEGER NOT NULL,
    model TEXT NOT NULL,
    position INTEGER NOT NULL,
    campaign TEXT NOT NULL,
    source TEXT NOT NULL,
    medium TEXT NOT NULL,
    channel TEXT NOT NULL,
    -- NULL in credit of a release that kept no ads.
    ad TEXT,
    share_ppm INTEGER NOT NULL,
    -- Nothing, in no currency, for leads.
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    -- Of the lead or the sale.
    at INTEGER NOT NULL,
    credited_at INTEGER NOT NULL,
    restated_at INTEGER NOT NULL,
    cause TEXT NOT NULL CHECK (cause IN ('late', 'merge')),
    PRIMARY KEY (org, kind, item, version, model, position)
) STRICT;
CREATE INDEX attribution_restated_time ON attribution_restated (org, model, at);
-- How far each event log was read for what changes credit.
CREATE TABLE attribution_positions (
    log INTEGER NOT NULL,
    position TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (log)
) STRICT;
