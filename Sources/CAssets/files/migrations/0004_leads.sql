-- Legal steps of leads and legs. A row keeps the state it came from, and the pair must be one of these.
CREATE TABLE lead_edges (
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    PRIMARY KEY (from_state, to_state)
) STRICT;
INSERT INTO lead_edges (from_state, to_state) VALUES
    ('', 'collecting'),
    ('collecting', 'qualified'), ('collecting', 'disqualified'), ('collecting', 'nurturing'),
    ('qualified', 'routing'), ('qualified', 'nurturing'), ('qualified', 'duplicate'),
    ('disqualified', 'collecting'),
    ('routing', 'sold'), ('routing', 'unsold'),
    ('sold', 'returned'),
    ('unsold', 'routing'), ('unsold', 'nurturing'),
    ('returned', 'routing'), ('returned', 'nurturing'),
    ('nurturing', 'qualified'),
    ('collecting', 'withdrawn'), ('qualified', 'withdrawn'), ('disqualified', 'withdrawn'), ('duplicate', 'withdrawn'),
    ('routing', 'withdrawn'), ('sold', 'withdrawn'), ('unsold', 'withdrawn'), ('returned', 'withdrawn'),
    ('nurturing', 'withdrawn'),
    ('collecting', 'erased'), ('qualified', 'erased'), ('disqualified', 'erased'), ('duplicate', 'erased'),
    ('routing', 'erased'), ('sold', 'erased'), ('unsold', 'erased'), ('returned', 'erased'), ('nurturing', 'erased'),
    ('withdrawn', 'erased');

CREATE TABLE leg_edges (
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    PRIMARY KEY (from_state, to_state)
) STRICT;
INSERT INTO leg_edges (from_state, to_state) VALUES
    ('', 'reserved'), ('reserved', 'posting'),
    ('posting', 'accepted'), ('posting', 'rejected'), ('posting', 'unknown'),
    ('unknown', 'accepted'), ('unknown', 'rejected'), ('unknown', 'expired'),
    ('accepted', 'returnRequested'), ('returnRequested', 'returned'), ('returnRequested', 'returnDenied'),
    ('accepted', 'recognised'), ('recognised', 'clawedBack');

CREATE TABLE leads (
    org TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    external_id TEXT,
    fingerprint TEXT,
    type TEXT NOT NULL,
    trace_id BLOB NOT NULL CHECK (length(trace_id) = 16),
    conversation_id BLOB,
    from_state TEXT NOT NULL,
    state TEXT NOT NULL,
    score INTEGER NOT NULL CHECK (score BETWEEN 0 AND 100),
    tier TEXT NOT NULL,
    probability_ppm INTEGER NOT NULL CHECK (probability_ppm BETWEEN 0 AND 1000000),
    gates TEXT NOT NULL,
    explanation TEXT NOT NULL,
    name TEXT,
    phone TEXT,
    email TEXT,
    zip TEXT,
    phone_status TEXT NOT NULL CHECK (phone_status IN ('valid', 'invalid', 'missing')),
    email_status TEXT NOT NULL CHECK (email_status IN ('valid', 'invalid', 'missing')),
    raw_contact TEXT,
    attributes TEXT NOT NULL,
    source TEXT NOT NULL,
    certificate_id BLOB,
    duplicate_of BLOB,
    answer TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (from_state, state) REFERENCES lead_edges (from_state, to_state)
) STRICT;
CREATE UNIQUE INDEX leads_external ON leads (org, external_id) WHERE external_id IS NOT NULL;
CREATE UNIQUE INDEX leads_type ON leads (org, id, type);
CREATE INDEX leads_recent ON leads (org, created_at);
CREATE INDEX leads_due ON leads (created_at) WHERE state IN ('qualified', 'routing');

-- Every step of a lead and of its legs, in order.
CREATE TABLE lead_history (
    seq INTEGER PRIMARY KEY,
    org TEXT NOT NULL,
    lead_id BLOB NOT NULL,
    leg_id BLOB,
    kind TEXT NOT NULL CHECK (kind IN ('lead', 'leg', 'score', 'consent', 'bid', 'ledger')),
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    detail TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    FOREIGN KEY (org, lead_id) REFERENCES leads (org, id)
) STRICT;
CREATE INDEX lead_history_lead ON lead_history (org, lead_id, seq);

CREATE TABLE score_history (
    seq INTEGER PRIMARY KEY,
    org TEXT NOT NULL,
    lead_id BLOB NOT NULL,
    old_score INTEGER,
    new_score INTEGER NOT NULL CHECK (new_score BETWEEN 0 AND 100),
    cause TEXT NOT NULL,
    policy TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    FOREIGN KEY (org, lead_id) REFERENCES leads (org, id)
) STRICT;
CREATE INDEX score_history_lead ON score_history (org, lead_id, seq);

-- One person, one lead: the first to hold a key within its days wins.
CREATE TABLE lead_keys (
    org TEXT NOT NULL,
    scope TEXT NOT NULL,
    key_hash BLOB NOT NULL CHECK (length(key_hash) = 32),
    lead_id BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, scope, key_hash)
) STRICT;

