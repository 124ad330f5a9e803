/**
 * The client's core: one device, over all its connections. Pure: what it keeps goes through a `Journal`.
 *
 * Owns the order of keeping and telling: a message is journalled before it is sent, and what came is journalled,
 * together with the stream's `next`, before it is acked or shown. Owns when it wants to be woken.
 *
 * A turn is `prepare`, the owner's commit of the journal, `finish`; between the two nothing else may be called. Times
 * are in milliseconds of a steady clock.
 */

import type { LoggedIn, Message, Receipt } from "../gen/sparrow_pb.js";
import type { Outgoing } from "../protocol/outbound.ts";
import { ClientSession } from "../protocol/session.ts";
import { Acks } from "./acks.ts";
import { type Extras, Own } from "./own.ts";
import { Receiving } from "./receiving.ts";
import type { Event, Journal, Kept } from "./state.ts";
import { groupOf } from "./streams.ts";
import { Syncs } from "./syncs.ts";

/** What a server may offer that the first release did not have. */
export const UNDERSTANDS = ["disabled", "changes", "groups"] as const;
export const ORDER_WAIT_MS = 10_000;
const SYNC_TIMEOUT_MS = 10_000;
/** How often a stream that waits for something missing is looked at. */
const BLOCKED_TICK_MS = 500;

/** What a turn has come to. */
export interface Turn {
  /** To be written. */
  readonly data: Uint8Array;
  /** What has become true. */
  readonly events: readonly Event[];
}

/** One device. */
export class ClientCore {
  /** Of groups, only what is written from a login on is wanted. */
  fresh = false;
  /** Signals of others are wanted. */
  signals = false;
  /** A text may be edited for so long; 0: as long as it is kept. */
  editHours = 0;
  heartbeatMs = 60_000;
  /** Somebody else was this device between our last session and this one, as far as we can tell. */
  forked = false;
  /** The application has enough to do: acks wait. Without them the server sends no more than a window. */
  holdAcks = false;

  readonly #journal: Journal;
  /** Names this start of the client to the server; 0: it is not told. */
  readonly #start: bigint;
  #tries = 0;
  #session = new ClientSession();
  #events: Event[] = [];
  readonly #own: Own;
  readonly #receiving: Receiving;
  readonly #syncs = new Syncs(SYNC_TIMEOUT_MS);
  readonly #acks = new Acks();
  #now = 0;
  /** Somebody has said what time it is. */
  #timed = false;
  #dirty = false;
  #leaving = false;
  #knownSession: bigint;

  /**
   * `kept`: what `journal` holds. `random64`: never 0, but for a first one of 0, which tells the server no `start`.
   * `follows`: somebody gets the changes of groups (`groupBehind`), and messages wait for them.
   */
  constructor(journal: Journal, kept: Kept, random64: () => bigint, follows = false) {
    this.#journal = journal;
    this.#start = random64();
    this.#knownSession = kept.session;
    const tell = (event: Event): void => void this.#events.push(event);
    this.#own = new Own(journal, kept, random64, tell);
    this.#receiving = new Receiving(journal, tell, ORDER_WAIT_MS, follows);
    this.#receiving.restore(kept);
  }

  /** Drafts that go out only when a person says so (`sendAgain`) or never (`giveUp`), oldest first. */
  get doubtful(): ReadonlyMap<number, Outgoing> {
    return this.#own.doubtful;
  }

  /** Whether a session is live. */
  get loggedIn(): boolean {
    return this.#own.online;
  }

  // The connection.

