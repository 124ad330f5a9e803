/**
 * When a connection is pinged, and when it counts as broken; and the timer of a client.
 *
 * Owns when something was heard and said last. Reads no clock: times are in milliseconds of a steady one.
 */

import type { Timing } from "./options.ts";
import type { Timers } from "./timers.ts";

/** Of one client, over all its connections. */
export class Watch {
  /** When something came last. */
  heard = 0;
  /** When something went out last. */
  said = 0;
  readonly #timing: Timing;
  #pinged = Number.NEGATIVE_INFINITY;

  constructor(timing: Timing) {
    this.#timing = timing;
  }

  /** There is another connection. */
  begin(now: number): void {
    this.heard = this.said = now;
  }

  /** Whether nothing has come for too long. */
  isSilent(loggedIn: boolean, now: number): boolean {
    const limit = this.#limit(loggedIn);
    return limit !== undefined && limit <= now;
  }

  /** Whether a ping is due; then it is taken to be sent. */
  wantsPing(loggedIn: boolean, heartbeatMs: number, now: number): boolean {
    const due = loggedIn && this.#pingAt(heartbeatMs) <= now;
    if (due) {
      this.#pinged = now;
    }
    return due;
  }

  /** When to look again. */
  next(loggedIn: boolean, heartbeatMs: number): number {
    return this.#limit(loggedIn) ?? this.#pingAt(heartbeatMs);
  }

  /** By when something must have come; undefined: nothing is waited for. */
  #limit(loggedIn: boolean): number | undefined {
    if (!loggedIn) {
      return this.heard + this.#timing.loginTimeoutMs;
    }
    return this.#pinged > this.heard ? this.#pinged + this.#timing.pongTimeoutMs : undefined;
  }

  /** After a third of a heartbeat in which nothing was said, or nothing heard. */
  #pingAt(heartbeatMs: number): number {
    return Math.max(Math.min(this.heard, this.said), this.#pinged) + Math.max(heartbeatMs, 100) / 3;
  }
}

/** One timer, for the first of what is due. */
export class Alarm {
  readonly #timers: Timers;
  readonly #ring: () => void;
  #at = Number.POSITIVE_INFINITY;
  #stop: (() => void) | undefined;

  constructor(timers: Timers, ring: () => void) {
    this.#timers = timers;
    this.#ring = ring;
  }

  /** Ring at the first of these; one that is set for an earlier time stays. */
  set(dues: readonly number[], now: number): void {
    const at = Math.min(...dues);
    if (this.#stop !== undefined && this.#at <= at) {
      return;
    }
    this.stop();
    if (at < Number.POSITIVE_INFINITY) {
      this.#at = at;
      this.#stop = this.#timers.start(
        () => {
          this.#stop = undefined;
          this.#ring();
        },
        Math.max(0, at - now),
      );
    }
  }

  /** Do not ring. */
  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }
}
