/**
 * The receiving end of one stream: order, once, and what to do about what is missing (docs/protocol.md, "Receiving").
 *
 * Owns `next`, the gaps and what is parked. Knows no clock: the owner says how long the stream was blocked.
 */

/** A message to show; `late` if a later one of its stream was shown before it. */
export interface Shown<Item> {
  readonly item: Item;
  readonly late: boolean;
}

/** With more gaps than this that are settled, a Sync is asked just to forget them. */
export const MAX_SETTLED_GAPS = 256;

/** One stream, over all connections. */
export class InboundStream<Item> {
  /** All ids below were shown, skipped, or are in `gaps`. */
  next: number;
  /** The highest `settled` seen. */
  settled: number;
  /** Ids that were gone past and may still come, late. */
  gaps: Set<number>;
  readonly parked = new Map<number, Item>();
  /** Milliseconds, of live session, that something has been parked without `next` moving. */
  blockedMs = 0;
  /** Of ids that were given up since the owner looked last, the first and the last; some between may be here. */
  skipped: readonly [number, number] | undefined;
  #asked = 0;
  #askedSettled = 0;
  #askedThrough = 0;

  constructor(next = 1, settled = 1, gaps: Iterable<number> = []) {
    this.next = next;
    this.settled = settled;
    this.gaps = new Set(gaps);
  }

  /** Message `number` has come; returns what may be shown now. A repeat shows nothing. */
  receive(number: number, settled: number, item: Item): Shown<Item>[] {
    this.settled = Math.max(this.settled, settled);
    if (number < this.next) {
      return this.gaps.delete(number) ? [{ item, late: true }] : [];
    }
    if (number > this.next) {
      if (!this.parked.has(number)) {
        this.parked.set(number, item);
      }
      return [];
    }
    const shown: Shown<Item>[] = [{ item, late: false }];
    this.#advance(number + 1);
    if (this.parked.size > 0) {
      this.#unpark(shown);
      if (this.parked.size === 0) {
        this.#asked = 0; // its answer is not needed, and its owner need not bring it
      }
    }
    return shown;
  }

  #advance(to: number): void {
    this.next = to;
    this.blockedMs = 0;
  }

  #unpark(shown: Shown<Item>[]): void {
    for (;;) {
      const item = this.parked.get(this.next);
      if (item === undefined) {
        return;
      }
      this.parked.delete(this.next);
      shown.push({ item, late: false });
      this.#advance(this.next + 1);
    }
  }

  /** Go past what is missing and `known` from elsewhere; returns what may be shown now. */
  goPast(known: (number: number) => boolean): Shown<Item>[] {
    const shown: Shown<Item>[] = [];
    while (this.parked.size > 0 && known(this.next)) {
      this.#advance(this.next + 1);
      this.#unpark(shown);
    }
    if (this.parked.size === 0) {
      this.#asked = 0;
    }
    return shown;
  }

  // What is missing.

  /** Whether to ask for a Sync now: something missing is settled, or was waited for long enough. */
  wantsSync(orderWaitMs: number): boolean {
    if (this.#asked > 0) {
      return false;
    }
    if (this.parked.size > 0 && (this.next < this.settled || this.blockedMs >= orderWaitMs)) {
      return true;
    }
    if (this.gaps.size <= MAX_SETTLED_GAPS) {
      return false;
    }
    return [...this.gaps].filter((gap) => gap < this.settled).length > MAX_SETTLED_GAPS;
  }

  /** Sync `n` was asked for this stream. */
  asked(n: number, orderWaitMs: number): void {
    this.#asked = n;
    this.#askedSettled = this.settled;
    const waited = this.blockedMs >= orderWaitMs;
    this.#askedThrough = waited ? [...this.parked.keys()].reduce((a, b) => Math.max(a, b), 0) : 0;
  }

  /** A Sync was asked for this stream and is not answered. */
  get syncing(): boolean {
    return this.#asked !== 0;
  }

  /** A Sync that was asked will not be answered. */
  disconnected(): void {
    this.#asked = 0;
  }

  /** Sync `n` is answered; returns what may be shown now. */
  synced(n: number): Shown<Item>[] {
    if (this.#asked === 0 || n < this.#asked) {
      return [];
    }
    this.#asked = 0;
    const shown: Shown<Item>[] = [];
    const gone = [...this.gaps].filter((gap) => gap < this.#askedSettled);
    gone.push(...this.#skip(this.#askedSettled, shown));
    this.gaps = new Set([...this.gaps].filter((gap) => gap >= this.#askedSettled));
    if (gone.length > 0) {
      this.skipped = [gone.reduce((a, b) => Math.min(a, b)), gone.reduce((a, b) => Math.max(a, b))];
    }
    this.#leaveGaps(this.#askedThrough, shown);
    return shown;
  }

  /** Give up what is missing below `limit`: it is never coming. Returns the first and last of it, if any. */
  #skip(limit: number, shown: Shown<Item>[]): number[] {
    const below = [...this.parked.keys()].filter((number) => number < limit).sort((a, b) => a - b);
    const first = this.next;
    let last = limit - 1;
    const missing = last - first + 1 > below.length;
    while (missing && below.length > 0 && this.parked.has(last)) {
      last--;
    }
    for (const number of below) {
      const item = this.parked.get(number) as Item;
      this.parked.delete(number);
      shown.push({ item, late: false });
    }
    if (limit > this.next) {
      this.#advance(limit);
    }
    this.#unpark(shown);
    return missing ? [first, last] : [];
  }

  /** Go past what is missing up to `through`, and remember it. */
  #leaveGaps(through: number, shown: Shown<Item>[]): void {
    while (this.next <= through) {
      this.gaps.add(this.next);
      this.#advance(this.next + 1);
      this.#unpark(shown);
    }
  }
}
