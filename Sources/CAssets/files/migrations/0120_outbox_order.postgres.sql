-- Writes run side by side here: a higher seq may be committed first. A row is read when no transaction that began before
-- its own is still open.
ALTER TABLE outbox ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX outbox_order ON outbox (xid, seq);
