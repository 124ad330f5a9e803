/**
 * A journal in IndexedDB, for browsers: durable when a commit returns, as far as a browser promises that, and one tab
 * at a time.
 *
 * Owns the database: its schema, and the epoch that every transaction checks. A tab that was frozen, and has been
 * replaced meanwhile, can so keep nothing more, and gives no id. Who may open it is `leader`'s business.
 */

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import { StateError, type StateTrouble } from "../errors.ts";
import type { Backend, Entry, Fields, Store } from "./backend.ts";

interface Schema extends DBSchema {
  entries: { key: [string, string]; value: Fields };
  epoch: { key: number; value: number };
}

const VERSION = 1;
const EPOCH = 0;

const TEXTS: Readonly<Record<StateTrouble, string>> = {
  unavailable: "the browser keeps nothing for this page: a private window, or storage is switched off",
  evicted: "the browser has removed what this page had kept: log in again, as a new device",
  full: "there is no room left for this page: free some, then load it again",
  taken_over: "another tab of this browser has gone on in this one's place",
  failed: "the browser cannot keep this now: load the page again",
};

/** Entries in a database of the page's origin. */
export class IndexedDbBackend implements Backend {
  readonly durable = true;
  readonly #database: IDBPDatabase<Schema>;
  readonly #epoch: number;
  #trouble: StateTrouble | undefined;

  private constructor(database: IDBPDatabase<Schema>, epoch: number) {
    this.#database = database;
    this.#epoch = epoch;
  }

  /**
   * Open a database, and be the only one that writes there from now on: whoever had opened it before cannot.
   *
   * `name`: one for each device. Throws `StateError`; its `trouble` says which.
   */
  static async open(name: string): Promise<IndexedDbBackend> {
    // Told too late to be a parameter of what follows.
    const self: { backend?: IndexedDbBackend } = {};
    try {
      const database = await openDB<Schema>(name, VERSION, {
        upgrade(fresh) {
          fresh.createObjectStore("entries");
          fresh.createObjectStore("epoch");
        },
        blocking(_current, next, event) {
          // Of a later version of this package, or the whole of it is being deleted.
          (event.target as IDBDatabase).close();
          self.backend?.ends(next === null ? "evicted" : "taken_over");
        },
        terminated() {
          self.backend?.ends("evicted");
        },
      });
      const transaction = database.transaction("epoch", "readwrite", { durability: "strict" });
      const epoch = ((await transaction.store.get(EPOCH)) ?? 0) + 1;
      await transaction.store.put(epoch, EPOCH);
      await transaction.done;
      self.backend = new IndexedDbBackend(database, epoch);
      return self.backend;
    } catch (error) {
      throw stateError(error, "unavailable");
    }
  }

  /** Nothing more is kept here. */
  ends(trouble: StateTrouble): void {
    this.#trouble ??= trouble;
  }

  async load(): Promise<Entry[]> {
    try {
      const transaction = this.#database.transaction(["entries", "epoch"], "readonly");
      const entries = transaction.objectStore("entries");
      const [keys, values, epoch] = await Promise.all([
        entries.getAllKeys(),
        entries.getAll(),
        transaction.objectStore("epoch").get(EPOCH),
      ]);
      this.#check(epoch);
      return keys.map(([store, key], at) => ({ store: store as Store, key, fields: values[at] }));
    } catch (error) {
      throw this.#error(error);
    }
  }

  async commit(changes: readonly Entry[]): Promise<void> {
    try {
      const transaction = this.#database.transaction(["entries", "epoch"], "readwrite", { durability: "strict" });
      try {
        this.#check(await transaction.objectStore("epoch").get(EPOCH));
        const entries = transaction.objectStore("entries");
        const last = new Map(changes.map((change) => [`${change.store} ${change.key}`, change]));
        const writes = [...last.values()].map(({ store, key, fields }) =>
          fields === undefined ? entries.delete([store, key]) : entries.put(fields, [store, key]),
        );
        await Promise.all([...writes, transaction.done]);
      } catch (error) {
        transaction.done.catch(() => undefined); // it tells the same once more
        abort(transaction);
        throw error;
      }
    } catch (error) {
      throw this.#error(error);
    }
  }

  #check(epoch: number | undefined): void {
    if (epoch !== this.#epoch) {
      this.ends(epoch === undefined ? "evicted" : "taken_over");
      throw new StateError(TEXTS[this.#trouble ?? "taken_over"], this.#trouble);
    }
  }

  #error(error: unknown): StateError {
    return this.#trouble === undefined
      ? stateError(error, "failed")
      : new StateError(TEXTS[this.#trouble], this.#trouble, { cause: error });
  }

  close(): Promise<void> {
    this.#database.close();
    return Promise.resolve();
  }
}

/** Ask the browser not to remove what this page keeps when room is short; whether it will not. */
export async function persist(): Promise<boolean> {
  // Missing where the page is not of a secure origin.
  const { storage } = globalThis.navigator as Partial<Navigator>;
  return (await storage?.persist()) ?? false;
}

function abort(transaction: { abort(): void }): void {
  try {
    transaction.abort();
  } catch {
    // it has ended by itself
  }
}

function stateError(error: unknown, otherwise: StateTrouble): StateError {
  if (error instanceof StateError) {
    return error;
  }
  const trouble = error instanceof DOMException && error.name === "QuotaExceededError" ? "full" : otherwise;
  return new StateError(TEXTS[trouble], trouble, { cause: error });
}
