/**
 * Which messages of others a person has not seen yet.
 *
 * Owns what is said to be read, once each. A mark is not enough: what comes late has a stamp below it.
 */

import type { Line } from "../model/line.ts";
import type { Row } from "../model/told.ts";

export class Unread {
  /** By conversation: up to where it was read before this page was there. */
  readonly #before = new Map<string, bigint>();
  /** Names of what has come since. */
  readonly #fresh = new Set<string>();
  readonly #seen = new Set<string>();

  /** A message has come. */
  came(line: Line): void {
    this.#fresh.add(line.name);
  }

  /** What the server says of conversations. */
  marked(rows: readonly Row[]): void {
    for (const { peer, mark } of rows) {
      if (!this.#before.has(peer)) {
        this.#before.set(peer, mark);
      }
    }
  }

  /** Of these lines, what is now seen for the first time, up to a stamp. */
  take(peer: string, lines: readonly Line[], stamp: bigint): Line[] {
    const before = this.#before.get(peer) ?? 0n;
    const found = lines.filter((line) => {
      const isOld = line.stamp <= before && !this.#fresh.has(line.name);
      return (
        line.progress === "" && line.erasedBy === "" && line.stamp <= stamp && !isOld && !this.#seen.has(line.name)
      );
    });
    for (const { name } of found) {
      this.#seen.add(name);
      this.#fresh.delete(name);
    }
    return found;
  }

  clear(): void {
    this.#before.clear();
    this.#fresh.clear();
    this.#seen.clear();
  }
}
