-- Conversations: the present state of each, its transcript, the frames its visitor was sent, and every revision of
-- every answer. A row of `conversation` changes only under its owner, fence and version.
CREATE TABLE conversation (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    visitor_id TEXT NOT NULL,
    trace_id BLOB NOT NULL,
    flow_id TEXT NOT NULL,
    flow_hash TEXT NOT NULL,
    operator_name TEXT NOT NULL,
    language TEXT NOT NULL,
    owner TEXT NOT NULL CHECK (owner IN ('bot', 'human', 'unattended', 'closed')),
    owner_person TEXT,
    fence INTEGER NOT NULL CHECK (fence > 0),
    version INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    last_frame INTEGER NOT NULL,
    outcome TEXT,
    product TEXT,
    rating INTEGER CHECK (rating BETWEEN 1 AND 5),
    source TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX conversation_by_time ON conversation (org, created_at);
CREATE INDEX conversation_by_outcome ON conversation (org, outcome);

-- The transcript. Row 1 of every conversation is the bot's disclosure, and no row exists without it.
CREATE TABLE conversation_message (
    org TEXT NOT NULL,
    conversation_id BLOB NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence > 0),
    opening INTEGER NOT NULL DEFAULT 1 CHECK (opening = 1),
    id BLOB NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('bot', 'visitor', 'human')),
    discloses INTEGER NOT NULL CHECK (discloses IN (0, 1)),
    client_message_id BLOB,
    text TEXT NOT NULL,
    quick_reply TEXT,
    slot_asked TEXT,
    after_frame INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, conversation_id, sequence),
    UNIQUE (org, conversation_id, client_message_id),
    CHECK (sequence > 1 OR (role = 'bot' AND discloses = 1)),
    FOREIGN KEY (org, conversation_id) REFERENCES conversation (org, id),
    FOREIGN KEY (org, conversation_id, opening) REFERENCES conversation_message (org, conversation_id, sequence)
) STRICT;

-- What the visitor's socket was sent, numbered without gaps, so that a reconnect can be answered exactly.
CREATE TABLE conversation_frame (
    org TEXT NOT NULL,
    conversation_id BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, conversation_id, seq),
    FOREIGN KEY (org, conversation_id) REFERENCES conversation (org, id)
) STRICT;

-- Every revision of every answer; the highest is the present one.
CREATE TABLE conversation_slot (
    org TEXT NOT NULL,
    conversation_id BLOB NOT NULL,
    slot TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    status TEXT NOT NULL,
    value TEXT,
    raw TEXT NOT NULL,
    message_id BLOB,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    extractor TEXT NOT NULL,
    extractor_version TEXT NOT NULL,
    confidence_bp INTEGER NOT NULL CHECK (confidence_bp BETWEEN 0 AND 10000),
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, conversation_id, slot, revision),
    FOREIGN KEY (org, conversation_id) REFERENCES conversation (org, id)
) STRICT;

-- Resume tokens by SHA-256; a replaced one works for a short while.
CREATE TABLE conversation_token (
    org TEXT NOT NULL,
    hash BLOB NOT NULL,
    conversation_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    replaced_at INTEGER,
    PRIMARY KEY (org, hash),
    FOREIGN KEY (org, conversation_id) REFERENCES conversation (org, id)
) STRICT;