CREATE TABLE certificates (
    org TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    lead_id BLOB NOT NULL,
    key_id TEXT NOT NULL,
    file TEXT NOT NULL,
    salt BLOB,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, lead_id) REFERENCES leads (org, id)
) STRICT;
-- Whom a certificate covers: 'seller:CODE' or 'product:TYPE'. A leg must point at one of these rows.
CREATE TABLE certificate_scopes (
    org TEXT NOT NULL,
    lead_id BLOB NOT NULL,
    certificate_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, lead_id, certificate_id, scope),
    FOREIGN KEY (org, certificate_id) REFERENCES certificates (org, id)
) STRICT;

CREATE TABLE buyers (
    org TEXT NOT NULL,
    code TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'active', 'paused', 'closed')),
    configuration TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, code)
) STRICT;
-- Kept apart from the configuration, so that no read of a buyer can return them.
CREATE TABLE buyer_credentials (
    org TEXT NOT NULL,
    buyer TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('secret', 'bearerToken')),
    value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, buyer, kind),
    FOREIGN KEY (org, buyer) REFERENCES buyers (org, code)
) STRICT;
CREATE TABLE cap_buckets (
    org TEXT NOT NULL,
    buyer TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('hour', 'day', 'week', 'month')),
    bucket TEXT NOT NULL,
    cap_limit INTEGER NOT NULL,
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    accepted INTEGER NOT NULL CHECK (accepted >= 0),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, buyer, unit, bucket),
    CHECK (reserved + accepted <= cap_limit),
    FOREIGN KEY (org, buyer) REFERENCES buyers (org, code)
) STRICT;

CREATE TABLE legs (
    org TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    lead_id BLOB NOT NULL,
    lead_type TEXT NOT NULL,
    trace_id BLOB NOT NULL,
    buyer TEXT NOT NULL,
    exclusive INTEGER NOT NULL CHECK (exclusive IN (0, 1)),
    from_state TEXT NOT NULL,
    state TEXT NOT NULL,
    certificate_id BLOB NOT NULL,
    consent_scope TEXT NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    fee_minor INTEGER NOT NULL CHECK (fee_minor >= 0),
    currency TEXT NOT NULL,
    probability_ppm INTEGER NOT NULL,
    -- What the buyer saw at ping; the post is made from it, so that nothing can differ between the two.
    offer TEXT NOT NULL,
    caps TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at INTEGER,
    reason TEXT NOT NULL,
    external_id TEXT,
    return_window_micros INTEGER NOT NULL,
    posted_at INTEGER,
    answered_at INTEGER,
    accepted_at INTEGER,
    recognise_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    CHECK (consent_scope = 'seller:' || buyer OR consent_scope = 'product:' || lead_type),
    FOREIGN KEY (from_state, state) REFERENCES leg_edges (from_state, to_state),
    FOREIGN KEY (org, lead_id, lead_type) REFERENCES leads (org, id, type),
    FOREIGN KEY (org, lead_id, certificate_id, consent_scope)
        REFERENCES certificate_scopes (org, lead_id, certificate_id, scope),
    FOREIGN KEY (org, buyer) REFERENCES buyers (org, code)
) STRICT;
CREATE UNIQUE INDEX legs_exclusive ON legs (org, lead_id)
    WHERE exclusive = 1 AND state NOT IN ('rejected', 'returned', 'clawedBack');
CREATE UNIQUE INDEX legs_buyer ON legs (org, lead_id, buyer);
CREATE INDEX legs_accepted ON legs (org, accepted_at);
CREATE INDEX legs_buyer_time ON legs (org, buyer, created_at);
CREATE INDEX legs_open ON legs (state, recognise_at) WHERE state IN ('reserved', 'posting', 'unknown', 'accepted');

-- Why a lead went where it went; enough to compute the decision again.
CREATE TABLE decisions (
    org TEXT NOT NULL,
    lead_id BLOB NOT NULL,
    round INTEGER NOT NULL,
    record TEXT NOT NULL,
    sentence TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, lead_id, round),
    FOREIGN KEY (org, lead_id) REFERENCES leads (org, id)
) STRICT;

-- Double entry, append-only. Balances are debit minus credit and add up to zero per currency.
CREATE TABLE ledger_entries (
    org TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    leg_id BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('legAccepted', 'networkFee', 'recognised', 'returned', 'clawedBack', 'feeReversed')),
    currency TEXT NOT NULL,
    at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, leg_id) REFERENCES legs (org, id)
) STRICT;
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (org, leg_id, kind);
CREATE INDEX ledger_entries_time ON ledger_entries (org, at);
CREATE TABLE ledger_lines (
    org TEXT NOT NULL,
    entry_id BLOB NOT NULL,
    line INTEGER NOT NULL,
    account TEXT NOT NULL,
    debit_minor INTEGER NOT NULL CHECK (debit_minor >= 0),
    credit_minor INTEGER NOT NULL CHECK (credit_minor >= 0),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, entry_id, line),
    CHECK ((debit_minor = 0) <> (credit_minor = 0)),
    FOREIGN KEY (org, entry_id) REFERENCES ledger_entries (org, id)
) STRICT;
CREATE TABLE ledger_balances (
    org TEXT NOT NULL,
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    balance_minor INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, account, currency)
) STRICT;
