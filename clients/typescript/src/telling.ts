/**
 * From what the core says to what the application sees: sendings, messages, events.
 *
 * Owns the `Sending`s and which messages are taken. Writes to no socket.
 */

import { type Change, changeOf, isSame, targetName } from "./core/changes.ts";
import { type Event, isChange, peerOf } from "./core/state.ts";
import { groupOf, messageName, splitKey } from "./core/streams.ts";
import * as errors from "./errors.ts";
import type { ClientEvents, Tell } from "./events.ts";
import type { Arrivals } from "./flow.ts";
import { Failed_Code, type Hint, Hint_Kind, Kind, type Message as Wire, type Signal } from "./gen/sparrow_pb.js";
import type { DeviceJournal } from "./journal/journal.ts";
import { Message, type Owner, Sending } from "./messages.ts";
import { isGroupId } from "./protocol/ids.ts";
import type { Outgoing } from "./protocol/outbound.ts";
import { carriesSignal } from "./signals.ts";

const REFUSALS: Readonly<Record<number, new (text: string) => errors.RefusedError>> = {
  [Failed_Code.NO_SUCH_USER]: errors.NoSuchUserError,
  [Failed_Code.TOO_LARGE]: errors.MessageTooLargeError,
  [Failed_Code.BLOCKED]: errors.BlockedError,
  [Failed_Code.NOT_FRIEND]: errors.NotFriendError,
  [Failed_Code.NOT_MEMBER]: errors.NotMemberError,
};
/** Why a message waits, for its author. */
const WAITING: Readonly<Record<number, string>> = {
  [Failed_Code.INBOX_FULL]: "their inbox is full, or that of another device of yours",
  [Failed_Code.NO_SPACE]: "the server's disk is full",
  [Failed_Code.HISTORY_FULL]: "as much as may be kept of what you write is kept already",
};
/** The same of what is for a group, or changes a message, until there is a server that takes it. */
const NOT_KNOWN = "the server is an older one that does not know this yet";
const DOUBTFUL = "it may have been sent already";
const GIVEN_UP = "given up: it may have been sent already";

