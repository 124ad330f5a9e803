/**
 * Where a journal's entries lie: the form that the memory, the file and IndexedDB share.
 *
 * Owns that form alone. An entry is a small record under a key in one of a few stores; what it means, `records` says.
 */

/** Names of stores, which a later version may add to. */
export type Store =
  "meta" | "outbound" | "outgoing" | "drafts" | "inbound" | "parked" | "untaken" | "groups" | "changes";

export type Field = string | number | boolean | Uint8Array | readonly number[] | undefined;
/** Plain data: what both JSON (but for bytes) and the structured clone carry. */
export type Fields = Readonly<Record<string, Field>>;

/** `fields` undefined: forget it. */
export interface Entry {
  readonly store: Store;
  readonly key: string;
  readonly fields: Fields | undefined;
}

/** One device's entries. One client at a time may use it. */
export interface Backend {
  /** Whether it outlives the process, or the page. */
  readonly durable: boolean;
  /** Everything that is kept. Throws `ConfigError` for what cannot be read, `StateError` for what is not there. */
  load(): Promise<Entry[]>;
  /**
   * Keep these changes together: all of them or none, on the disk when it returns. Of one key the last counts.
   * Throws `StateError`; then nothing of it is kept, and the client has to end.
   */
  commit(entries: readonly Entry[]): Promise<void>;
  /**
   * The device's key pair: what was kept, or what `make` makes, which is kept when it returns; undefined if this place
   * takes no keys. Missing where nothing can be kept that cannot be read out. Throws `StateError`.
   */
  keyPair?(make: () => Promise<CryptoKeyPair>): Promise<CryptoKeyPair | undefined>;
  /** Let go of it. */
  close(): Promise<void>;
}

/** Keeps as long as the object lives. */
export class MemoryBackend implements Backend {
  readonly durable = false;
  readonly #stores = new Map<string, Entry>();

  load(): Promise<Entry[]> {
    return Promise.resolve([...this.#stores.values()]);
  }

  commit(entries: readonly Entry[]): Promise<void> {
    for (const entry of entries) {
      const place = `${entry.store} ${entry.key}`;
      if (entry.fields === undefined) {
        this.#stores.delete(place);
      } else {
        this.#stores.set(place, entry);
      }
    }
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
