-- What refunds of the event log took of the amount, by the same weights; 0 in what an older release writes beside this
-- one or wrote before.
ALTER TABLE attribution_log_credits ADD COLUMN returned_minor INTEGER NOT NULL DEFAULT 0;
