/**
 * What a device keeps: the core's `Journal` and a little more, over a `Backend`.
 *
 * Owns what makes one commit. Decides nothing about messages.
 */

import { type Change, changeOf, Changes, type Target, targetKey, targetName } from "../core/changes.ts";
import { type Event, isChange, type Journal, type Kept, peerOf } from "../core/state.ts";
import { type MessageName, messageName, type StreamKey } from "../core/streams.ts";
import { ConfigError, SparrowError } from "../errors.ts";
import type { Message } from "../gen/sparrow_pb.js";
import type { InboundStream } from "../protocol/inbound.ts";
import type { OutboundStream, Outgoing } from "../protocol/outbound.ts";
import type { Backend, Entry, Fields, Store } from "./backend.ts";
import * as records from "./records.ts";

/** Names of paged messages that are remembered. */
const MAX_PAGED = 100_000;
const NO_GROUP: records.GroupState = { version: 0n, mark: 0n, called: "" };
const USER = "user";
const DEVICE = "device";

/** One device's. Changes count at `commit`. */
export class DeviceJournal implements Journal {
  /** What was found when it was opened, for the core. */
  readonly kept: Kept;
  /** Edits and erasures that count. */
  readonly changes: Changes;
  user: string;
  device: string;
  readonly #backend: Backend;
  readonly #values: Map<string, string>;
  readonly #groups: Map<string, records.GroupState>;
  readonly #untaken: Map<MessageName, records.Untaken>;
  readonly #positions: Map<string, number>;
  readonly #paged = new Set<MessageName>();
  #position: number;
  #pending: Entry[] = [];

  private constructor(backend: Backend, state: records.State) {
    this.#backend = backend;
    this.kept = state.kept;
    this.#values = new Map(state.values);
    this.#groups = new Map(state.groups);
    this.#untaken = new Map(state.untaken);
    this.#position = state.position;
    this.#positions = new Map(state.streams);
    this.changes = new Changes(
      (change) => this.#putChange(change),
      (target) => this.#put("changes", targetKey(target), undefined),
    );
    for (const change of state.changes) {
      this.changes.restore(change);
    }
    this.user = this.value(USER) ?? "";
    this.device = this.value(DEVICE) ?? "";
  }

  /** Throws `ConfigError` for what is damaged, and what the backend throws. */
  static async open(backend: Backend): Promise<DeviceJournal> {
    const entries = await backend.load();
    try {
      return new DeviceJournal(backend, records.stateOf(entries));
    } catch (error) {
      if (error instanceof SparrowError) {
        throw error;
      }
      const why = error instanceof Error ? error.message : String(error);
      throw new ConfigError(`the state is damaged (${why}): begin with another one, which makes a new device`, {
        cause: error,
      });
    }
  }

  /** Whether it outlives the process. */
  get durable(): boolean {
    return this.#backend.durable;
  }

  /** See `Backend.keyPair`; undefined where there is none. */
  async keyPair(make: () => Promise<CryptoKeyPair>): Promise<CryptoKeyPair | undefined> {
    return this.#backend.keyPair?.(make);
  }

  /** Whether there is something to commit. */
  get isDirty(): boolean {
    return this.#pending.length > 0;
  }

