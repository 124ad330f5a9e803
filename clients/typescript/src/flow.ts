/**
 * What waits inside a client: senders for room, and messages for the application.
 *
 * Owns both queues and their bounds. Knows no connection.
 */

import type { MessageName } from "./core/streams.ts";
import type { SparrowError } from "./errors.ts";
import type { Message } from "./messages.ts";

/** Lets so many in, in the order in which they came. More may be in from the start. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  #error: SparrowError | undefined;

  constructor(places: number, taken: number) {
    this.#free = places - taken;
  }

  /** Take a place, as soon as there is one. Throws the error that the gate was closed with. */
  async enter(): Promise<void> {
    if (this.#error === undefined && this.#free > 0 && this.#waiting.length === 0) {
      this.#free--;
      return;
    }
    if (this.#error === undefined) {
      await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    }
    if (this.#error !== undefined) {
      throw this.#error;
    }
  }

  /** Give a place back. */
  leave(): void {
    const next = this.#free >= 0 ? this.#waiting.shift() : undefined;
    if (next === undefined) {
      this.#free++;
    } else {
      next();
    }
  }

  /** Let nobody in any more. */
  close(error: SparrowError): void {
    this.#error = error;
    for (const waiter of this.#waiting.splice(0)) {
      waiter();
    }
  }
}

/** Messages that the application has not asked for yet, and those it has and may still be working on. */
export class Arrivals {
  /** Given out, and not known to be used. */
  readonly given = new Map<MessageName, Message>();
  /** More waits than should; until it is half empty again. */
  full = false;
  readonly #limit: number;
  readonly #messages: Message[] = [];
  readonly #waiting: (() => void)[] = [];
  #ended = false;
  #error: SparrowError | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#messages.length;
  }

  put(message: Message): void {
    this.#messages.push(message);
    if (this.#messages.length >= this.#limit) {
      this.full = true;
    }
    this.#waiting.shift()?.();
  }

  /** The next one; undefined behind the last. Throws the error that ended it all. */
  async get(): Promise<Message | undefined> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined) {
        this.full &&= this.#messages.length > this.#limit / 2;
        this.given.set(message.name, message);
        return message;
      }
      if (this.#error !== undefined) {
        throw this.#error;
      }
      if (this.#ended) {
        return undefined;
      }
      await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    }
  }

  /** One that waits to be taken. */
  find(name: MessageName): Message | undefined {
    return this.#messages.find((message) => message.name === name);
  }

  /** It was erased: nobody gets it. */
  drop(message: Message): void {
    this.#messages.splice(this.#messages.indexOf(message), 1);
  }

  /** No more will come. */
  end(error: SparrowError | undefined): void {
    this.#ended = true;
    this.#error = error;
    for (const waiter of this.#waiting.splice(0)) {
      waiter();
    }
  }
}

/** Let all of them go on. */
export function wakeAll(waiters: (() => void)[]): void {
  for (const waiter of waiters.splice(0)) {
    waiter();
  }
}

/** Return when it is so, or after so many milliseconds. */
export async function within(promise: Promise<void>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([promise, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}
