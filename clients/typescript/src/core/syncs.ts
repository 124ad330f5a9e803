/**
 * When to ask for a Sync, and of what: of everything, or of one group where only its streams miss something.
 *
 * Owns the one Sync that is open (docs/protocol.md, R9). Shows nothing: what an answer means is each stream's.
 */

import type { Message } from "../gen/sparrow_pb.js";
import type { InboundStream } from "../protocol/inbound.ts";
import type { ClientSession } from "../protocol/session.ts";
import { splitKey, type StreamKey } from "./streams.ts";

/** The server answers a Sync of one group no oftener. */
export const GROUP_EVERY_MS = 1_000;

export type Blocked = ReadonlyMap<StreamKey, InboundStream<Message>>;

/** Of one device, over all its connections. `now` is in milliseconds of the core's steady clock. */
export class Syncs {
  readonly #timeoutMs: number;
  #last = 0;
  #open = 0;
  #at = Number.NEGATIVE_INFINITY;
  #groupAt = Number.NEGATIVE_INFINITY;

  /** `timeoutMs`: an answer that takes longer is asked for again. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** What was asked is not answered. */
  disconnected(): void {
    this.#open = 0;
  }

  /** All that were asked up to `n` are answered. */
  synced(n: number): void {
    if (n >= this.#open) {
      this.#open = 0;
    }
  }

  /** Ask, if there is something to ask and nothing open. */
  ask(blocked: Blocked, session: ClientSession, orderWaitMs: number, now: number): void {
    if (this.#open > 0 && now - this.#at < this.#timeoutMs) {
      return;
    }
    const wanting = [...blocked].filter(([, stream]) => stream.wantsSync(orderWaitMs));
    // What was asked and not answered for so long is asked again; the first answer to either will do.
    const again = this.#open > 0 ? [...blocked].filter(([, stream]) => stream.syncing) : [];
    const groups = new Set([...wanting, ...again].map(([key]) => splitKey(key).group));
    if (groups.size === 0) {
      this.#open = 0;
      return;
    }
    const [first = ""] = [...groups].sort();
    const group = groups.has("") || (again.length > 0 && groups.size > 1) ? "" : first;
    if (group !== "") {
      if (now - this.#groupAt < GROUP_EVERY_MS) {
        return;
      }
      this.#groupAt = now;
    }
    this.#last++;
    this.#open = this.#last;
    this.#at = now;
    for (const [key, stream] of wanting) {
      if (group === "" || splitKey(key).group === group) {
        stream.asked(this.#last, orderWaitMs);
      }
    }
    session.sync(this.#last, group);
  }
}
