/**
 * What a client tells a user interface, through `Client.on`.
 *
 * Owns these types. Everything in them has been kept before it is told.
 */

import type { GroupChange } from "./api/groups.ts";
import type { SparrowError } from "./errors.ts";
import type { Hint_Kind } from "./gen/sparrow_pb.js";
import type { Message, Sending } from "./messages.ts";

/** Names of messages of one stream. */
export interface Names {
  readonly device: string;
  readonly stream: bigint;
  readonly ids: readonly number[];
}

/** Events by name. */
export interface ClientEvents {
  /** The client is logged in; what has waited begins to come. */
  connected: {
    readonly user: string;
    readonly device: string;
    /** The server's time now, in Unix milliseconds: this machine's clock may be a year off. */
    readonly serverMs: number;
  };
  /** There is no connection, and another try is to come. */
  disconnected: { readonly reason: string; readonly retryInMs: number };
  /** The client has ended: with an error, or because `close` was called. */
  closed: { readonly error: SparrowError | undefined };
  /** A message of this device has come further, has failed, or has been told to wait (`Sending.note`). */
  sending: Sending;
  /**
   * Messages of ours that no `Sending` is left for have come further: sent by another device of ours, or before a
   * restart. Ids that are unknown are to be ignored. `peer`: for "read", who has read; only messages to them are meant.
   */
  progress: Names & { readonly peer: string; readonly state: "delivered" | "read" };
  /** We have written a message on another device. */
  ownMessage: Message;
  /** We have read messages of `peer` on another device. */
  readElsewhere: Names & { readonly peer: string };
  /** A message has another text from now on. It may be one that is not known here, or not yet. */
  edited: Changed & { readonly text: string; readonly stamp: bigint };
  /** A message is no more: show nothing of it. `by`: a user, or "operator". */
  erased: Changed & { readonly by: string };
  /** We have read, on another device, all that was written to us by a user or in a group, up to a stamp. */
  markRaised: { readonly peer: string; readonly stamp: bigint };
  /** A group has changed. It is told before the first message of that version or a later one, where it can be had. */
  groupChanged: { readonly group: string; readonly change: GroupChange };
  /** We are in a group no more. It may be told twice. */
  groupLeft: { readonly group: string };
  /** Messages of others were given up: where the conversation is kept, page it, since they may stand there. */
  missed: { readonly peer: string };
  /** Messages were found in a state that somebody else has used since, who may have sent them: ask a person. */
  doubtful: readonly Sending[];
  /** A message has come that nobody can read, nor say whose it is. It will not come again. */
  unreadable: undefined;
  /**
   * Somebody tells what matters only now. It may come before a message that was written earlier, or never. `Typists`
   * makes of these who is typing. `body` is a stranger's word.
   */
  signal: {
    /** The other user of the conversation, or the group. */
    readonly peer: string;
    readonly sender: string;
    readonly device: string;
    /** A `SignalKind`, or one of applications' own from 1000 on; of others nothing is told. */
    readonly kind: number;
    readonly body: Uint8Array;
  };
  /** The user API knows more of something that has changed. Hints may be lost: look there after `connected`, too. */
  hint: { readonly kind: Hint_Kind; readonly user: string; readonly group: string; readonly version: number };
}

interface Changed {
  /** The other user of the conversation, or the group. */
  readonly peer: string;
  /** The message's author, and the device that it was written on. */
  readonly sender: string;
  readonly device: string;
  readonly stream: bigint;
  readonly id: number;
}

/** Tells one event. */
export type Tell = <K extends keyof ClientEvents>(name: K, event: ClientEvents[K]) => void;
