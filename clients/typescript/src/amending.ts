/**
 * What is said of other messages: that they read otherwise from now on, are no more, or were read.
 *
 * Owns which revision an edit has, what is refused at the call, and what is told together.
 */

import { create, equals } from "@bufbuild/protobuf";

import { ABOUT_BYTES, content, fits } from "./arguments.ts";
import type { Target } from "./core/changes.ts";
import type { ClientCore } from "./core/core.ts";
import { MisuseError } from "./errors.ts";
import { type About, AboutSchema, Kind } from "./gen/sparrow_pb.js";
import type { DeviceJournal } from "./journal/journal.ts";
import { TEXT } from "./messages.ts";
import { MAX_ABOUT_IDS, MAX_REVISION } from "./protocol/ids.ts";
import type { Outgoing } from "./protocol/outbound.ts";

const NOTHING = new Uint8Array();

function aboutOf(device: string, stream: bigint, ids: readonly number[]): About {
  return create(AboutSchema, { fromDevice: device, stream, ids: ids.map(BigInt) });
}

/**
 * Give a message of our own another text; undefined: it is no more. `known`: the highest revision that the application
 * knows. Throws `MisuseError`, `MessageTooLargeError`.
 */
export function amend(
  core: ClientCore,
  journal: DeviceJournal,
  maxMessage: number,
  target: Target,
  text: string | undefined,
  known: number,
): Outgoing {
  const about = aboutOf(target.device, target.stream, [target.id]);
  if (text === undefined) {
    return core.send(target.peer, Kind.ERASE, NOTHING, { about });
  }
  const body = content(text, TEXT);
  fits(body, target.peer, maxMessage, ABOUT_BYTES);
  const change = journal.changes.get(target);
  if (change?.erasedBy) {
    throw new MisuseError("it is erased");
  }
  // Above all that are known, those that are on their way included.
  const isPending = (each: Outgoing): boolean =>
    each.kind === Kind.EDIT && each.about !== undefined && equals(AboutSchema, each.about, about);
  const pending = core
    .outgoing()
    .filter(isPending)
    .map((each) => each.revision);
  const revision = Math.max(known, change?.revision ?? 0, ...pending) + 1;
  if (revision > MAX_REVISION) {
    throw new MisuseError("it was edited too often: erase it, and send another");
  }
  return core.send(target.peer, Kind.EDIT, body, { about, revision });
}

/** What was read since the last turn, told together. */
export class Reads {
  readonly #read = new Map<string, { author: string; device: string; stream: bigint; ids: number[]; mark: bigint }>();

  /** These of a stream were read; `mark`: the highest stamp among them, 0 if it is not known. */
  put(author: string, device: string, stream: bigint, ids: readonly number[], mark: bigint): void {
    const key = `${author}/${device}/${stream}`;
    const known = this.#read.get(key) ?? { author, device, stream, ids: [], mark: 0n };
    known.ids.push(...ids);
    known.mark = mark > known.mark ? mark : known.mark;
    this.#read.set(key, known);
  }

  /** Tell it to their authors. */
  send(core: ClientCore): void {
    for (const { author, device, stream, ids, mark } of this.#read.values()) {
      for (let at = 0; at < ids.length; at += MAX_ABOUT_IDS) {
        const about = aboutOf(device, stream, ids.slice(at, at + MAX_ABOUT_IDS));
        core.send(author, Kind.READ, NOTHING, { about, mark });
      }
    }
    this.#read.clear();
  }
}
