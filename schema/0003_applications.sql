-- What a group is for, in the words of the application that made it.
ALTER TABLE groups ADD COLUMN purpose TEXT NOT NULL DEFAULT '';

-- The type of an application's message, empty for all others. NULL is of an
-- older schema: it may be any.
ALTER TABLE messages ADD COLUMN app TEXT;
CREATE INDEX messages_app ON messages (conv, row) WHERE app IS NULL OR app <> '';
CREATE INDEX events_message ON events (message) WHERE kind = 'message';

-- What applications keep with the profile.
CREATE TABLE app_data (
    app   TEXT NOT NULL,
    key   TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (app, key)
) STRICT, WITHOUT ROWID;
