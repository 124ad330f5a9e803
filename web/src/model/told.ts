/**
 * What the tab that is the device tells all tabs, and what they may ask of it: plain values.
 *
 * Owns these types, and errors as values. Does nothing.
 */

import { type HintKind, SparrowError } from "sparrow-client";

import type { Line } from "./line.ts";

/** What went wrong, for a person. `name`: of the error's class. */
export interface Problem {
  readonly name: string;
  readonly text: string;
  /** Of a StateError. */
  readonly trouble: string;
}

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "online" }
  | { readonly state: "offline"; readonly reason: string }
  | { readonly state: "ended"; readonly problem: Problem };

export type Told =
  | {
      readonly type: "connection";
      readonly connection: Connection;
      /** The server's clock less this machine's, in milliseconds, as far as it is known. */
      readonly offsetMs: number;
    }
  /** A line is new, or is known better. */
  | { readonly type: "line"; readonly line: Line; readonly isNew: boolean }
  /** A conversation is to be looked at again: something is missing here, or was changed at the server. */
  | { readonly type: "stale"; readonly peer: string }
  /** Read on another device, so that what is unread has changed. */
  | { readonly type: "readElsewhere"; readonly peer: string }
  | { readonly type: "typing"; readonly peer: string; readonly users: readonly string[] }
  | { readonly type: "groupChanged"; readonly group: string }
  | { readonly type: "hint"; readonly kind: HintKind; readonly user: string; readonly group: string }
  /** Something that was asked for, such as an edit, has failed behind its answer. */
  | { readonly type: "failed"; readonly text: string }
  | { readonly type: "upload"; readonly upload: Upload };

/** A file on its way up. */
export interface Upload {
  readonly upload: string;
  readonly peer: string;
  readonly name: string;
  readonly done: number;
  readonly total: number;
  /** Empty: it goes on; "sent": there is a message now; or why it has ended. */
  readonly end: string;
}

/** A place in a conversation to page on from. */
export interface Place {
  /** The server's. */
  readonly next: string;
  /** Below this stamp. */
  readonly stamp: bigint;
}

/** Lines, newest first. `next` undefined: there is nothing older. */
export interface LinePage {
  readonly lines: readonly Line[];
  readonly next: Place | undefined;
  /** The server could not be asked: there may be more. */
  readonly isPartial: boolean;
}

/** A conversation in the list. */
export interface Row {
  readonly peer: string;
  readonly newest: Line | undefined;
  readonly mark: bigint;
  readonly readByOther: bigint;
  readonly unread: number;
  /** Unix milliseconds; 0: it is not muted. */
  readonly mutedUntilMs: number;
}

/** A conversation in which nothing was written yet. */
export function emptyRow(peer: string): Row {
  return { peer, newest: undefined, mark: 0n, readByOther: 0n, unread: 0, mutedUntilMs: 0 };
}

/** What a server says to those who run it, for those who use it. */
const TEXTS: Readonly<Record<string, string>> = {
  HistoryNotKeptError: "This service keeps no conversations. What you see here is kept by this browser alone.",
  SearchNotOfferedError: "This service does not offer to search.",
};

const FULL = "there is no room left for this page in the browser: free some, then load it again";

/** An error as a value. */
export function problemOf(error: unknown): Problem {
  if (error instanceof SparrowError) {
    const { trouble = "" } = error as { trouble?: string };
    return { name: error.name, text: TEXTS[error.name] ?? error.message, trouble };
  }
  if (error instanceof DOMException && error.name === "QuotaExceededError") {
    return { name: "StateError", text: FULL, trouble: "full" };
  }
  if (error instanceof Error) {
    return { name: error.name, text: `something went wrong in this page: ${error.message}`, trouble: "" };
  }
  return { name: "Error", text: String(error), trouble: "" };
}

/** A problem as an error: with its class's name, and of the tree's root. */
export class ToldError extends SparrowError {
  readonly trouble: string;

  constructor({ name, text, trouble }: Problem) {
    super(text);
    this.name = name;
    this.trouble = trouble;
  }
}
