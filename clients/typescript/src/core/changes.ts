/**
 * Edits and erasures of messages: which of them counts, by the name of their target (docs/protocol.md, "Changes").
 *
 * Owns that decision, and the bound of what is remembered. Who keeps it is told what has changed.
 */

import { Kind, type Message } from "../gen/sparrow_pb.js";
import { isGroupId, MAX_ID, MAX_REVISION } from "../protocol/ids.ts";
import { keyOf, type MessageName } from "./streams.ts";

/** Targets that are remembered; who changes most loses their oldest first. */
const MAX_CHANGES = 10_000;
/** Bytes of their texts. */
const MAX_BYTES = 8 * 1024 * 1024;

/** A message, in a conversation. Only there, and only by its author, does a change apply. */
export interface Target {
  /** The other user of the conversation, or the group. */
  readonly peer: string;
  readonly author: string;
  readonly device: string;
  readonly stream: bigint;
  readonly id: number;
}

/** Device, stream and id of an edit; the author is the target's. */
export interface EditName {
  readonly device: string;
  readonly stream: bigint;
  readonly id: number;
}

/** What is true of a target from now on. */
export interface Change {
  readonly target: Target;
  /** Of the edit that counts; 0: it was erased and nothing else is known. */
  readonly revision: number;
  readonly edit: EditName;
  /** The text from now on; empty of what was erased. */
  readonly body: Uint8Array;
  /** Of the edit, or of the erasure. */
  readonly stamp: bigint;
  /** Not empty: it is no more. A user, or "operator". */
  readonly erasedBy: string;
}

const NO_EDIT: EditName = { device: "", stream: 0n, id: 0 };
const NOTHING = new Uint8Array();

/** What names the target for ever, where it stands beside others (`StreamKey`). */
export function targetName(target: Target): MessageName {
  const group = isGroupId(target.peer) ? target.peer : "";
  return `${keyOf(target.author, target.device, group, target.stream)}/${target.id}`;
}

/** The key of a target among changes: the same name in two conversations are two. */
export function targetKey(target: Target): string {
  return `${target.peer} ${targetName(target)}`;
}

/** What an EDIT or ERASE says; undefined if it is neither, or names nothing that there can be. */
export function changeOf(message: Message, peer: string): Change | undefined {
  const { about } = message;
  const [id] = about?.ids ?? [];
  if (about === undefined || id === undefined || about.ids.length !== 1 || about.stream === 0n || id > MAX_ID) {
    return undefined;
  }
  const target = { peer, author: message.fromId, device: about.fromDevice, stream: about.stream, id: Number(id) };
  if (message.kind === Kind.ERASE) {
    const { stamp, fromId } = message;
    return { target, revision: 0, edit: NO_EDIT, body: NOTHING, stamp, erasedBy: fromId };
  }
  if (message.kind !== Kind.EDIT || message.revision < 1 || message.revision > MAX_REVISION) {
    return undefined;
  }
  const edit = { device: message.fromDevice, stream: message.stream, id: Number(message.id) };
  return { target, revision: message.revision, edit, body: message.body, stamp: message.stamp, erasedBy: "" };
}

/** Whether `one` counts where both are known. Erased is final. */
export function isAbove(one: Change, other: Change | undefined): boolean {
  if (other === undefined) {
    return true;
  }
  if (other.erasedBy !== "") {
    return false;
  }
  return one.erasedBy !== "" || compare(one, other) > 0;
}

/** Whether they are the same, whatever their stamps: a repeat may have another. */
export function isSame(one: Change, other: Change): boolean {
  return one.erasedBy === other.erasedBy && compare(one, other) === 0;
}

function compare(one: Change, other: Change): number {
  const a = [one.revision, one.edit.device, one.edit.stream, one.edit.id] as const;
  const b = [other.revision, other.edit.device, other.edit.stream, other.edit.id] as const;
  for (const [at, value] of a.entries()) {
    const against = b[at] as typeof value;
    if (value !== against) {
      return value < against ? -1 : 1;
    }
  }
  return 0;
}

/** The highest change of each target, whether the target is known or not. */
export class Changes {
  readonly #keep: (change: Change) => void;
  readonly #drop: (target: Target) => void;
  readonly #byPeer = new Map<string, Map<string, Change>>();
  readonly #most: number;
  readonly #mostBytes: number;
  #count = 0;
  #bytes = 0;

  /** `keep` and `drop` are told what is to be kept from now on, and what not any more. */
  constructor(
    keep: (change: Change) => void,
    drop: (target: Target) => void,
    most = MAX_CHANGES,
    mostBytes = MAX_BYTES,
  ) {
    this.#keep = keep;
    this.#drop = drop;
    this.#most = most;
    this.#mostBytes = mostBytes;
  }

  get size(): number {
    return this.#count;
  }

  /** Put back what was kept, oldest first. */
  restore(change: Change): void {
    this.#put(change);
  }

  /** Remember a change, unless one that counts more is known; whether it counts. */
  apply(change: Change): boolean {
    if (!isAbove(change, this.get(change.target))) {
      return false;
    }
    this.#put(change);
    this.#keep(change);
    while (this.#count > this.#most || this.#bytes > this.#mostBytes) {
      this.#forgetOne();
    }
    return true;
  }

  /** What counts for this message. */
  get(target: Target): Change | undefined {
    return this.#byPeer.get(target.peer)?.get(targetName(target));
  }

  #put(change: Change): void {
    const { peer } = change.target;
    const known = this.#byPeer.get(peer) ?? new Map<string, Change>();
    this.#byPeer.set(peer, known);
    const name = targetName(change.target);
    const old = known.get(name);
    known.delete(name);
    known.set(name, change);
    this.#count += old === undefined ? 1 : 0;
    this.#bytes += change.body.length - (old?.body.length ?? 0);
  }

  #forgetOne(): void {
    const [peer, known] = [...this.#byPeer].reduce((a, b) => (b[1].size > a[1].size ? b : a));
    // An erasure is worth more than a text that a page tells as well.
    const all = [...known.values()];
    const gone = all.find((change) => change.erasedBy === "") ?? all[0];
    if (gone === undefined) {
      return;
    }
    known.delete(targetName(gone.target));
    this.#bytes -= gone.body.length;
    this.#count--;
    if (known.size === 0) {
      this.#byPeer.delete(peer);
    }
    this.#drop(gone.target);
  }
}
