/**
 * The list of conversations.
 *
 * Owns unread counts and the newest line of each, between two looks at the server.
 */

import { computed, signal } from "@preact/signals";

import { lineKey, type Line } from "../model/line.ts";
import { emptyRow, type Row } from "../model/told.ts";
import { nowMs } from "./clock.ts";

/** A message that came stands in the server's list after so long. */
const LISTED_AFTER_MS = 10_000;

export class Rows {
  readonly all = signal<ReadonlyMap<string, Row>>(new Map());
  readonly isLoaded = signal(false);
  /** By their newest lines. */
  readonly sorted = computed(() =>
    [...this.all.value.values()].sort((one, other) => {
      const [first, second] = [placeOf(one), placeOf(other)];
      return first === second ? (one.peer < other.peer ? -1 : 1) : first > second ? -1 : 1;
    }),
  );
  /** Messages that nobody has seen, in conversations that are not muted. */
  readonly unread = computed(() =>
    [...this.all.value.values()].reduce((sum, row) => sum + (isMuted(row) ? 0 : row.unread), 0),
  );

  /** When a line of a conversation came last. */
  readonly #came = new Map<string, number>();
  /** Up to which stamp the list has counted what is unread in a conversation, also if a tab is told of it later. */
  readonly #counted = new Map<string, bigint>();

  get(peer: string): Row | undefined {
    return this.all.value.get(peer);
  }

  /**
   * The server's word, of `askedMs` (of `performance.now()`) at the earliest. What has come, and what was read, meanwhile
   * is newer; a conversation that has just begun may not be in its list yet.
   */
  set(rows: readonly Row[], askedMs = Number.POSITIVE_INFINITY): void {
    const known = this.all.value;
    const told = new Map(rows.map((row) => [row.peer, newer(row, known.get(row.peer))]));
    for (const { peer, newest, unread } of rows) {
      if ((told.get(peer)?.unread ?? 0) >= unread) {
        this.#counted.set(peer, newest?.stamp ?? 0n);
      }
    }
    for (const [peer, at] of this.#came) {
      const row = known.get(peer);
      if (at < askedMs - LISTED_AFTER_MS) {
        this.#came.delete(peer);
      } else if (row !== undefined && !told.has(peer)) {
        told.set(peer, row);
      }
    }
    this.all.value = told;
    this.isLoaded.value = true;
  }

  change(peer: string, change: (row: Row) => Row): void {
    const row = this.all.value.get(peer) ?? emptyRow(peer);
    this.all.value = new Map(this.all.value).set(peer, change(row));
  }

  remove(peer: string): void {
    this.#came.delete(peer);
    const rows = new Map(this.all.value);
    rows.delete(peer);
    this.all.value = rows;
  }

  /** A line has come, or is known better. `isUnread`: it is news to the person. */
  noticed(line: Line, isUnread: boolean): void {
    this.#came.set(line.peer, performance.now());
    const row = this.all.value.get(line.peer);
    const newest = row?.newest;
    const isNewest = newest === undefined || line.stamp === 0n || line.stamp >= newest.stamp;
    const isCounted = line.stamp !== 0n && line.stamp <= (this.#counted.get(line.peer) ?? 0n);
    const isSame = newest !== undefined && lineKey(newest) === lineKey(line);
    if (isNewest || isSame || isUnread) {
      this.change(line.peer, (before) => ({
        ...before,
        newest: isNewest || isSame ? line : before.newest,
        unread: before.unread + (isUnread && !isCounted ? 1 : 0),
      }));
    }
  }

  read(peer: string, stamp: bigint): void {
    const row = this.all.value.get(peer);
    if (row !== undefined && (row.unread > 0 || stamp > row.mark)) {
      this.change(peer, (before) => ({ ...before, unread: 0, mark: stamp > before.mark ? stamp : before.mark }));
    }
  }
}

function newer(told: Row, known: Row | undefined): Row {
  if (known === undefined) {
    return told;
  }
  const isLater = known.newest !== undefined && (told.newest === undefined || known.newest.stamp > told.newest.stamp);
  const newest = isLater ? known.newest : told.newest;
  if (known.mark <= told.mark) {
    // What came while the server was asked is not counted in its answer.
    const unread = isLater && known.mark === told.mark ? Math.max(told.unread, known.unread) : told.unread;
    return { ...told, newest, unread };
  }
  return { ...told, newest, mark: known.mark, unread: known.unread };
}

/** What is not sent yet stands above all. */
function placeOf({ newest }: Row): bigint {
  if (newest === undefined) {
    return 0n;
  }
  return newest.stamp === 0n ? 1n << 70n : newest.stamp;
}

export function isMuted({ mutedUntilMs }: Row): boolean {
  return mutedUntilMs > nowMs();
}
