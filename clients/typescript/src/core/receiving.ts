/**
 * Others' messages, and those of our other devices: all streams that come to this device, over all its connections.
 *
 * Owns which of them is shown when, and what waits: for what is missing in its stream, or for the changes of its group.
 * Keeps through the core's `Journal`, and tells through it.
 */

import { Kind, type Message } from "../gen/sparrow_pb.js";
import { InboundStream, type Shown } from "../protocol/inbound.ts";
import { Erasures } from "./erasures.ts";
import { Held } from "./holding.ts";
import { type Event, isRepeatable, type Journal, type Kept } from "./state.ts";
import { groupOf, messageName, type StreamKey, streamKey, Streams } from "./streams.ts";

export class Receiving {
  /** Streams in which something is missing. */
  readonly blocked = new Map<StreamKey, InboundStream<Message>>();
  /** What waits for the changes of its group. */
  readonly held = new Held();
  /** Who we are. */
  user = "";
  /** Something is to be committed. */
  dirty = false;
  readonly #journal: Journal;
  readonly #tell: (event: Event) => void;
  readonly #orderWaitMs: number;
  readonly #follows: boolean;
  readonly #inbound = new Map<StreamKey, InboundStream<Message>>();
  readonly #changed = new Map<StreamKey, InboundStream<Message>>();
  readonly #erasures = new Erasures();
  #streams = new Streams();

  /** `tell` is called with what has become true; `orderWaitMs` as in R6. */
  constructor(journal: Journal, tell: (event: Event) => void, orderWaitMs: number, follows: boolean) {
    this.#journal = journal;
    this.#tell = tell;
    this.#orderWaitMs = orderWaitMs;
    this.#follows = follows;
  }

  /** Put back what was kept. */
  restore(kept: Kept): void {
    for (const [key, state] of kept.inbound) {
      this.#inbound.set(key, new InboundStream(state.next, state.settled, state.gaps));
    }
    this.#streams = new Streams(this.#inbound.keys());
    for (const message of kept.parked) {
      const key = streamKey(message);
      const stream = this.#inbound.get(key) ?? new InboundStream();
      this.#inbound.set(key, stream);
      stream.receive(Number(message.id), Number(message.settled), message);
      this.blocked.set(key, stream);
      if (message.kind === Kind.ERASE && !message.erased) {
        this.#erasures.told(message, this.#inbound);
      }
    }
    this.held.restore(kept.groups);
    for (const held of kept.held) {
      this.held.put(groupOf(held.item), held, 0);
    }
  }

  /** The time is known: what was kept waits from here on. */
  begin(now: number): void {
    this.held.begin(now);
  }

  /** The connection is gone, and with it what was asked. */
  disconnected(): void {
    for (const stream of this.blocked.values()) {
      stream.disconnected();
    }
  }

  /** A live session has lasted for so long. */
  lived(ms: number): void {
    for (const stream of this.blocked.values()) {
      stream.blockedMs += ms;
    }
  }

  /** Put into the journal what has changed since. */
  keep(): void {
    for (const [key, stream] of this.#changed) {
      this.#journal.putInbound(key, stream);
    }
    this.#changed.clear();
    this.dirty = false;
  }

  // What comes.

  /** One has come. */
  message(message: Message, now: number): void {
    const key = streamKey(message);
    let stream = this.#inbound.get(key);
    if (stream === undefined) {
      stream = new InboundStream();
      this.#inbound.set(key, stream);
      this.#forgetFor(key);
    } else {
      this.#streams.heard(key);
    }
    if (isGone(message)) {
      this.#gone(message, stream);
    } else if (message.kind === Kind.ERASE && this.#erasures.told(message, this.#inbound) !== key) {
      this.paged(now);
    }
    const parked = stream.parked.size;
    const shown = stream.receive(Number(message.id), Number(message.settled), message);
    if (stream.parked.size > parked) {
      this.#journal.park(message);
    }
    this.#after(key, stream, [...shown, ...this.#goPast(key, stream)], now);
  }

