/**
 * What stands in a timeline: lines, and what is between them: days, what happened to a group, where the new ones begin.
 *
 * Owns their order. It goes through all lines at each change, so it makes nothing that costs.
 */

import type { GroupChange } from "sparrow-client";

import { lineKey, lineMs, type Line } from "../model/line.ts";
import { nowMs } from "./clock.ts";

export type Item =
  | { readonly type: "begin"; readonly key: string }
  | { readonly type: "day"; readonly key: string; readonly ms: number }
  | { readonly type: "new"; readonly key: string }
  | { readonly type: "happened"; readonly key: string; readonly change: GroupChange }
  | { readonly type: "line"; readonly key: string; readonly line: Line; readonly isFollowing: boolean };

/** Messages of one person within so many milliseconds stand together. */
const TOGETHER_MS = 300_000;

/** Where a day ends, by this machine's clock and zone. Days have 23 to 25 hours. */
class Days {
  #from = 0;
  #until = 0;

  /** Whether this is of another day than what was asked last. */
  turns(ms: number): boolean {
    if (ms >= this.#from && ms < this.#until) {
      return false;
    }
    const day = new Date(ms);
    this.#from = day.setHours(0, 0, 0, 0);
    this.#until = day.setDate(day.getDate() + 1);
    return true;
  }

  get key(): string {
    return `day ${this.#from}`;
  }
}

interface Shown {
  readonly lines: readonly Line[];
  /** Of a group, oldest first; shown as far back as lines are. */
  readonly changes: readonly GroupChange[];
  /** Up to which stamp all was read when it was opened; 0: it is not known. */
  readonly mark: bigint;
  readonly user: string;
  /** There is more above. */
  readonly hasOlder: boolean;
}

/** All that is to be shown, in order, each with a key of its own. */
export function itemsOf({ lines, changes, mark, user, hasOlder }: Shown): Item[] {
  const items: Item[] = hasOlder || lines.length === 0 ? [] : [{ type: "begin", key: "begin" }];
  const days = new Days();
  const firstMs = lines[0] === undefined ? 0 : lineMs(lines[0]);
  let happened = hasOlder ? changes.findIndex(({ ms }) => ms >= firstMs) : 0;
  let before: Line | undefined;
  let isNew = false;
  const turn = (ms: number): void => {
    if (days.turns(ms)) {
      items.push({ type: "day", key: days.key, ms });
      before = undefined;
    }
  };
  const happenUntil = (ms: number): void => {
    for (let next = changes[happened]; next !== undefined && next.ms <= ms; next = changes[++happened]) {
      turn(next.ms);
      items.push({ type: "happened", key: `change ${next.version}`, change: next });
      before = undefined;
    }
  };
  for (const line of lines) {
    const ms = lineMs(line) || nowMs();
    happenUntil(ms);
    turn(ms);
    if (!isNew && mark !== 0n && line.stamp > mark && line.author !== user) {
      items.push({ type: "new", key: "new" });
      isNew = true;
      before = undefined;
    }
    const isFollowing = before?.author === line.author && ms - (lineMs(before) || ms) < TOGETHER_MS;
    items.push({ type: "line", key: lineKey(line), line, isFollowing });
    before = line;
  }
  happenUntil(Number.POSITIVE_INFINITY);
  return items;
}
