/**
 * What the client's core keeps, through a `Journal`, and what it tells.
 *
 * Owns the form of both. Decides nothing: which of it changes when is the core's, where it is kept the journal's.
 */

import { type Goodbye, type Hint, Kind, type LoggedIn, type Message, type Signal } from "../gen/sparrow_pb.js";
import type { InboundStream, Shown } from "../protocol/inbound.ts";
import type { OutboundStream, Outgoing } from "../protocol/outbound.ts";
import { groupOf, type MessageName, type StreamKey } from "./streams.ts";

/** Whether it goes only to a server that understands "changes". */
export function isChange(kind: number): boolean {
  return kind === Kind.EDIT || kind === Kind.ERASE;
}

/** Whether a kind says nothing new when it is told twice under two names. */
export function isRepeatable(kind: number): boolean {
  return kind === Kind.READ || isChange(kind);
}

/** The conversation of a message, as `user` sees it: a group, or the other one of two. */
export function peerOf(message: Message, user: string): string {
  return groupOf(message) || (message.fromId === user ? message.destId : message.fromId);
}

/** What has become true. */
export type Event =
  | { readonly case: "loggedIn"; readonly value: LoggedIn }
  | { readonly case: "goodbye"; readonly value: Goodbye }
  | { readonly case: "hint"; readonly value: Hint }
  | { readonly case: "signal"; readonly value: Signal }
  | { readonly case: "unreadable" }
  | { readonly case: "shown"; readonly message: Message; readonly late: boolean }
  /** A message of ours is safe, or delivered, too. */
  | { readonly case: "settled"; readonly outgoing: Outgoing; readonly stamp: bigint; readonly delivered: boolean }
  /** Messages of ours, perhaps of another device of ours. `early`: they are not SENT yet, and nothing is kept of it. */
  | {
      readonly case: "delivered";
      readonly device: string;
      readonly stream: bigint;
      readonly ids: readonly number[];
      readonly early: boolean;
    }
  /** A message of ours has failed; `final`, or it will be sent again. */
  | {
      readonly case: "refused";
      readonly outgoing: Outgoing;
      readonly code: number;
      readonly text: string;
      readonly final: boolean;
    }
  /** Drafts of ours that may have been sent already, by somebody who had the same state. */
  | { readonly case: "doubtful"; readonly outgoing: readonly Outgoing[] }
  /** Messages of others were given up (R5): where the conversation is kept, they may stand in its history. */
  | { readonly case: "skipped"; readonly key: StreamKey; readonly first: number; readonly last: number }
  /** Messages of a group wait for its changes up to this version: show them, then `ClientCore.groupAt`. */
  | { readonly case: "groupBehind"; readonly group: string; readonly version: bigint };

/** An inbound stream as it was kept. */
export interface KeptInbound {
  readonly next: number;
  readonly settled: number;
  readonly gaps: readonly number[];
}

/** Everything that a journal holds for a core. */
export interface Kept {
  readonly session: bigint;
  /** The last session was not seen to end. */
  readonly sessionOpen: boolean;
  /** With their unsettled messages; oldest first. */
  readonly outbound: readonly OutboundStream[];
  /** Oldest first. */
  readonly drafts: readonly Outgoing[];
  /** Of the drafts, those that may have been sent already. */
  readonly doubtful: ReadonlySet<number>;
  readonly inbound: ReadonlyMap<StreamKey, KeptInbound>;
  readonly parked: readonly Message[];
  /** Messages of groups that wait for changes, in the order in which they came. */
  readonly held: readonly Shown<Message>[];
  /** Up to which version the changes of a group are shown. */
  readonly groups: ReadonlyMap<string, bigint>;
}

/**
 * Where a device keeps its state. Changes count together, when the owner of the core commits them, between the core's
 * `prepare` and its `finish`.
 */
export interface Journal {
  /** Remember the device's last session, and whether it may still give ids. */
  putSession(session: bigint, isOpen: boolean): void;
  putOutbound(stream: OutboundStream): void;
  dropOutbound(stream: OutboundStream): void;
  /** Keep a message of ours; once numbered, it replaces its draft. */
  putOutgoing(outgoing: Outgoing): void;
  /** Forget a message of ours, or a draft. */
  dropOutgoing(outgoing: Outgoing): void;
  /** Which drafts may have been sent already; all of them. */
  putDoubtful(drafts: Iterable<number>): void;
  putInbound(key: StreamKey, stream: InboundStream<Message>): void;
  dropInbound(key: StreamKey): void;
  park(message: Message): void;
  /** Keep a message that is to be shown; it may have been parked. */
  show(message: Message, late: boolean): void;
  /** Keep a message of a group that is to be shown behind changes; it may have been parked. */
  hold(message: Message, late: boolean): void;
  /** It is shown now, or (being erased, or here from a page) never. */
  release(message: Message, show: boolean): void;
  /** Up to which version the changes of a group are shown. */
  putGroup(group: string, version: bigint): void;
  /** Whether this message is here from a page of its conversation's history. */
  paged(name: MessageName): boolean;
  /** What was paged has come as a message, too; it may have been parked. */
  again(message: Message): void;
  /** Keep what follows from what is about to be told; whether that changes anything. */
  note(events: readonly Event[]): boolean;
}
