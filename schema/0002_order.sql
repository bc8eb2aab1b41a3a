-- The place of a message in its conversation, which the parts of one share; 0
-- for what has none. It tells receivers what they need not wait for.
ALTER TABLE outbox ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