  #put(store: Store, key: string, fields: Fields | undefined): void {
    this.#pending.push({ store, key, fields });
  }

  /** Keep all that was put, together. Throws `StateError`; then the client has to end. */
  async commit(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    if (pending.length > 0) {
      await this.#backend.commit(pending);
    }
  }

  /** Let go of it. What was not committed is forgotten. */
  async close(): Promise<void> {
    this.#pending = [];
    await this.#backend.close();
  }

  // Small values.

  value(key: string): string | undefined {
    return this.#values.get(key);
  }

  /** Keep a small value; undefined: forget it. */
  putValue(key: string, value: string | undefined): void {
    if (value === undefined) {
      this.#values.delete(key);
    } else {
      this.#values.set(key, value);
    }
    this.#put("meta", key, value === undefined ? undefined : { value });
  }

  /** Whose this is, and which device of theirs. */
  isDevice(user: string, device: string): void {
    if (user !== this.user || device !== this.device) {
      this.user = user;
      this.device = device;
      this.putValue(USER, user);
      this.putValue(DEVICE, device);
    }
  }

  // The core's.

  putSession(session: bigint, isOpen: boolean): void {
    this.putValue(records.SESSION, String(session));
    this.putValue(records.SESSION_OPEN, isOpen ? "1" : "0");
  }

  putOutbound(stream: OutboundStream): void {
    const key = String(stream.number);
    const position = this.#positions.get(key) ?? ++this.#position;
    this.#positions.set(key, position);
    this.#put("outbound", key, records.outboundFields(stream, position));
  }

  dropOutbound(stream: OutboundStream): void {
    this.#positions.delete(String(stream.number));
    this.#put("outbound", String(stream.number), undefined);
  }

  putOutgoing(outgoing: Outgoing): void {
    const fields = records.outgoingFields(outgoing);
    if (outgoing.stream === undefined) {
      this.#put("drafts", String(outgoing.draft), fields);
    } else {
      this.#put("drafts", String(outgoing.draft), undefined);
      this.#put("outgoing", `${outgoing.stream.number}/${outgoing.id}`, fields);
    }
  }

  dropOutgoing(outgoing: Outgoing): void {
    if (outgoing.stream === undefined) {
      this.#put("drafts", String(outgoing.draft), undefined);
    } else {
      this.#put("outgoing", `${outgoing.stream.number}/${outgoing.id}`, undefined);
    }
  }

  putDoubtful(drafts: Iterable<number>): void {
    this.putValue(records.DOUBTFUL, JSON.stringify([...drafts]));
  }

  putInbound(key: StreamKey, stream: InboundStream<Message>): void {
    this.#put("inbound", key, records.inboundFields(stream));
  }

  dropInbound(key: StreamKey): void {
    this.#put("inbound", key, undefined);
  }

  park(message: Message): void {
    this.#put("parked", messageName(message), records.messageFields(message));
  }

  show(message: Message, late: boolean): void {
    this.#unpark(message, late, false);
  }

  hold(message: Message, late: boolean): void {
    this.#unpark(message, late, true);
  }

  #unpark(message: Message, late: boolean, held: boolean): void {
    const name = messageName(message);
    this.#put("parked", name, undefined);
    if (!this.#untaken.has(name)) {
      this.#setUntaken(name, { item: message, late, held, position: ++this.#position });
    }
  }

  #setUntaken(name: MessageName, untaken: records.Untaken): void {
    this.#untaken.set(name, untaken);
    this.#put("untaken", name, records.untakenFields(untaken));
  }

  release(message: Message, show: boolean): void {
    const name = messageName(message);
    const found = this.#untaken.get(name);
    if (found?.held !== true) {
      return;
    }
    if (show) {
      this.#setUntaken(name, { ...found, held: false });
    } else {
      this.untake(name);
    }
  }

  putGroup(group: string, version: bigint): void {
    this.#setGroup(group, { version });
  }

  #setGroup(group: string, some: Partial<records.GroupState>): void {
    const state = { ...(this.#groups.get(group) ?? NO_GROUP), ...some };
    this.#groups.set(group, state);
    this.#put("groups", group, records.groupFields(state));
  }

  paged(name: MessageName): boolean {
    return this.#paged.has(name);
  }

  again(message: Message): void {
    this.#put("parked", messageName(message), undefined);
  }

  note(events: readonly Event[]): boolean {
    let changed = false;
    for (const event of events) {
      changed = this.#note(event) || changed;
    }
    return changed;
  }

  #note(event: Event): boolean {
    if (event.case === "settled" && isChange(event.outgoing.kind)) {
      const message = event.outgoing.message();
      message.fromId = this.user;
      message.fromDevice = this.device;
      message.stamp = event.stamp;
      return this.#change(message, message.destId);
    }
    if (event.case === "shown" && isChange(event.message.kind)) {
      return this.#change(event.message, peerOf(event.message, this.user));
    }
    return false;
  }

  #change(message: Message, peer: string): boolean {
    const change = changeOf(message, peer);
    return change !== undefined && this.changes.apply(change);
  }

  #putChange(change: Change): void {
    this.#put("changes", targetKey(change.target), records.changeFields(change, ++this.#position));
    if (change.erasedBy !== "") {
      this.untake(targetName(change.target));
    }
  }

  // The application's.

  /** Messages that were shown but not taken by the application, in the order of showing. */
  untaken(): { readonly message: Message; readonly late: boolean }[] {
    return [...this.#untaken.values()].filter((each) => !each.held).map(({ item, late }) => ({ message: item, late }));
  }

  /** The application has used this message, or nobody takes it any more. */
  untake(name: MessageName): void {
    if (this.#untaken.delete(name)) {
      this.#put("untaken", name, undefined);
    }
  }

  /** Remember that this message was paged. */
  putPaged(target: Target): void {
    const name = targetName(target);
    this.#paged.delete(name);
    this.#paged.add(name);
    if (this.#paged.size > MAX_PAGED) {
      for (const first of this.#paged) {
        this.#paged.delete(first);
        break;
      }
    }
  }

  /** A group was read up to this stamp, and the server does not know it yet; 0: it does. */
  putMark(group: string, mark: bigint): void {
    this.#setGroup(group, { mark });
  }

  /** Groups, and up to where they were read, that the server does not know of. */
  marks(): Map<string, bigint> {
    return new Map([...this.#groups].filter(([, { mark }]) => mark > 0n).map(([group, { mark }]) => [group, mark]));
  }

  /** People call a group so. */
  putCalled(group: string, called: string): void {
    this.#setGroup(group, { called });
  }

  /** What people call a group, as far as it was heard; empty: not. */
  called(group: string): string {
    return this.#groups.get(group)?.called ?? "";
  }
}
