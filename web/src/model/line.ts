/**
 * A line of a conversation, as the page shows it: plain values, which go from tab to tab and into the browser's store.
 *
 * Owns the form, and how lines are ordered and put together. Knows no store, no client and no element.
 */

import {
  FILE,
  type FileReference,
  type HistoryLine,
  type Message,
  parseFileReference,
  type Sending,
  stampMs,
  type Target,
  targetName,
  TEXT,
} from "sparrow-client";

/** How far a message of our own has come; "" of others'. */
export type Progress = "" | "queued" | "sent" | "delivered" | "read" | "failed" | "doubtful";
const RANK: Readonly<Record<Progress, number>> = {
  "": 0,
  doubtful: 0,
  queued: 0,
  failed: 0,
  sent: 1,
  delivered: 2,
  read: 3,
};

/** One message. */
export interface Line extends Target {
  /** Names it for ever; empty as long as it has no number. */
  readonly name: string;
  /** Of our own, of one run of this device: names it before it has a number, and after; otherwise empty. */
  readonly draft: string;
  /** The server's; 0: it has none yet. */
  readonly stamp: bigint;
  readonly kind: number;
  readonly text: string;
  /** What a FILE is about. `undefined`: it is none, or one that nobody can read. */
  readonly file: FileReference | undefined;
  readonly revision: number;
  /** Unix milliseconds; 0: it was not edited. */
  readonly editedMs: number;
  readonly erasedBy: string;
  readonly progress: Progress;
  /** Why it waits, or has failed. */
  readonly note: string;
}

const NOTHING = { text: "", file: undefined } as const;

function content(kind: number, body: Uint8Array): Pick<Line, "text" | "file"> {
  if (kind === TEXT) {
    return { text: new TextDecoder().decode(body), file: undefined };
  }
  if (kind !== FILE) {
    return NOTHING;
  }
  try {
    return { text: "", file: parseFileReference(body) };
  } catch {
    return NOTHING;
  }
}

/** A line as it is where nothing else is known: sent, if it is ours, and neither edited nor erased. */
function lineOf(target: Target, user: string, kind: number, body: Uint8Array, stamp: bigint): Line {
  return {
    ...target,
    ...content(kind, body),
    name: target.id === 0 ? "" : targetName(target),
    draft: "",
    stamp,
    kind,
    revision: 0,
    editedMs: 0,
    erasedBy: "",
    progress: target.author === user ? "sent" : "",
    note: "",
  };
}

/** Of a message that has come, by another or by another device of ours. */
export function ofMessage({ target, stamp, kind, body, revision }: Message, user: string): Line {
  const editedMs = revision > 0 ? stampMs(stamp) : 0;
  return { ...lineOf(target, user, kind, body, stamp), revision, editedMs };
}

/** Of a line in a page of the server's. */
export function ofHistory(line: HistoryLine, user: string): Line {
  const { kind, body, stamp, revision, editedStamp, erasedBy } = line;
  return { ...lineOf(targetOf(line), user, kind, body, stamp), revision, editedMs: stampMs(editedStamp), erasedBy };
}

/** Of a message that we are sending. */
export function ofSending(sending: Sending, user: string, device: string, run: string): Line {
  const { dest: peer, stream, id, kind, body, stamp } = sending;
  const target = { peer, author: user, device, stream, id };
  const progress = sending.doubtful ? "doubtful" : sending.state;
  const note = sending.error?.message ?? sending.note;
  return { ...lineOf(target, user, kind, body, stamp), draft: draftOf(sending, run), progress, note };
}

/** What names it to the client. */
export function targetOf({ peer, author, device, stream, id }: Target): Target {
  return { peer, author, device, stream, id };
}

/** Names it within a run, in the order of writing. */
export function draftOf({ draft }: Sending, run: string): string {
  return `${run} ${String(draft).padStart(12, "0")}`;
}

/** When the server took it, in Unix milliseconds; 0: not yet. */
export function lineMs({ stamp }: Line): number {
  return stampMs(stamp);
}

/** Names the line as long as it is shown. */
export function lineKey(line: Line): string {
  return line.name || `draft ${line.draft}`;
}

/** Whether `one` stands above `other`: by stamp, and what has none yet behind, as it was written. */
export function isAbove(one: Line, other: Line): boolean {
  if (one.stamp !== other.stamp) {
    return other.stamp === 0n || (one.stamp !== 0n && one.stamp < other.stamp);
  }
  return one.stamp === 0n ? one.draft < other.draft : isNamedBefore(one, other);
}

/** How lines of one place go (docs/protocol.md, "Stamps"). */
function isNamedBefore(one: Line, other: Line): boolean {
  if (one.author !== other.author) {
    return one.author < other.author;
  }
  if (one.device !== other.device) {
    return one.device < other.device;
  }
  return one.stream === other.stream ? one.id < other.id : one.stream < other.stream;
}

/**
 * Lines that go by their stamps, so that none stands above an earlier one of its stream, whatever the servers' clocks
 * did: a line's place is the greater of its stamp and its predecessor's place (docs/protocol.md, "Stamps").
 */
export function placed(lines: readonly Line[]): readonly Line[] {
  const last = new Map<bigint, number>();
  let highest = 0n;
  const isInOrder = lines.every(({ stream, id, stamp }) => {
    const before = last.get(stream) ?? 0;
    const isBehind = stamp === 0n || (stamp >= highest && id > before);
    last.set(stream, id);
    highest = stamp;
    return isBehind;
  });
  return isInOrder ? lines : byPlace(lines);
}

function byPlace(lines: readonly Line[]): Line[] {
  const sent = lines.filter(({ stamp }) => stamp !== 0n);
  const places = new Map<Line, bigint>();
  const highest = new Map<bigint, bigint>();
  for (const line of sent.toSorted((one, other) => one.id - other.id)) {
    const before = highest.get(line.stream) ?? 0n;
    const place = line.stamp > before ? line.stamp : before;
    highest.set(line.stream, place);
    places.set(line, place);
  }
  const placeOf = (line: Line): bigint => places.get(line) ?? 0n;
  const sorted = sent.toSorted((one, other) => {
    const [first, second] = [placeOf(one), placeOf(other)];
    const isFirst = first === second ? isNamedBefore(one, other) : first < second;
    return isFirst ? -1 : 1;
  });
  return [...sorted, ...lines.filter(({ stamp }) => stamp === 0n)];
}

export function further(one: Progress, other: Progress): Progress {
  return RANK[other] > RANK[one] ? other : one;
}

/** Of the stamps of several copies the lowest counts. */
function lowest(one: bigint, other: bigint): bigint {
  return one === 0n || (other !== 0n && other < one) ? other : one;
}

/** What is known of one message, by two ways: whichever text is newer, an end over all, and the furthest progress. */
export function merged(known: Line, told: Line): Line {
  const newer = told.erasedBy !== "" || (known.erasedBy === "" && told.revision >= known.revision) ? told : known;
  const isSettled = told.progress !== "failed" && told.progress !== "doubtful";
  return {
    ...newer,
    name: told.name || known.name,
    draft: known.draft || told.draft,
    stamp: lowest(told.stamp, known.stamp),
    editedMs: newer.editedMs || known.editedMs,
    progress: isSettled ? further(told.progress, known.progress) : told.progress,
    note: told.note,
  };
}

/** The same, without what it said. */
export function erased(line: Line, by: string): Line {
  return { ...line, ...NOTHING, erasedBy: by };
}
