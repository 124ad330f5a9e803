BEGIN TRANSACTION;
CREATE TABLE drafts (
    draft INTEGER PRIMARY KEY,
    dest TEXT NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    about BLOB
);
INSERT INTO "drafts" VALUES(4,'dave',1,X'6E6F74206E756D6265726564',NULL);
CREATE TABLE history (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    mine INTEGER NOT NULL,
    peer TEXT NOT NULL,
    device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    draft INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    stamp INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    late INTEGER NOT NULL,
    state INTEGER NOT NULL,
    note TEXT NOT NULL
);
INSERT INTO "history" VALUES(1,1,'bob','',-1,2,0,1,X'7365636F6E64',0,1764072000000,0,0,'');
CREATE TABLE inbound (
    from_id TEXT NOT NULL,
    from_device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    next INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    gaps TEXT NOT NULL,
    PRIMARY KEY (from_id, from_device, stream)
) WITHOUT ROWID;
INSERT INTO "inbound" VALUES('bob','b1',-2,7,5,'3 4');
CREATE TABLE marks (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    state INTEGER NOT NULL
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('device','a1');
INSERT INTO "meta" VALUES('session','24149');
INSERT INTO "meta" VALUES('session_open','0');
CREATE TABLE outbound (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    number INTEGER NOT NULL UNIQUE,
    dest TEXT NOT NULL,
    next_id INTEGER NOT NULL,
    retired INTEGER NOT NULL
);
INSERT INTO "outbound" VALUES(1,-1,'bob',4,0);
INSERT INTO "outbound" VALUES(2,5,'carol',1,1);
CREATE TABLE outgoing (
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    about BLOB,
    PRIMARY KEY (stream, id)
);
INSERT INTO "outgoing" VALUES(-1,2,1,X'7365636F6E64',NULL);
INSERT INTO "outgoing" VALUES(-1,3,3,X'',X'0A0262311103000000000000001A020102');
CREATE TABLE parked (
    from_id TEXT NOT NULL,
    from_device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (from_id, from_device, stream, id)
);
INSERT INTO "parked" VALUES('bob','b1',-2,9,X'09FEFFFFFFFFFFFFFF100918052203626F622A0262313205616C6963653801420E63616D6520746F6F206561726C79');
CREATE TABLE untaken (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    from_id TEXT NOT NULL,
    from_device TEXT NOT NULL,
    stream INTEGER NOT NULL,
    id INTEGER NOT NULL,
    late INTEGER NOT NULL,
    message BLOB NOT NULL,
    UNIQUE (from_id, from_device, stream, id)
);
INSERT INTO "untaken" VALUES(1,'bob','b1',-2,6,0,X'09FEFFFFFFFFFFFFFF100618052203626F622A0262313205616C6963653801421373686F776E20746F206E6F626F647920796574');
CREATE INDEX history_by_name ON history (stream, id);
CREATE INDEX marks_by_name ON marks (stream, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbound',2);
INSERT INTO "sqlite_sequence" VALUES('history',1);
INSERT INTO "sqlite_sequence" VALUES('untaken',1);
COMMIT;
PRAGMA application_id = 1397781111;
PRAGMA user_version = 1;
