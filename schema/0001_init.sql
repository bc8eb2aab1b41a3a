-- The client's state. Times are Unix milliseconds. A column named "sealed" is
-- encrypted under a key of its scope (docs/spec.md, "The store").

-- The profile itself: account, own log, counters.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What is known of other accounts. The log only ever grows.
CREATE TABLE accounts (
    acct   BLOB PRIMARY KEY,   -- 52 bytes
    log    BLOB NOT NULL,
    name   TEXT NOT NULL DEFAULT '',  -- checked reverse name
    addrs  TEXT NOT NULL DEFAULT '',  -- multiaddrs of its node, one a line
    node   TEXT NOT NULL DEFAULT ''   -- peer id of its node
) STRICT, WITHOUT ROWID;

-- Records kept for others to fetch; without one-time keys.
CREATE TABLE records (
    lookup  BLOB PRIMARY KEY,
    acct    BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    record  BLOB NOT NULL,
    stored  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pins (
    name       TEXT PRIMARY KEY,
    address    BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    rival      BLOB              -- the address it changed to, until a person answers
) STRICT, WITHOUT ROWID;
CREATE INDEX pins_address ON pins (address);

-- Private halves of what bundles offer. Scope prekeys:<week>, and prekey:<id> of
-- what serves once.
CREATE TABLE prekeys (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    INTEGER NOT NULL,    -- 1 signed, 2 ML-KEM, 3 one-time, 4 key package, 5 last-resort key package
    scope   TEXT NOT NULL,
    public  BLOB,                -- of a key package, its encoding
    ref     BLOB,                -- of a key package
    sealed  BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX prekeys_kind ON prekeys (kind, created);
CREATE UNIQUE INDEX prekeys_ref ON prekeys (ref) WHERE ref IS NOT NULL;

-- Sessions seen before, so that a first message is not accepted twice.
CREATE TABLE firsts (
    id      BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Pairwise sessions. Scope session:<hex id>.
CREATE TABLE sessions (
    id       BLOB PRIMARY KEY,
    acct     BLOB NOT NULL,
    dev      BLOB NOT NULL,
    sealed   BLOB NOT NULL,
    own      INTEGER NOT NULL,    -- 1 if this side began it
    created  INTEGER NOT NULL,
    heard    INTEGER NOT NULL,    -- when something was read in it last; 0 for never
    archived INTEGER              -- when another session took over; NULL while it sends
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_acct ON sessions (acct);

CREATE TABLE skipped (
    session BLOB NOT NULL,
    tag     BLOB NOT NULL,
    sealed  BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (session, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX skipped_created ON skipped (created);

-- Groups; the head's state is sealed under head:<hex cid>.
CREATE TABLE groups (
    id      BLOB PRIMARY KEY,
    name    TEXT NOT NULL,
    status  TEXT NOT NULL,        -- active, removed, left
    creator INTEGER NOT NULL,
    inviter BLOB NOT NULL,        -- the account that made it, or sent the Welcome
    head    BLOB NOT NULL,        -- cid
    sealed  BLOB,                 -- NULL once removed
    created INTEGER NOT NULL,
    -- The profile was put back to an earlier state while this group was active.
    restored INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Epochs by the hash of their commit; a past one is sealed under epoch:<hex cid>.
CREATE TABLE epochs (
    cid    BLOB PRIMARY KEY,
    grp    BLOB NOT NULL,
    number INTEGER NOT NULL,
    sealed BLOB,                  -- NULL for the head
    ended  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX epochs_grp ON epochs (grp, number);

-- Ratchets, skipped keys and proposals of an epoch. Scope epoch:<hex cid>.
CREATE TABLE epoch_rows (
    cid    BLOB NOT NULL,
    key    BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (cid, key)
) STRICT, WITHOUT ROWID;

-- How far each sender of an epoch was read: next is the lowest number missing.
CREATE TABLE reads (
    cid   BLOB NOT NULL,
    class INTEGER NOT NULL,
    leaf  INTEGER NOT NULL,
    next  INTEGER NOT NULL,
    PRIMARY KEY (cid, class, leaf)
) STRICT, WITHOUT ROWID;
CREATE TABLE reads_ahead (
    cid   BLOB NOT NULL,
    class INTEGER NOT NULL,
    leaf  INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (cid, class, leaf, n)
) STRICT, WITHOUT ROWID;

-- What this client wants of a group and cannot commit itself.
CREATE TABLE intents (
    grp     BLOB NOT NULL,
    kind    TEXT NOT NULL,        -- update, leave
    cid     BLOB,                 -- the epoch it was proposed in
    created INTEGER NOT NULL,
    PRIMARY KEY (grp, kind)
) STRICT, WITHOUT ROWID;

-- Group envelopes, for members who missed them.
CREATE TABLE history (
    tag      BLOB PRIMARY KEY,
    envelope BLOB NOT NULL,
    stored   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX history_stored ON history (stored);

-- What waits to be published or acknowledged. A row without a tag is not
-- encrypted yet.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    conv     TEXT NOT NULL,
    acct     BLOB,                -- NULL in groups
    wire     BLOB NOT NULL,       -- id that an acknowledgement names
    message  BLOB,                -- id of the message it carries, NULL for the client's own
    whole    BLOB,                -- id of the content of which this is a part
    content  BLOB NOT NULL,
    acked    INTEGER NOT NULL,    -- 1 if it stays until it is acknowledged
    session  BLOB,
    tag      BLOB,
    body     BLOB,
    shard    INTEGER NOT NULL DEFAULT 0,
    at       INTEGER NOT NULL DEFAULT 0,  -- when it was encrypted
    attempts INTEGER NOT NULL DEFAULT 0,
    due      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_due ON outbox (due) WHERE tag IS NOT NULL;
CREATE INDEX outbox_waiting ON outbox (conv, acked, id) WHERE tag IS NULL;
CREATE INDEX outbox_conv ON outbox (conv, id);
CREATE INDEX outbox_wire ON outbox (wire);

-- Ciphertext read already, and how to acknowledge it again.
CREATE TABLE seen (
    hash BLOB PRIMARY KEY,
    acct BLOB,
    wire BLOB,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);

-- The order of each author's messages. conv is p:<hex account> or g:<hex group id>.
CREATE TABLE order_out (
    conv TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE order_in (
    conv TEXT NOT NULL,
    dev  BLOB NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (conv, dev)
) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    conv    TEXT NOT NULL,
    dev     BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    acct    BLOB NOT NULL,
    content BLOB NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (conv, dev, seq)
) STRICT, WITHOUT ROWID;

-- Parts of contents that exceed one envelope.
CREATE TABLE parts (
    conv  TEXT NOT NULL,
    dev   BLOB NOT NULL,
    whole BLOB NOT NULL,
    idx   INTEGER NOT NULL,
    total INTEGER NOT NULL,
    data  BLOB NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (conv, dev, whole, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    row     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      BLOB NOT NULL,
    conv    TEXT NOT NULL,
    author  BLOB NOT NULL,        -- account
    own     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    state   TEXT NOT NULL,
    expires INTEGER NOT NULL DEFAULT 0,
    content BLOB NOT NULL,
    UNIQUE (conv, author, id)
) STRICT;
CREATE INDEX messages_id ON messages (id);
CREATE INDEX messages_expires ON messages (expires) WHERE expires > 0;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    message INTEGER,              -- row of messages
    state   TEXT,                 -- of the message, when the event was made
    body    TEXT                  -- JSON of every other kind
) STRICT;

CREATE TABLE idempotency (
    key     TEXT PRIMARY KEY,
    message BLOB NOT NULL,
    digest  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
