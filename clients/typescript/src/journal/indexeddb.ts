/**
 * A journal in IndexedDB, for browsers: durable when a commit returns, as far as a browser promises that, and one tab
 * at a time.
 *
 * Owns the database: its schema, and the epoch that every transaction checks. The key that logins are bound to lies here
 * as the browser's own object, which cannot be read out. A tab that was frozen, and has been
 * replaced meanwhile, can so keep nothing more, and gives no id. Who may open it is `leader`'s business.
 */

import { type DBSchema, type IDBPDatabase, type IDBPTransaction, openDB } from "idb";

import { StateError, type StateTrouble } from "../errors.ts";
import type { Backend, Entry, Fields, Store } from "./backend.ts";

interface Schema extends DBSchema {
  entries: { key: [string, string]; value: Fields };
  epoch: { key: number; value: number };
  keys: { key: number; value: CryptoKeyPair };
}

const VERSION = 2;
const EPOCH = 0;
const LOGIN = 0;
const STORES: ("entries" | "epoch" | "keys")[] = ["entries", "epoch", "keys"];
type Transaction = IDBPTransaction<Schema, typeof STORES, "readwrite">;

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
        upgrade(found, version) {
          if (version < 1) {
            found.createObjectStore("entries");
            found.createObjectStore("epoch");
          }
          found.createObjectStore("keys");
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
    const last = new Map(changes.map((change) => [`${change.store} ${change.key}`, change]));
    try {
      await this.#change((transaction) => {
        const entries = transaction.objectStore("entries");
        return [...last.values()].map(({ store, key, fields }) =>
          fields === undefined ? entries.delete([store, key]) : entries.put(fields, [store, key]),
        );
      });
    } catch (error) {
      throw this.#error(error);
    }
  }

  async keyPair(make: () => Promise<CryptoKeyPair>): Promise<CryptoKeyPair | undefined> {
    let kept: CryptoKeyPair | undefined;
    try {
      kept = await this.#database.get("keys", LOGIN);
    } catch (error) {
      throw this.#error(error);
    }
    return kept ?? this.#keepKeyPair(await make());
  }

  async #keepKeyPair(made: CryptoKeyPair): Promise<CryptoKeyPair | undefined> {
    try {
      await this.#change((transaction) => [transaction.objectStore("keys").put(made, LOGIN)]);
      return made;
    } catch (error) {
      if (error instanceof DOMException && error.name === "DataCloneError") {
        return undefined; // this browser's databases take no keys, or those of a private window do not
      }
      throw this.#error(error);
    }
  }

  /** All of these writes or none, if nobody else has gone on in this place. */
  async #change(write: (transaction: Transaction) => readonly Promise<unknown>[]): Promise<void> {
    const transaction = this.#database.transaction(STORES, "readwrite", { durability: "strict" });
    try {
      this.#check(await transaction.objectStore("epoch").get(EPOCH));
      await Promise.all([...write(transaction), transaction.done]);
    } catch (error) {
      transaction.done.catch(() => undefined); // it tells the same once more
      abort(transaction);
      throw error;
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