  /** A new connection is open: log in. */
  connected(token: string, client: string): void {
    this.#session = new ClientSession();
    this.#acks.connected();
    this.#leaving = false;
    this.#tries++;
    this.#session.login(token, {
      client,
      start: this.#start,
      tries: this.#start === 0n ? 0 : this.#tries,
      understands: this.signals ? [...UNDERSTANDS, "signals"] : UNDERSTANDS,
      fresh: this.fresh,
    });
  }

  /** The connection is gone. */
  disconnected(): void {
    if (this.loggedIn) {
      this.#journal.putSession(this.#knownSession, false);
      this.#dirty = true;
    }
    this.#own.online = false;
    this.#session = new ClientSession(); // nothing more may be taken to be said on the one that is gone
    this.#syncs.disconnected();
    this.#receiving.disconnected();
  }

  /** The time of the events that follow. */
  time(now: number): void {
    if (!this.#timed) {
      this.#timed = true;
      this.#receiving.begin(now);
    }
    const elapsed = now - this.#now;
    this.#now = now;
    if (this.loggedIn) {
      this.#receiving.lived(elapsed);
    }
  }

  /** Bytes from the server. A breach of the protocol shows in `broken`. */
  data(data: Uint8Array): void {
    for (const said of this.#session.receive(data)) {
      switch (said.case) {
        case "message":
          this.#count(said.value);
          this.#receiving.message(said.value, this.#now);
          break;
        case "receipt":
          this.#receipt(said.value);
          break;
        case "failed":
          this.#own.failed(said.value, this.#now);
          break;
        case "synced":
          this.#syncs.synced(Number(said.value.n));
          this.#receiving.synced(Number(said.value.n), this.#now);
          break;
        case "loggedIn":
          this.#loggedIn(said.value);
          break;
        case "pong":
          break;
        case "unreadable":
          this.#acks.counted(this.#now);
          this.#events.push(said);
          break;
        default:
          this.#events.push(said);
      }
    }
  }

  #count(message: Message): void {
    if (groupOf(message) !== "") {
      this.#acks.countedLate(message.body.length, this.#now);
    } else {
      this.#acks.counted(this.#now);
    }
  }

  /** How the server broke the protocol. */
  get broken(): Error | undefined {
    return this.#session.error;
  }

  #loggedIn(frame: LoggedIn): void {
    this.#receiving.user = frame.userId;
    this.heartbeatMs = frame.heartbeatMs;
    this.editHours = frame.editHours;
    this.#acks.window(frame.maxUnacked);
    this.forked = frame.previousSession !== this.#knownSession;
    this.#knownSession = frame.session;
    this.#journal.putSession(frame.session, true);
    this.#dirty = true;
    this.#own.loggedIn(frame, this.forked, this.#now);
    this.#events.push({ case: "loggedIn", value: frame }, ...this.#receiving.wanted());
  }

  /** The server's Unix time now, in milliseconds; 0: not known. */
  get serverMs(): number {
    return this.#own.ages.serverMs(this.#now);
  }

  #receipt(receipt: Receipt): void {
    if (receipt.sent) {
      this.#own.sent(receipt);
      return;
    }
    if (!receipt.early) {
      this.#acks.counted(this.#now);
    }
    const { fromDevice: device, stream, early } = receipt;
    this.#events.push({ case: "delivered", device, stream, ids: receipt.ids.map(Number), early });
  }

  // Sending.

  /**
   * Take a message; it is kept, and sent if logged in, with this turn. A change, and what is for a group, waits for a
   * server that knows it.
   */
  send(dest: string, kind: number, body: Uint8Array, extras: Extras = {}): Outgoing {
    return this.#own.send(dest, kind, body, extras, this.#now);
  }

  /** Send a doubtful draft after all; false if it is none (any more). */
  sendAgain(outgoing: Outgoing): boolean {
    return this.#own.sendAgain(outgoing, this.#now);
  }

  /** Forget a doubtful draft; false if it is none (any more). */
  giveUp(outgoing: Outgoing): boolean {
    return this.#own.giveUp(outgoing);
  }

  // Receiving.

  /** Streams in which something is missing. */
  get blocked(): number {
    return this.#receiving.blocked.size;
  }

  /** A page of history was kept: look whether something has waited for what it tells. */
  paged(): void {
    this.#receiving.paged(this.#now);
  }

  /** The changes of a group up to this version are shown: so may be what waits for them. */
  groupAt(group: string, version: bigint): void {
    this.#receiving.groupAt(group, version);
  }

  /** We are in this group no more: what waits may be shown. Whether anything was known of it. */
  groupLeft(group: string): boolean {
    return this.#receiving.groupLeft(group);
  }

  /** Up to which version the changes of a group are shown; 0: nothing is known of it. */
  groupVersion(group: string): bigint {
    return this.#receiving.held.version(group);
  }

  // The turn.

  /** Put what has changed into the journal; whether there is something to commit before `finish`. */
  prepare(): boolean {
    this.#receiving.releaseOverdue(this.#now);
    if (this.#events.length > 0 && this.#journal.note(this.#events)) {
      this.#dirty = true;
    }
    if (!this.#dirty && !this.#own.dirty && !this.#receiving.dirty) {
      return false;
    }
    this.#receiving.keep();
    this.#dirty = this.#own.dirty = false;
    return true;
  }

  /** What to write, and what has become true, now that what `prepare` has put is kept. */
  finish(): Turn {
    const events = this.#events;
    this.#events = [];
    const session = this.#session;
    if (session.state === "active" && session.error === undefined) {
      if (this.#leaving || (this.#acks.isDue(this.#now) && !this.holdAcks)) {
        session.ack();
        this.#acks.acked();
      }
      this.#syncs.ask(this.#receiving.blocked, session, ORDER_WAIT_MS, this.#now);
      for (const outgoing of this.#own.due(this.#now)) {
        session.message(outgoing.message());
      }
      if (this.#leaving) {
        this.#leaving = false;
        session.logout();
      }
    }
    return { data: session.dataToSend(), events };
  }

  /** When a turn will have something to do although nothing happens; undefined: never. */
  nextWake(): number | undefined {
    const dues = [this.#receiving.held.nextDue()];
    if (this.#session.state === "active") {
      if (this.#events.length > 0) {
        return this.#now;
      }
      dues.push(this.#own.outbox.nextDue());
      if (this.#receiving.blocked.size > 0) {
        dues.push(this.#now + BLOCKED_TICK_MS);
      }
      if (!this.holdAcks) {
        dues.push(this.#acks.due);
      }
    }
    const found = dues.filter((due) => due !== undefined);
    return found.length > 0 ? Math.min(...found) : undefined;
  }

  /** The journal's owner has put something into it: the next turn commits it. */
  touch(): void {
    this.#dirty = true;
  }

  /**
   * Tell what matters only now, with this turn. False: not to this server, or there is no session now; then it is gone.
   */
  signal(dest: string, kind: number, body: Uint8Array): boolean {
    if (this.#session.state !== "active" || !this.#own.takesSignals(dest)) {
      return false;
    }
    this.#session.signal(kind, dest, body);
    return true;
  }

  /** Say that we are here. */
  ping(): void {
    if (this.#session.state === "active") {
      this.#session.ping(1);
    }
  }

  /** Ask for a Goodbye, with this turn: behind an ack of all that is kept. */
  logout(): void {
    this.#leaving = this.#session.state === "active";
  }

  /** Messages of ours that are neither SENT nor finally Failed. */
  get unsettled(): number {
    return this.#own.outbox.size + this.#own.drafts.length;
  }

  /** All that is not settled, doubtful drafts included. */
  outgoing(): Outgoing[] {
    return this.#own.all();
  }
}
