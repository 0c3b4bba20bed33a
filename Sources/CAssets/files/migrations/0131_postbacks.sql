-- Postbacks of Apple's SKAdNetwork and AdAttributionKit, each body once; what devices send again is counted.
CREATE TABLE postbacks (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    -- SHA-256 of the body.
    body_hash TEXT NOT NULL,
    body TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('skadnetwork', 'adattributionkit')),
    version TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('valid', 'invalid', 'unverifiable')),
    reason TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment IN ('production', 'development')),
    state TEXT NOT NULL CHECK (state IN ('counted', 'duplicate', 'conflict', 'refused')),
    -- Kind, environment, transaction-id or postback-identifier, postback-sequence-index; NULL where none is named.
    claim TEXT,
    -- SHA-256 of the signed fields.
    signed_hash TEXT NOT NULL,
    ad_network TEXT NOT NULL,
    app_id INTEGER,
    sequence_index INTEGER NOT NULL,
    -- Unsigned fields in which a duplicate differs from the one that counts.
    differs TEXT NOT NULL,
    copies INTEGER NOT NULL CHECK (copies >= 1),
    received_at INTEGER NOT NULL,
    last_received_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX postbacks_body ON postbacks (org, body_hash);
-- One postback counts for each claim.
CREATE UNIQUE INDEX postbacks_claim ON postbacks (org, claim) WHERE state = 'counted';
-- How many bodies of a claim are kept beside the one that counts.
CREATE INDEX postbacks_copies ON postbacks (org, claim, state) WHERE state IN ('duplicate', 'conflict');
CREATE INDEX postbacks_time ON postbacks (org, received_at);

-- Bodies that are no postback at all.
CREATE TABLE postback_quarantine (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
