/**
 * Messages of groups that wait for the group's changes: change *v* is shown before the first message of version *v* or
 * later (docs/protocol.md, M8).
 *
 * Owns which wait, and for how long. Keeps nothing itself and fetches nothing.
 */

import type { Message } from "../gen/sparrow_pb.js";
import type { Shown } from "../protocol/inbound.ts";
import { messageName } from "./streams.ts";

/** Changes that cannot be had for so long are shown behind the messages. */
export const HOLD_MS = 10_000;

/** Of all groups, each one's in the order in which they came. `now` is in milliseconds of the core's steady clock. */
export class Held {
  /** Changes up to here are shown. */
  readonly #shown = new Map<string, bigint>();
  /** Messages up to this version were shown without. */
  readonly #givenUp = new Map<string, bigint>();
  readonly #waiting = new Map<string, Shown<Message>[]>();
  readonly #since = new Map<string, number>();

  /** Put back what was shown. */
  restore(versions: ReadonlyMap<string, bigint>): void {
    for (const [group, version] of versions) {
      this.#shown.set(group, version);
    }
  }

  /** What waits by now does so from here on. */
  begin(now: number): void {
    for (const group of this.#waiting.keys()) {
      this.#since.set(group, now);
    }
  }

  /** Up to which version this group's changes are shown; 0: nothing is known of it. */
  version(group: string): bigint {
    return this.#shown.get(group) ?? 0n;
  }

  /** Groups that have something, and up to which version their changes are wanted. */
  waiting(): Map<string, bigint> {
    return new Map([...this.#waiting].map(([group, queue]) => [group, highest(queue)]));
  }

  /** Whether a message is to wait: for the changes, or behind another one that does. */
  mustWait(group: string, version: bigint): boolean {
    return this.#waiting.has(group) || (version > this.version(group) && version > (this.#givenUp.get(group) ?? 0n));
  }

  /** It waits; whether more changes are wanted than before. */
  put(group: string, message: Shown<Message>, now: number): boolean {
    let queue = this.#waiting.get(group);
    if (queue === undefined) {
      queue = [];
      this.#waiting.set(group, queue);
      this.#since.set(group, now);
    }
    const isNews = queue.every((each) => each.item.version < message.item.version);
    queue.push(message);
    return isNews;
  }

  /** It was erased, and does not wait any more; whether it did. */
  drop(message: Message): boolean {
    const queue = this.#waiting.get(message.destId) ?? [];
    const name = messageName(message);
    const left = queue.filter((one) => messageName(one.item) !== name);
    if (left.length === queue.length) {
      return false;
    }
    this.#keep(message.destId, left);
    return true;
  }

  /** The changes up to `version` are shown; returns what may be shown behind them. */
  at(group: string, version: bigint): Shown<Message>[] {
    const shown = version > this.version(group) ? version : this.version(group);
    this.#shown.set(group, shown);
    const queue = this.#waiting.get(group);
    if (queue === undefined) {
      return [];
    }
    const first = queue.findIndex((each) => each.item.version > shown);
    const free = first < 0 ? queue : queue.slice(0, first);
    this.#keep(group, first < 0 ? [] : queue.slice(first));
    return free;
  }

  /** Nothing more is told of this group; returns what may be shown. */
  left(group: string): Shown<Message>[] {
    const free = this.#waiting.get(group) ?? [];
    for (const each of [this.#shown, this.#givenUp, this.#since, this.#waiting]) {
      each.delete(group);
    }
    return free;
  }

  #keep(group: string, queue: Shown<Message>[]): void {
    if (queue.length > 0) {
      this.#waiting.set(group, queue);
    } else {
      this.#waiting.delete(group);
      this.#since.delete(group);
    }
  }

  /** What has waited for too long. */
  overdue(now: number): Shown<Message>[] {
    const free: Shown<Message>[] = [];
    for (const [group, since] of [...this.#since]) {
      if (now - since >= HOLD_MS) {
        const queue = this.#waiting.get(group) ?? [];
        this.#keep(group, []);
        this.#givenUp.set(group, highest(queue));
        free.push(...queue);
      }
    }
    return free;
  }

  /** When `overdue` will have something; undefined: never. */
  nextDue(): number | undefined {
    return this.#since.size > 0 ? Math.min(...this.#since.values()) + HOLD_MS : undefined;
  }
}

function highest(queue: readonly Shown<Message>[]): bigint {
  return queue.reduce((most, each) => (each.item.version > most ? each.item.version : most), 0n);
}
