/**
 * Messages of our own: drafts, what has its stream and id, and what waits for a person's word.
 *
 * Owns when a message gets its name (docs/protocol.md, K4 and K5), and what settles it. Keeps through the core's
 * `Journal`, and tells through it; when something goes out is `Outbox`'s business.
 */

import type { About, Failed, LoggedIn, Receipt } from "../gen/sparrow_pb.js";
import { isGroupId } from "../protocol/ids.ts";
import { Outbox, Outgoing } from "../protocol/outbound.ts";
import { Ages, TOO_OLD } from "./ages.ts";
import { type Event, isChange, isRepeatable, type Journal, type Kept } from "./state.ts";

/** What a message has beside its kind and body. */
export interface Extras {
  readonly about?: About;
  readonly revision?: number;
  readonly mark?: bigint;
}

/** Of one device. `now` is in milliseconds of the core's steady clock. */
export class Own {
  /** Drafts that go out only when a person says so, oldest first. */
  readonly doubtful = new Map<number, Outgoing>();
  readonly outbox = new Outbox();
  readonly ages = new Ages();
  /** Something is to be committed. */
  dirty = false;
  /** Ids may be given. */
  online = false;
  readonly #journal: Journal;
  readonly #tell: (event: Event) => void;
  readonly #random64: () => bigint;
  #drafts: Outgoing[];
  /** Drafts that were there at the start, until the first login. */
  readonly #found: Set<number>;
  #draftCounter: number;
  #understood: ReadonlySet<string> = new Set();

  constructor(journal: Journal, kept: Kept, random64: () => bigint, tell: (event: Event) => void) {
    this.#journal = journal;
    this.#tell = tell;
    this.#random64 = random64;
    for (const stream of kept.outbound) {
      this.outbox.restore(stream);
    }
    if (kept.sessionOpen) {
      // This may be a backup made in the middle of that session, which then went on to give ids.
      this.#retireStreams();
    }
    for (const draft of kept.drafts) {
      if (kept.doubtful.has(draft.draft)) {
        this.doubtful.set(draft.draft, draft);
      }
    }
    this.#drafts = kept.drafts.filter((draft) => !kept.doubtful.has(draft.draft));
    this.#found = new Set(this.#drafts.map((draft) => draft.draft));
    this.#draftCounter = kept.drafts.reduce((most, draft) => Math.max(most, draft.draft), 0);
  }

  /** Drafts among what is not settled. */
  get drafts(): readonly Outgoing[] {
    return this.#drafts;
  }

  /** A session begins. `forked`: somebody else was this device since; ids that we would give may have been given. */
  loggedIn(frame: LoggedIn, forked: boolean, now: number): void {
    this.online = true;
    this.#understood = new Set(frame.understands);
    this.ages.loggedIn(frame, now);
    if (forked) {
      this.#retireStreams();
      this.#doubt();
    }
    this.#found.clear();
    this.outbox.connected(frame.maxUnsettledPerStream, frame.maxUnsettledPerConnection);
    const drafts = this.#drafts;
    this.#drafts = [];
    for (const outgoing of drafts) {
      this.#numberOrWait(outgoing, now);
    }
  }

  /** Whether this server knows such messages. */
  mayGo(outgoing: Outgoing): boolean {
    if (isChange(outgoing.kind) && !this.#understood.has("changes")) {
      return false;
    }
    return this.#understood.has("groups") || !isGroupId(outgoing.dest);
  }

  /** Whether this server takes signals to somebody. */
  takesSignals(dest: string): boolean {
    const understood = this.#understood;
    return this.online && understood.has("signals") && (understood.has("groups") || !isGroupId(dest));
  }

