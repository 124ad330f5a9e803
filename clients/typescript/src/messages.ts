/**
 * What an application has in hand: a message that came, and one that is being sent.
 *
 * Owns what is public about them. Sends nothing; what they do goes through their `Owner`.
 */

import type { Change, Target } from "./core/changes.ts";
import { peerOf } from "./core/state.ts";
import { groupOf, type MessageName, messageName } from "./core/streams.ts";
import { MisuseError, type SparrowError } from "./errors.ts";
import { Kind, type Message as Wire } from "./gen/sparrow_pb.js";
import { type FileReference, parseFileReference } from "./protocol/files.ts";
import { isGroupId, stampMs } from "./protocol/ids.ts";

export const TEXT: number = Kind.TEXT;
export const FILE: number = Kind.FILE;

/** How far a message has come, for display: a later state implies the earlier ones. */
export type SendingState = "failed" | "queued" | "sent" | "delivered" | "read";
const RANK: Readonly<Record<SendingState, number>> = { failed: -1, queued: 0, sent: 1, delivered: 2, read: 3 };

/** What a message needs of its client. */
export interface Owner {
  readonly user: string;
  /** See `Message.markRead`. */
  read(message: Message): Promise<void>;
  /** See `Message.taken`. */
  take(message: Message): void;
  /** Another text for a message of our own; undefined: it is erased. `device` empty: this one. */
  change(target: Target, text: string | undefined, revision: number): Promise<Sending>;
}

/** A message that came to the application: `body` is what was sent, `text` is the same as text. */
export class Message {
  /** A later one of the same stream was shown before it. */
  readonly late: boolean;
  /** `markRead` was called. */
  isRead = false;
  readonly #owner: Owner;
  readonly #wire: Wire;
  #change: Change | undefined;

  constructor(owner: Owner, wire: Wire, late: boolean, change?: Change) {
    this.#owner = owner;
    this.#wire = wire;
    this.late = late;
    this.amend(change);
  }

  /** Who wrote it. */
  get sender(): string {
    return this.#wire.fromId;
  }

  /** The device that it was written on. */
  get device(): string {
    return this.#wire.fromDevice;
  }

  /** The user, or the group, it was sent to. */
  get dest(): string {
    return this.#wire.destId;
  }

