/**
 * How old messages of ours are, by the server's clock: what has been unsettled for too long is not sent again
 * (docs/protocol.md, T5).
 *
 * Owns what is known of that clock. Pure.
 */

import type { LoggedIn } from "../gen/sparrow_pb.js";
import type { Outgoing } from "../protocol/outbound.ts";

/** How long messages live where the server does not tell. */
const LIFE_MS = 30 * 86_400_000;
/** What `Date` can hold: a server that says more does not know its time. */
const MAX_TIME_MS = 8_640_000_000_000_000n;
export const TOO_OLD = "it could not be sent for so long that those it is for may have forgotten what came before it";

/** `now` is always in milliseconds of the core's own steady clock. */
export class Ages {
  #lifeMs = LIFE_MS;
  #serverMs = 0;
  #at = 0;

  /** The server has told its time. */
  loggedIn(frame: LoggedIn, now: number): void {
    this.#lifeMs = Number(frame.inboxTtlMs) || LIFE_MS;
    this.#serverMs = frame.serverTimeMs < MAX_TIME_MS ? Number(frame.serverTimeMs) : 0;
    this.#at = now;
  }

  /** The server's Unix time, in milliseconds; 0: not known. */
  serverMs(now: number): number {
    return this.#serverMs > 0 ? Math.trunc(this.#serverMs + now - this.#at) : 0;
  }

  /** Those it is for may know nothing of its first attempts any more. */
  isTooOld(outgoing: Outgoing, now: number): boolean {
    return outgoing.numberedMs > 0 && outgoing.numberedMs < this.serverMs(now) - this.#lifeMs;
  }
}
