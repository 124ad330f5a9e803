/**
 * A journal in a file, for Node: SQLite, on the disk when a commit returns, and one process at a time.
 *
 * Owns the file: its schema, its lock, and the texts for one that cannot be used. Not for browsers.
 */

import { DatabaseSync, type StatementSync } from "node:sqlite";

import { ConfigError, StateError } from "../errors.ts";
import type { Backend, Entry, Field, Fields, Store } from "./backend.ts";

/** Marks the file as ours ("SPts"). The Python client's files are others. */
const APPLICATION_ID = 0x53507473;
const SCHEMA_VERSION = 1;
/** A process that has just been killed may take a moment to let go of the file. */
const LOCK_TIMEOUT_MS = 500;
/** SQLite's code. */
const FULL = 13;
const NAME_ANOTHER = "name another state file; this one can be removed if nothing in it is missed";

/** Entries in a SQLite file. */
export class FileBackend implements Backend {
  readonly durable = true;
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #put: StatementSync;
  readonly #drop: StatementSync;

  /** Throws `ConfigError` for a file that is in use, damaged, of a newer version or of another program. */
  constructor(path: string) {
    this.#path = path;
    this.#database = this.#open();
    try {
      this.#prepare();
      this.#put = this.#database.prepare("INSERT OR REPLACE INTO entries (store, key, fields) VALUES (?, ?, ?)");
      this.#drop = this.#database.prepare("DELETE FROM entries WHERE store = ? AND key = ?");
    } catch (error) {
      this.#database.close();
      throw error instanceof ConfigError ? error : this.#unusable(error);
    }
  }

  #open(): DatabaseSync {
    try {
      return new DatabaseSync(this.#path, { timeout: LOCK_TIMEOUT_MS });
    } catch (error) {
      throw this.#unusable(error);
    }
  }

  #prepare(): void {
    const database = this.#database;
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    database.exec("BEGIN IMMEDIATE"); // takes the lock, and keeps it
    const application = this.#number("application_id");
    const version = this.#number("user_version");
    const tables = database.prepare("SELECT count(*) AS n FROM sqlite_schema").get()?.["n"];
    if (application === 0 && tables === 0) {
      database.exec(
        "CREATE TABLE entries (store TEXT NOT NULL, key TEXT NOT NULL, fields BLOB NOT NULL, " +
          "PRIMARY KEY (store, key)) WITHOUT ROWID",
      );
      database.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
      database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    } else if (application !== APPLICATION_ID) {
      throw new ConfigError(`${this.#path} is no state file of this package: ${NAME_ANOTHER}`);
    } else if (version > SCHEMA_VERSION) {
      throw new ConfigError(`state file ${this.#path} is of a newer version of this package: use that one`);
    }
    database.exec("COMMIT");
  }

  #number(pragma: string): number {
    return Number(this.#database.prepare(`PRAGMA ${pragma}`).get()?.[pragma]);
  }

  #unusable(error: unknown): ConfigError {
    const why = error instanceof Error ? error.message : String(error);
    const text = why.includes("locked")
      ? `state file ${this.#path} is in use by another client: one at a time`
      : `state file ${this.#path} cannot be used (${why}): ${NAME_ANOTHER}`;
    return new ConfigError(text, { cause: error });
  }

  load(): Promise<Entry[]> {
    try {
      const rows = this.#database.prepare("SELECT store, key, fields FROM entries").all();
      return Promise.resolve(
        rows.map((row) => ({
          store: String(row["store"]) as Store,
          key: String(row["key"]),
          fields: decoded(row["fields"] as Uint8Array),
        })),
      );
    } catch (error) {
      return Promise.reject(this.#unusable(error));
    }
  }

  commit(entries: readonly Entry[]): Promise<void> {
    const database = this.#database;
    try {
      database.exec("BEGIN IMMEDIATE");
      for (const { store, key, fields } of entries) {
        if (fields === undefined) {
          this.#drop.run(store, key);
        } else {
          this.#put.run(store, key, encoded(fields));
        }
      }
      database.exec("COMMIT");
      return Promise.resolve();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const trouble = error instanceof Error && "errcode" in error && error.errcode === FULL ? "full" : "failed";
      if (database.isTransaction) {
        try {
          database.exec("ROLLBACK");
        } catch {
          // closing does it
        }
      }
      const text = `state file ${this.#path} cannot be written: ${why}`;
      return Promise.reject(new StateError(text, trouble, { cause: error }));
    }
  }

  close(): Promise<void> {
    if (this.#database.isOpen) {
      this.#database.close();
    }
    return Promise.resolve();
  }
}

// JSON, and behind it the bytes that the fields are about: most of an entry is one body, which is not to be inflated.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

function encoded(fields: Fields): Uint8Array {
  const bytes: Uint8Array[] = [];
  const plain: Record<string, Field | { readonly bytes: number }> = {};
  for (const [name, field] of Object.entries(fields)) {
    plain[name] = field instanceof Uint8Array ? { bytes: bytes.push(field) && field.length } : field;
  }
  const head = encoder.encode(JSON.stringify(plain));
  const out = new Uint8Array(4 + head.length + bytes.reduce((sum, each) => sum + each.length, 0));
  new DataView(out.buffer).setUint32(0, head.length);
  out.set(head, 4);
  let at = 4 + head.length;
  for (const each of bytes) {
    out.set(each, at);
    at += each.length;
  }
  return out;
}

function decoded(data: Uint8Array): Fields {
  const size = new DataView(data.buffer, data.byteOffset).getUint32(0);
  const plain = JSON.parse(decoder.decode(data.subarray(4, 4 + size))) as Record<string, unknown>;
  const fields: Record<string, Field> = {};
  let at = 4 + size;
  for (const [name, value] of Object.entries(plain)) {
    if (typeof value === "object" && value !== null && "bytes" in value) {
      const length = Number(value.bytes);
      if (at + length > data.length) {
        throw new TypeError(`${name} is cut off`);
      }
      fields[name] = data.slice(at, at + length);
      at += length;
    } else {
      fields[name] = value as Field;
    }
  }
  return fields;
}