  /** What was found in this state, that somebody else has perhaps had, they may have sent. */
  #doubt(): void {
    const found = this.#drafts.filter((draft) => this.#found.has(draft.draft) && !isRepeatable(draft.kind));
    if (found.length > 0) {
      this.#drafts = this.#drafts.filter((draft) => !found.includes(draft));
      for (const draft of found) {
        this.doubtful.set(draft.draft, draft);
      }
      this.#journal.putDoubtful(this.doubtful.keys());
      this.#tell({ case: "doubtful", outgoing: found });
    }
  }

  #retireStreams(): void {
    for (const stream of this.outbox.retireAll()) {
      this.#journal.putOutbound(stream);
    }
    this.#dropSettled();
    this.dirty = true;
  }

  /** Send a doubtful draft after all; false if it is none (any more). */
  sendAgain(outgoing: Outgoing, now: number): boolean {
    if (!this.doubtful.delete(outgoing.draft)) {
      return false;
    }
    this.#journal.putDoubtful(this.doubtful.keys());
    this.dirty = true;
    this.#numberOrWait(outgoing, now);
    return true;
  }

  /** Forget a doubtful draft; false if it is none (any more). */
  giveUp(outgoing: Outgoing): boolean {
    if (!this.doubtful.delete(outgoing.draft)) {
      return false;
    }
    this.#journal.dropOutgoing(outgoing);
    this.#journal.putDoubtful(this.doubtful.keys());
    this.dirty = true;
    return true;
  }

  /** Take a message. */
  send(dest: string, kind: number, body: Uint8Array, extras: Extras, now: number): Outgoing {
    this.#draftCounter++;
    const { about, revision, mark } = extras;
    const outgoing = new Outgoing(dest, kind, body, about, this.#draftCounter, revision, mark);
    this.dirty = true;
    if (!this.#numberOrWait(outgoing, now)) {
      this.#journal.putOutgoing(outgoing);
    }
    return outgoing;
  }

  #numberOrWait(outgoing: Outgoing, now: number): boolean {
    if (!this.online || !this.mayGo(outgoing)) {
      this.#drafts.push(outgoing);
      return false;
    }
    const stream = this.outbox.streamFor(outgoing.dest, this.#random64);
    this.outbox.number(outgoing, stream);
    outgoing.numberedMs = this.ages.serverMs(now);
    this.#journal.putOutbound(stream);
    this.#journal.putOutgoing(outgoing);
    return true;
  }

  // Answers.

  /** SENT. */
  sent(receipt: Receipt): void {
    for (const [at, number] of receipt.ids.entries()) {
      const stamp = receipt.stamps[at];
      const outgoing = stamp === undefined ? undefined : this.#settle(receipt.stream, Number(number), true);
      if (stamp !== undefined && outgoing !== undefined) {
        this.#tell({ case: "settled", outgoing, stamp, delivered: receipt.delivered });
      }
    }
  }

  /** Failed, for good or for now. */
  failed(failed: Failed, now: number): void {
    const number = Number(failed.id);
    const final = failed.retryAfterMs === 0;
    const outgoing = final
      ? this.#settle(failed.stream, number)
      : this.outbox.retry(failed.stream, number, now, failed.retryAfterMs);
    if (outgoing !== undefined) {
      this.#tell({ case: "refused", outgoing, code: failed.code, text: failed.text, final });
    }
  }

  #settle(number: bigint, id: number, sent = false): Outgoing | undefined {
    const outgoing = this.outbox.settle(number, id, sent);
    if (outgoing?.stream !== undefined) {
      this.#journal.dropOutgoing(outgoing);
      this.dirty = true;
      if (outgoing.stream.retired) {
        this.#dropSettled();
      }
    }
    return outgoing;
  }

  #dropSettled(): void {
    for (const stream of this.outbox.dropSettled()) {
      this.#journal.dropOutbound(stream);
    }
  }

  /** What goes out now. What is too old fails, and waits for the next commit to be forgotten. */
  due(now: number): Outgoing[] {
    return this.outbox.due(now).filter((outgoing) => {
      if (!this.ages.isTooOld(outgoing, now)) {
        return this.mayGo(outgoing);
      }
      if (outgoing.stream !== undefined && this.#settle(outgoing.stream.number, outgoing.id) !== undefined) {
        this.#tell({ case: "refused", outgoing, code: 0, text: TOO_OLD, final: true });
      }
      return false;
    });
  }

  /** All that is not settled, doubtful drafts included. */
  all(): Outgoing[] {
    const numbered = [...this.outbox.streams.values()].flatMap((stream) => [...stream.messages.values()]);
    return [...numbered, ...this.doubtful.values(), ...this.#drafts];
  }
}
