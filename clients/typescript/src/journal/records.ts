/**
 * A core's state as entries, and back.
 *
 * Owns the form of each kind of entry. Pure; throws for what is none, which the journal calls damaged.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import type { Change } from "../core/changes.ts";
import type { Kept, KeptInbound } from "../core/state.ts";
import { type About, AboutSchema, type Message, MessageSchema } from "../gen/sparrow_pb.js";
import type { InboundStream, Shown } from "../protocol/inbound.ts";
import { OutboundStream, Outgoing } from "../protocol/outbound.ts";
import type { Entry, Fields, Store } from "./backend.ts";

/** Keys in `meta`. */
export const SESSION = "session";
export const SESSION_OPEN = "session_open";
export const DOUBTFUL = "doubtful";

/** A message that was shown to nobody yet, as far as the journal knows. */
export interface Untaken extends Shown<Message> {
  /** It waits for the changes of its group. */
  readonly held: boolean;
  /** In the order of showing. */
  readonly position: number;
}

/** Everything of one device. */
export interface State {
  readonly kept: Kept;
  readonly untaken: ReadonlyMap<string, Untaken>;
  readonly changes: readonly Change[];
  readonly values: ReadonlyMap<string, string>;
  readonly groups: ReadonlyMap<string, GroupState>;
  /** The highest position that was given. */
  readonly position: number;
  /** Those of outbound streams, by number. */
  readonly streams: ReadonlyMap<string, number>;
}

/** What is kept of a group. */
export interface GroupState {
  /** Up to which its changes are shown. */
  readonly version: bigint;
  /** It was read up to this stamp, and the server does not know it yet; 0: it does. */
  readonly mark: bigint;
  /** People call it so. */
  readonly called: string;
}

// Out.

export function outboundFields(stream: OutboundStream, position: number): Fields {
  return { position, dest: stream.dest, next: stream.nextId, retired: stream.retired };
}

export function outgoingFields(outgoing: Outgoing): Fields {
  return {
    dest: outgoing.dest,
    kind: outgoing.kind,
    body: outgoing.body,
    about: outgoing.about === undefined ? undefined : toBinary(AboutSchema, outgoing.about),
    revision: outgoing.revision,
    mark: String(outgoing.mark),
    numbered_ms: outgoing.numberedMs,
  };
}

export function inboundFields(stream: InboundStream<Message>): Fields {
  return { next: stream.next, settled: stream.settled, gaps: [...stream.gaps] };
}

export function messageFields(message: Message): Fields {
  return { message: toBinary(MessageSchema, message) };
}

export function untakenFields(untaken: Untaken): Fields {
  const { position, late, held } = untaken;
  return { position, late, held, ...messageFields(untaken.item) };
}

export function groupFields(group: GroupState): Fields {
  return { version: String(group.version), mark: String(group.mark), called: group.called };
}

export function changeFields(change: Change, position: number): Fields {
  const { target, edit } = change;
  return {
    position,
    peer: target.peer,
    author: target.author,
    device: target.device,
    stream: String(target.stream),
    id: target.id,
    revision: change.revision,
    edit_device: edit.device,
    edit_stream: String(edit.stream),
    edit_id: edit.id,
    body: change.body,
    stamp: String(change.stamp),
    erased_by: change.erasedBy,
  };
}

// In.

/** All that entries say. Throws `TypeError` or what protobuf throws for what is none of ours. */
export function stateOf(entries: readonly Entry[]): State {
  const byStore = new Map<Store, Entry[]>();
  for (const entry of entries) {
    const found = byStore.get(entry.store) ?? [];
    byStore.set(entry.store, found);
    found.push(entry);
  }
  const of = (store: Store): [string, Row][] =>
    (byStore.get(store) ?? []).map(({ key, fields }) => [key, new Row(fields ?? {})]);
  const inOrder = (store: Store): [string, Row][] =>
    of(store).sort(([, a], [, b]) => a.number("position") - b.number("position"));

  const values = new Map(of("meta").map(([key, row]) => [key, row.text("value")]));
  const groups = new Map(of("groups").map(([key, row]) => [key, groupOf(row)]));
  const untaken = new Map(inOrder("untaken").map(([key, row]) => [key, untakenOf(row)]));
  const changes = inOrder("changes");
  const outbound = inOrder("outbound");
  const kept: Kept = {
    session: BigInt(values.get(SESSION) ?? "0"),
    sessionOpen: values.get(SESSION_OPEN) === "1",
    outbound: outboundOf(outbound, of("outgoing")),
    drafts: of("drafts")
      .map(([key, row]) => outgoingOf(row, whole(key)))
      .sort((a, b) => a.draft - b.draft),
    doubtful: new Set((JSON.parse(values.get(DOUBTFUL) ?? "[]") as unknown[]).map((draft) => whole(String(draft)))),
    inbound: new Map(of("inbound").map(([key, row]) => [key, inboundOf(row)])),
    parked: of("parked").map(([, row]) => row.message()),
    held: [...untaken.values()].filter((each) => each.held),
    groups: new Map([...groups].map(([group, state]) => [group, state.version])),
  };
  const positions = [...outbound, ...changes].map(([, row]) => row.number("position"));
  for (const each of untaken.values()) {
    positions.push(each.position);
  }
  const position = positions.reduce((a, b) => Math.max(a, b), 0);
  const streams = new Map(outbound.map(([key, row]) => [key, row.number("position")]));
  return { kept, untaken, changes: changes.map(([, row]) => changeOf(row)), values, groups, position, streams };
}

