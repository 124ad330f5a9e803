/**
 * What happened to groups, to be shown between their messages.
 *
 * Owns what is asked for when: the latest changes of a group when it is opened, and what follows them.
 */

import { signal } from "@preact/signals";
import type { GroupChange } from "sparrow-client";

import type { Tab } from "../model/tab.ts";

/** Of a group that is opened, so many of its latest changes are shown. */
const LATEST = 200;

export class Happenings {
  /** By group, oldest first. */
  readonly all = signal<ReadonlyMap<string, readonly GroupChange[]>>(new Map());
  readonly #tab: Tab;
  readonly #asking = new Set<string>();

  constructor(tab: Tab) {
    this.#tab = tab;
  }

  /** Ask for what is not known of a group, and return it; `version`: the one that it has. Throws what requests throw. */
  async refresh(group: string, version: number): Promise<readonly GroupChange[]> {
    const known = this.all.value.get(group) ?? [];
    const since = known.at(-1)?.version ?? Math.max(0, version - LATEST);
    if (since >= version || this.#asking.has(group)) {
      return [];
    }
    this.#asking.add(group);
    try {
      const changes = await this.#since(group, since);
      this.all.value = new Map(this.all.value).set(group, [...known, ...changes]);
      return changes;
    } finally {
      this.#asking.delete(group);
    }
  }

  async #since(group: string, since: number): Promise<GroupChange[]> {
    const found: GroupChange[] = [];
    for (let last = since; ;) {
      const { changes, version } = await this.#tab.groups.changes(group, last);
      found.push(...changes);
      last = changes.at(-1)?.version ?? version;
      if (last >= version) {
        return found;
      }
    }
  }
}

/** A change as a sentence; `nameOf`: what people are called. */
export function sentenceOf(change: GroupChange, nameOf: (user: string) => string): string {
  const actor = change.actor === "" ? "Those who run the service" : nameOf(change.actor);
  const user = change.user === null ? "" : nameOf(change.user);
  const value = change.value ?? "";
  switch (change.kind) {
    case "made":
      return `${actor} began the group`;
    case "renamed":
      return `${actor} named the group \u2068${value}\u2069`;
    case "picture":
      return `${actor} changed the group's picture`;
    case "settings":
      return `${actor} changed the group's settings`;
    case "added":
      return `${actor} added ${user}`;
    case "joined":
      return `${user || actor} joined`;
    case "left":
      return `${user || actor} left`;
    case "removed":
      return `${actor} removed ${user}`;
    case "role":
      return `${actor} made ${user} ${value}`;
    case "closed":
      return `${actor} ended the group`;
    default:
      return `${actor} changed something that this page does not know`;
  }
}
