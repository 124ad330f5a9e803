/**
 * Lines that this browser keeps: what came, until the server's page of its conversation has it, and all where the
 * service keeps no conversations.
 *
 * Owns a database of its own, beside the client's. The tab that is the device writes it; what is here is never sent.
 */

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import { further, type Line, merged, type Progress } from "./line.ts";

interface Schema extends DBSchema {
  /** By conversation, place, and name. */
  lines: { key: [string, string, string]; value: Line; indexes: { name: string } };
  /** Up to which stamp a conversation was read. */
  marks: { key: string; value: bigint };
}

const VERSION = 1;
/** Of a conversation that the server keeps, so many are kept here, to be shown when it is away. */
const KEPT_OF_CONVERSATION = 200;
/** Behind every key that begins so. */
const LAST = "￿";

type Key = Schema["lines"]["key"];

/** A stamp as a key: texts of one length are in the order of numbers. */
function placeOf(stamp: bigint): string {
  return stamp.toString(16).padStart(16, "0");
}

function keyOf(line: Line): Key {
  return [line.peer, placeOf(line.stamp), line.name];
}

export class LineStore {
  readonly #database: IDBPDatabase<Schema>;

  private constructor(database: IDBPDatabase<Schema>) {
    this.#database = database;
  }

  static async open(name: string): Promise<LineStore> {
    const database = await openDB<Schema>(name, VERSION, {
      upgrade(fresh) {
        fresh.createObjectStore("lines").createIndex("name", "name");
        fresh.createObjectStore("marks");
      },
      blocking(_current, _next, event) {
        (event.target as IDBDatabase).close();
      },
    });
    return new LineStore(database);
  }

  /** Keep lines; what is known of them is put together. Those without a name are the client's. */
  async put(lines: readonly Line[]): Promise<void> {
    const transaction = this.#database.transaction("lines", "readwrite");
    const { store } = transaction;
    for (const line of lines) {
      if (line.name === "" || line.stamp === 0n) {
        continue;
      }
      const old = await store.index("name").getKey(line.name);
      const known = old && (await store.get(old));
      const kept = known === undefined ? line : merged(known, line);
      if (old !== undefined && old[1] !== placeOf(kept.stamp)) {
        await store.delete(old);
      }
      await store.put({ ...kept, draft: "" }, keyOf(kept));
    }
    await transaction.done;
  }

  /** Change what is kept by this name; nothing, if it is not here. */
  async change(name: string, change: (line: Line) => Line): Promise<Line | undefined> {
    const transaction = this.#database.transaction("lines", "readwrite");
    const key = await transaction.store.index("name").getKey(name);
    const known = key && (await transaction.store.get(key));
    const changed = known && change(known);
    if (key !== undefined && changed !== undefined) {
      await transaction.store.put(changed, key);
    }
    await transaction.done;
    return changed;
  }

  /** A message of ours has come so far. */
  progress(name: string, progress: Progress): Promise<Line | undefined> {
    return this.change(name, (line) => ({ ...line, progress: further(line.progress, progress) }));
  }

  async remove(lines: readonly Line[]): Promise<void> {
    const transaction = this.#database.transaction("lines", "readwrite");
    await Promise.all(lines.map((line) => transaction.store.delete(keyOf(line))));
    await transaction.done;
  }

  /** Lines of a conversation, newest first: from the stamp `from` on, below `before` (0: all). */
  async range(peer: string, from: bigint, before: bigint, limit = Number.POSITIVE_INFINITY): Promise<Line[]> {
    const upper = before === 0n ? LAST : placeOf(before);
    const range = IDBKeyRange.bound([peer, placeOf(from)], [peer, upper], false, true);
    const found: Line[] = [];
    let cursor = await this.#database.transaction("lines").store.openCursor(range, "prev");
    while (cursor !== null && found.length < limit) {
      found.push(cursor.value);
      cursor = await cursor.continue();
    }
    return found;
  }

  /** All conversations that have lines here, with their newest. */
  async newest(): Promise<Line[]> {
    const found: Line[] = [];
    const { store } = this.#database.transaction("lines");
    let cursor = await store.openCursor(null, "prev");
    while (cursor !== null) {
      const { peer } = cursor.value;
      found.push(cursor.value);
      cursor = await store.openCursor(IDBKeyRange.upperBound([peer], true), "prev");
    }
    return found;
  }

  /** Forget all of a conversation but its newest lines. */
  async prune(peer: string): Promise<void> {
    const lines = await this.range(peer, 0n, 0n);
    await this.remove(lines.slice(KEPT_OF_CONVERSATION));
  }

  async mark(peer: string): Promise<bigint> {
    return (await this.#database.get("marks", peer)) ?? 0n;
  }

  async putMark(peer: string, stamp: bigint): Promise<void> {
    const transaction = this.#database.transaction("marks", "readwrite");
    if (stamp > ((await transaction.store.get(peer)) ?? 0n)) {
      await transaction.store.put(stamp, peer);
    }
    await transaction.done;
  }

  close(): void {
    this.#database.close();
  }
}
