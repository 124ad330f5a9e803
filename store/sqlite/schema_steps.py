"""The tables: what makes each version of the schema of the one before it.

Owns `CREATE`. Knows neither the file nor an operation on the data.
"""

from __future__ import annotations

# Positions are never given twice (AUTOINCREMENT), so a row key never comes to name another row. Rows lie by position,
# not by queue: that halves the cost of an append, and most rows go again without ever having been looked for.
_ACCOUNTS_AND_INBOX = """
CREATE TABLE accounts (
    user TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE devices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    label TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    removed_ms INTEGER,
    session INTEGER NOT NULL DEFAULT 0,
    previous_session INTEGER NOT NULL DEFAULT 0,
    UNIQUE (user, device)
);
CREATE TABLE inbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    kind INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX inbox_by_queue ON inbox (user, device);
CREATE INDEX inbox_by_expiry ON inbox (expires_ms);
"""
_CONTACTS = """
CREATE TABLE contacts (
    low TEXT NOT NULL,
    high TEXT NOT NULL,
    bits INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (low, high)
) WITHOUT ROWID;
CREATE INDEX contacts_by_high ON contacts (high, low);
CREATE TABLE seen (
    user TEXT PRIMARY KEY,
    seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""
_FILES = """
CREATE TABLE files (
    file TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX files_by_expiry ON files (expires_ms);
CREATE TABLE file_readers (
    file TEXT NOT NULL,
    user TEXT NOT NULL,
    PRIMARY KEY (file, user)
) WITHOUT ROWID;
CREATE TABLE pieces (
    id INTEGER PRIMARY KEY,
    file TEXT NOT NULL,
    position INTEGER NOT NULL,
    length INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (file, position)
);
"""
_PROFILES_AND_LOGINS = """
ALTER TABLE accounts ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN hides_presence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN deleted_ms INTEGER;
ALTER TABLE devices ADD COLUMN login TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN refreshed_ms INTEGER NOT NULL DEFAULT 0;
"""
_DISABLED = """
ALTER TABLE accounts ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
"""
# 0: as long as the file itself. So stay uploads of before.
_UPLOADS = """
ALTER TABLE files ADD COLUMN upload_expires_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX uploads_by_expiry ON files (upload_expires_ms) WHERE complete = 0 AND upload_expires_ms > 0;
"""
# `start` and `tries` belong to the newest session of a release that tells them.
_LOGINS = """
ALTER TABLE accounts ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN start INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN nonce TEXT NOT NULL DEFAULT '';
"""
# "": rows of before, and receipts.
_AUTHORS = """
ALTER TABLE inbox ADD COLUMN author TEXT NOT NULL DEFAULT '';
CREATE INDEX files_by_owner ON files (owner);
"""
# Of a stream and a stamp: `store.sqlite.timeline_streams`. Messages lie in the order in which they came, so that a
# commit touches the end of the table and few pages of its indexes. `view`: 0 both, 1 and 2 one of the two alone, 3
# nobody. A marker is a message with `erased_by`; it goes at the stamp `ends`. `unindexed`: of these messages the search
# index has to look again (`store.sqlite.search`).
_TIMELINES = """
CREATE TABLE history (
    keep_days INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    floor INTEGER NOT NULL
);
INSERT INTO history VALUES (0, 0, 0);
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL,
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    listed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (conversation, user, device, stream)
);
CREATE INDEX streams_by_user ON streams (user);
CREATE TABLE messages (
    position INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL,
    view INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    about BLOB,
    erased_by TEXT,
    ends INTEGER,
    UNIQUE (stream, id)
);
CREATE INDEX messages_by_stamp ON messages (conversation, view, stamp);
CREATE INDEX messages_by_age ON messages (stamp) WHERE erased_by IS NULL;
CREATE INDEX markers_by_end ON messages (ends) WHERE erased_by IS NOT NULL;
CREATE TABLE edits (
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    device TEXT NOT NULL,
    audience INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    edit_stream INTEGER NOT NULL,
    edit_id INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    checked INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (stream, id, device, audience)
) WITHOUT ROWID;
CREATE INDEX edits_by_age ON edits (stamp);
CREATE TABLE members (
    user TEXT NOT NULL,
    other TEXT NOT NULL,
    listed INTEGER NOT NULL DEFAULT 0,
    hidden INTEGER NOT NULL DEFAULT 0,
    private INTEGER NOT NULL DEFAULT 0,
    public INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, other)
) WITHOUT ROWID;
CREATE TABLE kept_files (
    file TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (file, stream, id)
) WITHOUT ROWID;
CREATE INDEX kept_files_by_message ON kept_files (stream, id);
CREATE TABLE usage (
    user TEXT NOT NULL,
    day INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (user, day)
) WITHOUT ROWID;
CREATE TABLE reports (
    report TEXT PRIMARY KEY,
    reporter TEXT NOT NULL,
    told TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX reports_by_reporter ON reports (reporter);
CREATE TABLE unindexed (
    position INTEGER PRIMARY KEY
);
CREATE TRIGGER changed_message AFTER UPDATE OF view, erased_by ON messages BEGIN
    INSERT OR IGNORE INTO unindexed VALUES (new.position); END;
CREATE TRIGGER dropped_message AFTER DELETE ON messages BEGIN
    INSERT OR IGNORE INTO unindexed VALUES (old.position); END;
CREATE TRIGGER edited_message AFTER INSERT ON edits BEGIN
    INSERT OR IGNORE INTO unindexed SELECT position FROM messages WHERE stream = new.stream AND id = new.id; END;
CREATE TRIGGER unedited_message AFTER DELETE ON edits BEGIN
    INSERT OR IGNORE INTO unindexed SELECT position FROM messages WHERE stream = old.stream AND id = old.id; END;
"""
# A group's message is a row of `messages`, with the version of its first attempt; `view` 4: EDIT and ERASE, which pages
# pass over. Rows of later attempts are few: `attempts`. Nothing of this is written where a conversation's message is.
# `group_intervals`: who was in it in which versions; `until` 0: is, so these are the lists of groups as well.
_GROUPS = """
ALTER TABLE messages ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN checkpoint INTEGER NOT NULL DEFAULT 0;
CREATE TABLE attempts (
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    open INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    PRIMARY KEY (position, version, stamp)
) WITHOUT ROWID;
CREATE INDEX attempts_by_stamp ON attempts (conversation, stamp, position, version);
CREATE TRIGGER dropped_attempts AFTER DELETE ON messages BEGIN
    DELETE FROM attempts WHERE position = old.position; END;
CREATE TABLE group_states (
    group_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    picture TEXT NOT NULL,
    admins_write INTEGER NOT NULL,
    admins_add INTEGER NOT NULL,
    open INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    closed_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE group_members (
    group_id TEXT NOT NULL,
    user TEXT NOT NULL,
    role INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (group_id, user)
) WITHOUT ROWID;
CREATE TABLE group_changes (
    group_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    user TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (group_id, version)
) WITHOUT ROWID;
CREATE TABLE group_intervals (
    user TEXT NOT NULL,
    group_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL DEFAULT 0,
    left_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, group_id, since)
) WITHOUT ROWID;
CREATE INDEX group_intervals_by_end ON group_intervals (left_ms) WHERE until > 0;
CREATE TABLE group_invitations (
    user TEXT NOT NULL,
    group_id TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (user, group_id)
) WITHOUT ROWID;
CREATE TABLE group_links (
    group_id TEXT NOT NULL,
    link TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    ends_ms INTEGER NOT NULL,
    uses_left INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    PRIMARY KEY (group_id, link)
) WITHOUT ROWID;
"""
_CONSENT = "ALTER TABLE accounts ADD COLUMN friends_may_add_me INTEGER NOT NULL DEFAULT 0;"
# `other`: a user, or a group. A row of a time that is over is nothing.
_MUTES = """
CREATE TABLE mutes (
    user TEXT NOT NULL,
    other TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (user, other)
) WITHOUT ROWID;
"""
# `reset_code`: as `store.codes.ResetCode` writes it. `invitation`: with which the account was made.
_CODES = """
ALTER TABLE accounts ADD COLUMN reset_code TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN invitation TEXT NOT NULL DEFAULT '';
CREATE TABLE invitations (
    invitation TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    made_ms INTEGER NOT NULL,
    ends_ms INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    note TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE invitation_uses (
    invitation TEXT NOT NULL,
    user TEXT NOT NULL,
    PRIMARY KEY (invitation, user)
) WITHOUT ROWID;
"""
# Whose account somebody's is whom an OpenID provider knows.
_SUBJECTS = """
CREATE TABLE oidc_subjects (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user TEXT NOT NULL,
    linked_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) WITHOUT ROWID;
CREATE INDEX oidc_subjects_by_user ON oidc_subjects (user);
"""
STEPS = (
    _ACCOUNTS_AND_INBOX,
    _CONTACTS,
    _FILES,
    _PROFILES_AND_LOGINS,
    _DISABLED,
    _UPLOADS,
    _LOGINS,
    _AUTHORS,
    _TIMELINES,
    _GROUPS,
    _CONSENT,
    _MUTES,
    _CODES,
    _SUBJECTS,
)
"""What makes each version of the one before it, oldest first."""
VERSION = len(STEPS)
