-- API keys and publishable keys. Only a hash of the secret is kept.
CREATE TABLE api_keys (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('server', 'publishable', 'buyer', 'admin')),
    app TEXT NOT NULL,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    scopes TEXT NOT NULL,
    origins TEXT NOT NULL,
    historical INTEGER NOT NULL CHECK (historical IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);