  /** The conversation: the other user, or the group. */
  get peer(): string {
    return peerOf(this.#wire, this.#owner.user);
  }

  /** The group that it was written to; empty: it is between two users. */
  get group(): string {
    return groupOf(this.#wire);
  }

  get kind(): number {
    return this.#wire.kind;
  }

  get stream(): bigint {
    return this.#wire.stream;
  }

  get id(): number {
    return Number(this.#wire.id);
  }

  /** The server's stamp: its place in the conversation (docs/protocol.md, "Stamps"). */
  get stamp(): bigint {
    return this.#wire.stamp;
  }

  /** When the server took it. */
  get date(): Date {
    return new Date(stampMs(this.#wire.stamp));
  }

  /** What it says: as it was edited, if it was. */
  get body(): Uint8Array {
    return this.#change?.body ?? this.#wire.body;
  }

  /** The body as text; what is not UTF-8 in it is replaced. It is a stranger's: show it as text, never as HTML. */
  get text(): string {
    return new TextDecoder().decode(this.body);
  }

  /** Of the edit that counts; 0: it reads as it was written. */
  get revision(): number {
    return this.#change?.revision ?? 0;
  }

  /** The file that a FILE is about. Throws `FileReferenceError` if it cannot be read, `MisuseError` for other kinds. */
  get file(): FileReference {
    if (this.kind !== FILE) {
      throw new MisuseError("it is no FILE");
    }
    return parseFileReference(this.#wire.body);
  }

  /** What names it for ever, as one text; in a group, the group is in it. */
  get name(): MessageName {
    return messageName(this.#wire);
  }

  /** The same as what a change is about. */
  get target(): Target {
    const { peer, sender: author, device, stream, id } = this;
    return { peer, author, device, stream, id };
  }

  /** Say that the person has read it, to its author, and to our other devices. It counts as taken, too. */
  markRead(): Promise<void> {
    return this.#owner.read(this);
  }

  /** Give a message of our own, of another device, another text. Throws `MisuseError` for others'. */
  edit(text: string): Promise<Sending> {
    return this.#changed(text);
  }

  /** Erase a message of our own, of another device, everywhere. Throws `MisuseError` for others'. */
  erase(): Promise<Sending> {
    return this.#changed(undefined);
  }

  #changed(text: string | undefined): Promise<Sending> {
    if (this.sender !== this.#owner.user) {
      return Promise.reject(new MisuseError("only one's own messages can be edited and erased"));
    }
    return this.#owner.change(this.target, text, this.revision);
  }

  /**
   * Say that the application has used the message, so that it is not given out again after a restart. The next step of
   * the `for await` that gave it out says the same.
   */
  taken(): void {
    this.#owner.take(this);
  }

  /** For the client: what has become of it. */
  amend(change: Change | undefined): void {
    if (change?.erasedBy === "" && this.kind === TEXT) {
      this.#change = change;
    }
  }
}

type Milestone = "sent" | "delivered" | "read";

/** A message that is being sent. Await `sent()`, `delivered()` or `read()`, as often as you like. */
export class Sending {
  /** The user, or the group, it is for. */
  readonly dest: string;
  readonly kind: number;
  /** The bytes that are sent. */
  readonly body: Uint8Array;
  /** Names it until it is numbered. */
  readonly draft: number;
  state: SendingState = "queued";
  /** SENT was seen. (DELIVERED may come before it, when the addressee has several devices.) */
  safe = false;
  /** Its stream and id; 0 until it has been numbered, which happens when the client is logged in. */
  stream = 0n;
  id = 0;
  /** The server's stamp, from SENT on; 0 before. */
  stamp = 0n;
  /** It may have been sent already (docs/protocol.md, K5): see `Client.doubtful`. */
  doubtful = false;
  /** Why it waits, if the server has said so. */
  note = "";
  /** Why it failed. */
  error: SparrowError | undefined;
  readonly #owner: Owner;
  #closed: SparrowError | undefined;
  #waiters: (() => void)[] = [];

  constructor(owner: Owner, dest: string, kind: number, body: Uint8Array, draft: number) {
    this.#owner = owner;
    this.dest = dest;
    this.kind = kind;
    this.body = body;
    this.draft = draft;
  }

  /** The body as text. */
  get text(): string {
    return new TextDecoder().decode(this.body);
  }

  /**
   * Returns when the message is safe: every device of the addressee (in a group: of every member) has it, or finds it.
   * Throws `RefusedError` or one below it, `ClosedError`, or the error with which the session has ended.
   */
  sent(): Promise<this> {
    return this.#reached("sent");
  }

  /** Returns when a device of the addressee has it. Throws as `sent`, and in a group `MisuseError`. */
  delivered(): Promise<this> {
    return this.#reached("delivered");
  }

  /** Returns when the addressee has read it. Throws as `sent`, and in a group `MisuseError`. */
  read(): Promise<this> {
    return this.#reached("read");
  }

  /** Whether it has come so far. */
  has(milestone: Milestone): boolean {
    return milestone === "sent" ? this.safe : RANK[this.state] >= RANK[milestone];
  }

  async #reached(milestone: Milestone): Promise<this> {
    if (milestone !== "sent" && isGroupId(this.dest)) {
      throw new MisuseError("in a group nobody is told DELIVERED and READ: wait for SENT, and ask Groups.readBy");
    }
    while (!this.has(milestone)) {
      const error = this.error ?? this.#closed;
      if (error !== undefined) {
        throw error;
      }
      await new Promise<void>((resolve) => void this.#waiters.push(resolve));
    }
    return this;
  }

  /** Give it another text. Throws `MisuseError`, `MessageTooLargeError`, and as `Client.send`. */
  edit(text: string): Promise<Sending> {
    if (this.kind !== TEXT) {
      return Promise.reject(new MisuseError("only a TEXT can be edited: erase it, and send another"));
    }
    return this.#change(text);
  }

  /** Erase it, on all devices of both and at the server. Throws `MisuseError`, and as `Client.send`. */
  erase(): Promise<Sending> {
    return this.#change(undefined);
  }

  #change(text: string | undefined): Promise<Sending> {
    if (this.id === 0) {
      return Promise.reject(new MisuseError("it has not been sent yet: wait until the client is connected"));
    }
    const { user: author } = this.#owner;
    const target = { peer: this.dest, author, device: "", stream: this.stream, id: this.id };
    return this.#owner.change(target, text, 0);
  }

  // For the client.

  /** It has come at least so far; whether that is news. */
  advance(state: SendingState): boolean {
    if (RANK[state] <= RANK[this.state]) {
      return false;
    }
    this.state = state;
    this.wake();
    return true;
  }

  /** It was refused for good. */
  fail(error: SparrowError): void {
    if (this.state === "queued") {
      this.state = "failed";
    }
    this.error = error;
    this.wake();
  }

  /** Nothing more will be heard of it. */
  close(error: SparrowError): void {
    this.#closed = error;
    this.wake();
  }

  /** Let those who wait look again. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      waiter();
    }
  }
}