  /** A message of a group has come without its body: what waits of it is nothing to show any more. */
  #gone(message: Message, stream: InboundStream<Message>): void {
    if (stream.parked.has(Number(message.id))) {
      stream.parked.set(Number(message.id), message);
      this.#journal.park(message);
    }
    if (this.held.drop(message)) {
      this.#journal.release(message, false);
    }
  }

  /** Past what is missing, and here from a page, or erased: pages themselves move no stream (T1). */
  #goPast(key: StreamKey, stream: InboundStream<Message>): Shown<Message>[] {
    const [shown, gone] = this.#erasures.goPast(key, stream, (number) => this.#journal.paged(`${key}/${number}`));
    const first = gone[0];
    const last = gone.at(-1);
    if (first !== undefined && last !== undefined) {
      this.#tell({ case: "skipped", key, first, last });
    }
    return shown;
  }

  /** A page of history was kept, and committed: look whether something has waited for what it tells. */
  paged(now: number): void {
    for (const [key, stream] of [...this.blocked]) {
      const shown = this.#goPast(key, stream);
      if (shown.length > 0) {
        this.#after(key, stream, shown, now);
      }
    }
  }

  /** Room for a new stream. Nothing is lost by it: what is missing in one that comes again is asked for (R5). */
  #forgetFor(key: StreamKey): void {
    const gone = this.#streams.tooMany(key, this.user, (each) => this.blocked.has(each));
    if (gone !== undefined) {
      this.#inbound.delete(gone);
      this.#changed.delete(gone);
      this.#journal.dropInbound(gone);
    }
  }

  /** A Sync was answered. */
  synced(n: number, now: number): void {
    for (const [key, stream] of [...this.blocked]) {
      const shown = stream.synced(n);
      this.#after(key, stream, [...shown, ...this.#goPast(key, stream)], now);
    }
  }

  #after(key: StreamKey, stream: InboundStream<Message>, shown: readonly Shown<Message>[], now: number): void {
    for (const each of shown) {
      if (isGone(each.item) || this.#isPaged(each.item)) {
        this.#journal.again(each.item);
      } else {
        this.#show(each, now);
      }
    }
    if (stream.skipped !== undefined) {
      const [first, last] = stream.skipped;
      this.#tell({ case: "skipped", key, first, last });
      stream.skipped = undefined;
    }
    this.#changed.set(key, stream);
    this.dirty = true;
    if (stream.parked.size > 0 || stream.syncing || stream.wantsSync(this.#orderWaitMs)) {
      this.blocked.set(key, stream);
    } else {
      this.blocked.delete(key);
    }
  }

  #isPaged(message: Message): boolean {
    return !isRepeatable(message.kind) && this.#journal.paged(messageName(message));
  }

  #show(shown: Shown<Message>, now: number): void {
    const { item, late } = shown;
    const group = this.#follows ? groupOf(item) : "";
    if (group !== "" && this.held.mustWait(group, item.version)) {
      this.#journal.hold(item, late);
      if (this.held.put(group, shown, now)) {
        this.#tell({ case: "groupBehind", group, version: item.version });
      }
      return;
    }
    this.#journal.show(item, late);
    this.#tell({ case: "shown", message: item, late });
  }

  // Changes of groups.

  /** Whose changes are waited for. */
  wanted(): Event[] {
    return [...this.held.waiting()].map(([group, version]) => ({ case: "groupBehind", group, version }));
  }

  /** The changes of a group up to this version are shown: so may be what waits for them. */
  groupAt(group: string, version: bigint): void {
    this.#release(this.held.at(group, version));
    this.#journal.putGroup(group, this.held.version(group));
    this.dirty = true;
    const wanted = this.held.waiting().get(group);
    if (wanted !== undefined) {
      this.#tell({ case: "groupBehind", group, version: wanted });
    }
  }

  /** We are in this group no more; whether anything was known of it. */
  groupLeft(group: string): boolean {
    const known = this.held.version(group) > 0n;
    this.#release(this.held.left(group));
    if (known) {
      this.#journal.putGroup(group, 0n);
      this.dirty = true;
    }
    return known;
  }

  /** Show what has waited for too long. */
  releaseOverdue(now: number): void {
    this.#release(this.held.overdue(now));
  }

  #release(free: readonly Shown<Message>[]): void {
    for (const { item, late } of free) {
      const isNew = !this.#isPaged(item);
      this.#journal.release(item, isNew);
      this.dirty = true;
      if (isNew) {
        this.#tell({ case: "shown", message: item, late });
      }
    }
  }
}

/** Whether it has no body any more. Only of groups' messages the server says so; elsewhere it is a sender's word. */
function isGone(message: Message): boolean {
  return message.erased && groupOf(message) !== "";
}
