/**
 * Signals: what matters only now, such as that somebody is typing (docs/protocol.md, "Signals").
 *
 * Owns how often TYPING is told, and for how long it is believed. Keeps nothing, and reads no clock: times are in
 * milliseconds of a steady one, such as `performance.now()`.
 */

import type { ClientEvents } from "./events.ts";
import { Signal_Kind } from "./gen/sparrow_pb.js";
import { FIRST_OWN_KIND, MAX_KIND } from "./protocol/ids.ts";

/** TYPING is told no more often, to one user or group. */
export const TYPING_EVERY_MS = 3_000;
/** Nobody is typing who has not said so for this long. */
export const TYPING_FOR_MS = 6_000;
/** Of whom it is remembered that they are typing: who makes up names fills no memory. */
const MAX_TYPISTS = 200;

/** Whether servers of this release hand on signals of this kind. */
export function carriesSignal(kind: number): boolean {
  const isOwn = Number.isInteger(kind) && kind >= FIRST_OWN_KIND && kind <= MAX_KIND;
  return kind === Signal_Kind.TYPING || kind === Signal_Kind.STOPPED_TYPING || isOwn;
}

interface Typist {
  readonly peer: string;
  readonly user: string;
  readonly until: number;
}

/** Who is typing where, as their signals tell. Give it each `signal`, and tell it of each message that comes. */
export class Typists {
  readonly #typists = new Map<string, Typist>();

  get size(): number {
    return this.#typists.size;
  }

  /** Take a signal in; whether that changes who is typing. */
  noticed(signal: ClientEvents["signal"], now: number): boolean {
    const { peer, sender: user, kind } = signal;
    if (kind === Signal_Kind.STOPPED_TYPING) {
      return this.stopped(peer, user);
    }
    if (kind !== Signal_Kind.TYPING) {
      return false;
    }
    const key = keyOf(peer, user);
    const isKnown = (this.#typists.get(key)?.until ?? 0) > now;
    this.#typists.delete(key);
    this.#typists.set(key, { peer, user, until: now + TYPING_FOR_MS });
    if (this.#typists.size > MAX_TYPISTS) {
      for (const first of this.#typists.keys()) {
        this.#typists.delete(first);
        break;
      }
    }
    return !isKnown;
  }

  /** Somebody is not typing any more, since a message of theirs has come; whether they were. */
  stopped(peer: string, user: string): boolean {
    return this.#typists.delete(keyOf(peer, user));
  }

  /** Who is typing in this conversation, who said so last behind. */
  typing(peer: string, now: number): string[] {
    return [...this.#typists.values()].filter((each) => each.peer === peer && each.until > now).map(({ user }) => user);
  }

  /** Conversations in which somebody was typing lately. */
  peers(): string[] {
    return [...new Set([...this.#typists.values()].map(({ peer }) => peer))];
  }

  /** Forget who has said nothing for long; whether there was anybody. */
  expire(now: number): boolean {
    const before = this.#typists.size;
    for (const [key, { until }] of this.#typists) {
      if (until <= now) {
        this.#typists.delete(key);
      }
    }
    return this.#typists.size < before;
  }
}

function keyOf(peer: string, user: string): string {
  return `${peer} ${user}`;
}

/** To whom we have said that we are typing, and when. */
export class Typing {
  readonly #told = new Map<string, number>();

  /** Whether it is to be said (again). */
  isDue(dest: string, now: number): boolean {
    return now - (this.#told.get(dest) ?? Number.NEGATIVE_INFINITY) >= TYPING_EVERY_MS;
  }

  /** It was said. */
  told(dest: string, now: number): void {
    for (const [each, at] of this.#told) {
      if (now - at >= TYPING_FOR_MS) {
        this.#told.delete(each);
      }
    }
    this.#told.set(dest, now);
  }

  /** A message goes out, which says that it is over. */
  wrote(dest: string): void {
    this.#told.delete(dest);
  }

  /** It is over; whether anybody still believes it. */
  ended(dest: string, now: number): boolean {
    const at = this.#told.get(dest) ?? Number.NEGATIVE_INFINITY;
    this.#told.delete(dest);
    return now - at < TYPING_FOR_MS;
  }
}
