/**
 * How far groups were read: kept until the server knows it, and told at most once a second.
 *
 * Owns when it is told. In a group READ is no message (docs/protocol.md, M12): marks go over HTTP.
 */

import type { Conversations } from "./api/conversations.ts";
import { sleep } from "./api/signed.ts";
import type { Engine } from "./engine.ts";
import { MisuseError, SparrowError } from "./errors.ts";
import type { DeviceJournal } from "./journal/journal.ts";

/** What is read within so long is told together. */
const GATHER_MS = 1_000;

/** Of one client. */
export class GroupMarks {
  readonly #engine: Engine;
  readonly #api: Conversations;
  readonly #journal: DeviceJournal;
  readonly #untold: Map<string, bigint>;
  #telling = false;
  #closed = false;

  constructor(engine: Engine, api: Conversations, journal: DeviceJournal) {
    this.#engine = engine;
    this.#api = api;
    this.#journal = journal;
    this.#untold = journal.marks();
  }

  /** Tell nothing any more; the journal has what was not told. */
  close(): void {
    this.#closed = true;
  }

  /** All up to this stamp is read. */
  read(group: string, stamp: bigint): void {
    if (stamp > (this.#untold.get(group) ?? 0n)) {
      this.#untold.set(group, stamp);
      this.#journal.putMark(group, stamp);
    }
    this.tell();
  }

  /** Tell what is not told yet, in a moment. */
  tell(): void {
    if (this.#untold.size > 0 && !this.#telling && !this.#closed) {
      this.#telling = true;
      void this.#tell().finally(() => {
        this.#telling = false;
      });
    }
  }

  async #tell(): Promise<void> {
    while (this.#untold.size > 0) {
      await sleep(GATHER_MS);
      for (const [group, stamp] of [...this.#untold]) {
        if (this.#closed || !(await this.#isTold(group, stamp))) {
          return; // with the next login
        }
        if (this.#untold.get(group) === stamp) {
          this.#untold.delete(group);
          this.#journal.putMark(group, 0n);
          this.#engine.changed();
        }
      }
    }
  }

  async #isTold(group: string, stamp: bigint): Promise<boolean> {
    try {
      await this.#api.mark(group, stamp);
      return true;
    } catch (error) {
      if (error instanceof MisuseError) {
        return true; // not ours any more, or no conversations are kept
      }
      if (error instanceof SparrowError) {
        return false;
      }
      throw error;
    }
  }
}
