-- Answers kept for idempotency keys are taken out by their age.
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