/** Of one client. `settled` is called for each message of ours that comes to its end. */
export class Telling {
  /** What waits for a person's word, oldest first. */
  readonly doubtful = new Map<Sending, Outgoing>();
  /** Messages of ours (but for READ) that are neither SENT nor refused. */
  unsettled = 0;
  readonly #owner: Owner;
  readonly #arrivals: Arrivals;
  readonly #journal: DeviceJournal;
  readonly #tell: Tell;
  readonly #settledOne: () => void;
  #drafts: [Outgoing, Sending][] = [];
  readonly #sendings = new Map<string, WeakRef<Sending>>();
  readonly #collected = new FinalizationRegistry<string>((name) => {
    if (this.#sendings.get(name)?.deref() === undefined) {
      this.#sendings.delete(name);
    }
  });

  constructor(owner: Owner, arrivals: Arrivals, journal: DeviceJournal, tell: Tell, settledOne: () => void) {
    this.#owner = owner;
    this.#arrivals = arrivals;
    this.#journal = journal;
    this.#tell = tell;
    this.#settledOne = settledOne;
  }

  // After a restart.

  /** What was not settled; and which drafts of it wait for a person. */
  restore(outgoing: readonly Outgoing[], doubtful: ReadonlyMap<number, Outgoing>): void {
    for (const each of outgoing) {
      if (each.kind !== Kind.READ) {
        this.sending(each, doubtful.get(each.draft) === each, false);
      }
    }
  }

  /** What was shown, but not taken by the application. */
  repeat(): void {
    for (const { message, late } of this.#journal.untaken()) {
      this.#shown(message, late);
    }
  }

  // Ours.

  /** The handle of a new message; `online`: it would have its number if the server knew what it is. */
  sending(outgoing: Outgoing, doubtful: boolean, online: boolean): Sending {
    const sending = new Sending(this.#owner, outgoing.dest, outgoing.kind, outgoing.body, outgoing.draft);
    outgoing.tag = sending;
    if (doubtful) {
      this.#putOff(outgoing, sending);
      return sending;
    }
    this.unsettled++;
    if (!this.#number(outgoing, sending)) {
      sending.note = online ? NOT_KNOWN : "";
      this.#drafts.push([outgoing, sending]);
    }
    return sending;
  }

  #putOff(outgoing: Outgoing, sending: Sending): void {
    sending.doubtful = true;
    sending.note = DOUBTFUL;
    this.doubtful.set(sending, outgoing);
  }

  #doubted(found: readonly Outgoing[]): void {
    this.#drafts = this.#drafts.filter(([outgoing]) => !found.includes(outgoing));
    const sendings = found.flatMap((outgoing) => {
      const sending = outgoing.tag;
      if (!(sending instanceof Sending)) {
        return [];
      }
      this.#putOff(outgoing, sending);
      this.#ends();
      this.#tell("sending", sending);
      return [sending];
    });
    this.#tell("doubtful", sendings);
  }

  /** A doubtful one is sent after all. */
  goesOut(sending: Sending): void {
    const outgoing = this.#settleDoubt(sending);
    this.unsettled++;
    if (outgoing !== undefined && !this.#number(outgoing, sending)) {
      this.#drafts.push([outgoing, sending]);
    }
    this.#tell("sending", sending);
  }

  /** A doubtful one is not. */
  givenUp(sending: Sending): void {
    this.#settleDoubt(sending);
    sending.fail(new errors.RefusedError(GIVEN_UP));
    this.#tell("sending", sending);
  }

  #settleDoubt(sending: Sending): Outgoing | undefined {
    const outgoing = this.doubtful.get(sending);
    this.doubtful.delete(sending);
    sending.doubtful = false;
    sending.note = "";
    return outgoing;
  }

  #number(outgoing: Outgoing, sending: Sending): boolean {
    if (outgoing.stream === undefined) {
      return false;
    }
    sending.stream = outgoing.stream.number;
    sending.id = outgoing.id;
    if (sending.note === NOT_KNOWN) {
      sending.note = "";
      this.#tell("sending", sending);
    }
    const name = `${sending.stream}/${sending.id}`;
    this.#sendings.set(name, new WeakRef(sending));
    this.#collected.register(sending, name);
    return true;
  }

  /** Drafts may have got their numbers; what has none now waits for a server that knows what it is. */
  numbered(): void {
    this.#drafts = this.#drafts.filter(([outgoing, sending]) => !this.#number(outgoing, sending));
    for (const [, sending] of this.#drafts) {
      if (sending.note === "") {
        sending.note = NOT_KNOWN;
        this.#tell("sending", sending);
      }
    }
  }

  /** Tell what the core has told. */
  happened(event: Event): void {
    switch (event.case) {
      case "shown":
        this.#shown(event.message, event.late);
        break;
      case "settled":
        this.#settled(event.outgoing, event.stamp, event.delivered);
        break;
      case "delivered":
        this.#progress("", event, "delivered");
        break;
      case "refused":
        this.#refused(event.outgoing, event.code, event.text, event.final);
        break;
      case "doubtful":
        this.#doubted(event.outgoing);
        break;
      case "skipped": {
        const { author, group } = splitKey(event.key);
        // What another device of ours wrote, to whom is not known, is in no conversation that could be named.
        this.#tell("missed", { peer: group || (author === this.#owner.user ? "" : author) });
        break;
      }
      case "unreadable":
        this.#tell("unreadable", undefined);
        break;
      case "hint":
        this.#hint(event.value);
        break;
      case "signal":
        this.#signal(event.value);
        break;
      default: // the client's own
    }
  }

  #hint(hint: Hint): void {
    const { kind, userId: user, group, stamp, version } = hint;
    if (kind === Hint_Kind.MARK_RAISED) {
      this.#tell("markRaised", { peer: group || user, stamp });
    } else if (kind !== Hint_Kind.UNSPECIFIED && kind in Hint_Kind) {
      this.#tell("hint", { kind, user, group, version: Number(version) });
    }
  }

  #signal(signal: Signal): void {
    const { kind, destId, fromId: sender, fromDevice: device, body } = signal;
    if (carriesSignal(kind)) {
      this.#tell("signal", { peer: isGroupId(destId) ? destId : sender, sender, device, kind, body });
    }
  }

  #settled(outgoing: Outgoing, stamp: bigint, delivered: boolean): void {
    const sending = outgoing.tag;
    if (!(sending instanceof Sending)) {
      return;
    }
    sending.stamp = stamp;
    sending.safe = true;
    sending.note = "";
    this.#ends();
    sending.advance(delivered ? "delivered" : "sent");
    sending.wake();
    this.#tell("sending", sending);
    if (isChange(outgoing.kind)) {
      const wire = outgoing.message();
      wire.fromId = this.#owner.user;
      wire.fromDevice = this.#journal.device;
      this.#changed(wire, wire.destId);
    }
  }

  #refused(outgoing: Outgoing, code: number, text: string, final: boolean): void {
    const sending = outgoing.tag;
    if (!(sending instanceof Sending)) {
      return;
    }
    if (final) {
      this.#ends();
      sending.fail(new (REFUSALS[code] ?? errors.RefusedError)(text || "the server refuses it"));
    } else {
      sending.note = WAITING[code] ?? text;
    }
    this.#tell("sending", sending);
  }

  #ends(): void {
    this.unsettled--;
    this.#settledOne();
  }

  /** `peer` says so; empty: the server does. */
  #progress(
    peer: string,
    about: { readonly device: string; readonly stream: bigint; readonly ids: readonly number[] },
    state: "delivered" | "read",
  ): void {
    const { device, stream } = about;
    const others = about.ids.filter((id) => {
      const sending = this.#sendings.get(`${stream}/${id}`)?.deref();
      if (sending === undefined) {
        return true;
      }
      if ((peer === "" || peer === sending.dest) && sending.advance(state)) {
        this.#tell("sending", sending);
      }
      return false;
    });
    if (others.length > 0) {
      this.#tell("progress", { peer, device, stream, ids: others, state });
    }
  }

  // Others'.

  #shown(wire: Wire, late: boolean): void {
    const isMine = wire.fromId === this.#owner.user;
    const peer = peerOf(wire, this.#owner.user);
    const { fromId: author, fromDevice: device, stream } = wire;
    const change = this.#journal.changes.get({ peer, author, device, stream, id: Number(wire.id) });
    if (isChange(wire.kind)) {
      this.#changed(wire, peer);
    } else if (change?.erasedBy) {
      // It has come together with its end: nothing of it is shown.
    } else if (wire.kind === Kind.READ) {
      this.#read(wire, isMine);
    } else if (isMine) {
      this.#tell("ownMessage", new Message(this.#owner, wire, late, change));
    } else {
      this.#arrivals.put(new Message(this.#owner, wire, late, change));
      return;
    }
    // Told is used. It is enough that the next commit keeps this: telling it again is harmless.
    this.#journal.untake(messageName(wire));
  }

  #read(wire: Wire, isMine: boolean): void {
    if (groupOf(wire) !== "" || wire.about === undefined) {
      return; // nobody may send one
    }
    const { fromDevice: device, stream, ids } = wire.about;
    const about = { device, stream, ids: ids.map(Number) };
    if (isMine) {
      this.#tell("readElsewhere", { peer: wire.destId, ...about });
    } else {
      this.#progress(wire.fromId, about, "read");
    }
  }

  #changed(wire: Wire, peer: string): void {
    const change = changeOf(wire, peer);
    const counts = change === undefined ? undefined : this.#journal.changes.get(change.target);
    if (change !== undefined && counts !== undefined && isSame(counts, change)) {
      this.changed(counts);
    }
  }

  /** Tell what has become of a message; one that waits to be taken is changed, or gone. */
  changed(change: Change): void {
    const { peer, author: sender, device, stream, id } = change.target;
    const named = { peer, sender, device, stream, id };
    const waiting = this.#arrivals.find(targetName(change.target));
    if (change.erasedBy !== "") {
      if (waiting !== undefined) {
        this.#arrivals.drop(waiting);
      }
      this.#journal.untake(targetName(change.target));
      this.#tell("erased", { ...named, by: change.erasedBy });
      return;
    }
    waiting?.amend(change);
    const edited: ClientEvents["edited"] = {
      ...named,
      text: new TextDecoder().decode(change.body),
      stamp: change.stamp,
    };
    this.#tell("edited", edited);
  }

  /** The application has used it. */
  take(message: Message): void {
    this.#arrivals.given.delete(message.name);
    this.#journal.untake(message.name);
  }

  /** Nothing more will be heard of any. */
  close(error: errors.SparrowError): void {
    const numbered = [...this.#sendings.values()].map((each) => each.deref());
    for (const sending of [...numbered, ...this.#drafts.map(([, each]) => each), ...this.doubtful.keys()]) {
      sending?.close(error);
    }
  }
}