function outboundOf(streams: [string, Row][], messages: [string, Row][]): OutboundStream[] {
  const found = new Map<string, OutboundStream>();
  for (const [key, row] of streams) {
    found.set(key, new OutboundStream(BigInt(key), row.text("dest"), row.number("next"), row.flag("retired")));
  }
  const numbered = messages.map(([key, row]) => {
    const slash = key.indexOf("/");
    const stream = found.get(key.slice(0, slash));
    if (stream === undefined) {
      throw new TypeError("a message without its stream");
    }
    const outgoing = outgoingOf(row, 0);
    outgoing.stream = stream;
    outgoing.id = whole(key.slice(slash + 1));
    return outgoing;
  });
  for (const outgoing of numbered.sort((a, b) => a.id - b.id)) {
    outgoing.stream?.messages.set(outgoing.id, outgoing);
  }
  return [...found.values()];
}

function outgoingOf(row: Row, draft: number): Outgoing {
  const about: About | undefined = row.has("about") ? fromBinary(AboutSchema, row.bytes("about")) : undefined;
  const outgoing = new Outgoing(
    row.text("dest"),
    row.number("kind"),
    row.bytes("body"),
    about === undefined ? undefined : create(AboutSchema, about),
    draft,
    row.number("revision"),
    row.big("mark"),
  );
  outgoing.numberedMs = row.number("numbered_ms");
  return outgoing;
}

function inboundOf(row: Row): KeptInbound {
  return { next: row.number("next"), settled: row.number("settled"), gaps: row.numbers("gaps") };
}

function untakenOf(row: Row): Untaken {
  return { item: row.message(), late: row.flag("late"), held: row.flag("held"), position: row.number("position") };
}

function groupOf(row: Row): GroupState {
  return { version: row.big("version"), mark: row.big("mark"), called: row.text("called") };
}

function changeOf(row: Row): Change {
  return {
    target: {
      peer: row.text("peer"),
      author: row.text("author"),
      device: row.text("device"),
      stream: row.big("stream"),
      id: row.number("id"),
    },
    revision: row.number("revision"),
    edit: { device: row.text("edit_device"), stream: row.big("edit_stream"), id: row.number("edit_id") },
    body: row.bytes("body"),
    stamp: row.big("stamp"),
    erasedBy: row.text("erased_by"),
  };
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new TypeError(`${text} is no number of ours`);
  }
  return value;
}

/** Up to 2^53: what comes next behind the highest id. */
function isWhole(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 2 ** 53;
}

/** Fields of an entry, each of the type that it should have. */
class Row {
  readonly #fields: Fields;

  constructor(fields: Fields) {
    this.#fields = fields;
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined;
  }

  text(name: string): string {
    return this.#typed(name, (value): value is string => typeof value === "string");
  }

  number(name: string): number {
    return this.#typed(name, isWhole);
  }

  flag(name: string): boolean {
    return this.#typed(name, (value): value is boolean => typeof value === "boolean");
  }

  bytes(name: string): Uint8Array {
    return this.#typed(name, (value): value is Uint8Array => value instanceof Uint8Array);
  }

  numbers(name: string): readonly number[] {
    const is = (value: unknown): value is number[] => Array.isArray(value) && value.every(isWhole);
    return this.#typed(name, is);
  }

  big(name: string): bigint {
    return BigInt(this.text(name));
  }

  message(): Message {
    return fromBinary(MessageSchema, this.bytes("message"));
  }

  #typed<T>(name: string, is: (value: unknown) => value is T): T {
    const value = this.#fields[name];
    if (!is(value)) {
      throw new TypeError(`${name} is missing, or is none`);
    }
    return value;
  }
}
