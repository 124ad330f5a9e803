/**
 * People and groups, as far as this tab has heard of them: names, friends, requests, blocks, invitations.
 *
 * Owns when they are asked for. Names are their owners' words.
 */

import { signal } from "@preact/signals";
import {
  type Contact,
  type Friend,
  type Invitation,
  isGroupId,
  type MyGroup,
  type OwnProfile,
  type ProfileChange,
} from "sparrow-client";

import type { Tab } from "../model/tab.ts";
import { Happenings } from "./happenings.ts";

/** Profiles that are asked for at once, and remembered. */
const MOST_AT_ONCE = 4;
const MOST_NAMES = 5_000;

/** Of answers that may come in another order than they were asked for: whether this one is newer than what is shown. */
class Turns {
  #asked = 0;
  #shown = 0;

  /** Ask now; what is returned says, once there is the answer, whether it is to be shown. */
  begin(): () => boolean {
    const turn = ++this.#asked;
    return () => {
      const isNewer = turn > this.#shown;
      this.#shown = Math.max(turn, this.#shown);
      return isNewer;
    };
  }
}

export class Circle {
  readonly names = signal<ReadonlyMap<string, string>>(new Map());
  readonly friends = signal<readonly Friend[]>([]);
  readonly requests = signal<readonly Contact[]>([]);
  readonly blocks = signal<readonly Contact[]>([]);
  readonly groups = signal<ReadonlyMap<string, MyGroup>>(new Map());
  readonly invitations = signal<readonly Invitation[]>([]);
  readonly happenings: Happenings;
  readonly me = signal<OwnProfile | undefined>(undefined);
  readonly #peopleTurns = new Turns();
  readonly #groupTurns = new Turns();
  readonly #myTurns = new Turns();
  readonly #tab: Tab;
  readonly #asked = new Set<string>();
  #queue: string[] = [];
  #busy = 0;

  constructor(tab: Tab) {
    this.#tab = tab;
    this.happenings = new Happenings(tab);
  }

  /** Look at all of it. Throws what requests throw. */
  async refresh(): Promise<void> {
    await Promise.all([this.refreshPeople(), this.refreshGroups(), this.refreshMe()]);
  }

  async refreshPeople(): Promise<void> {
    const { people } = this.#tab;
    const isNewer = this.#peopleTurns.begin();
    const [friends, requests, blocks] = await Promise.all([people.friends(), people.requests(), people.blocks()]);
    if (isNewer()) {
      this.friends.value = friends;
      this.requests.value = requests;
      this.blocks.value = blocks;
    }
  }

  async refreshGroups(): Promise<void> {
    const { groups } = this.#tab;
    const isNewer = this.#groupTurns.begin();
    const [mine, invitations] = await Promise.all([groups.list(), groups.invitations()]).catch((error: unknown) => {
      if (error instanceof Error && error.name === "GroupsNotOfferedError") {
        return [[], []] as const;
      }
      throw error;
    });
    if (isNewer()) {
      this.groups.value = new Map(mine.map((group) => [group.group, group]));
      this.invitations.value = invitations;
    }
  }

  async refreshMe(): Promise<void> {
    const isNewer = this.#myTurns.begin();
    const me = await this.#tab.account.profile();
    if (isNewer()) {
      this.me.value = me;
    }
  }

  /** Change one's own profile. Throws what requests throw. */
  async changeMe(change: ProfileChange): Promise<void> {
    const me = await this.#tab.account.change(change);
    // What was asked for before it was changed is old.
    this.#myTurns.begin()();
    this.me.value = me;
    this.heard(me.user, me.display_name);
  }

  /** What to call a user or a group: its name, or its id until that is known. */
  nameOf(peer: string): string {
    if (isGroupId(peer)) {
      return this.groups.value.get(peer)?.name ?? "a group";
    }
    return this.names.value.get(peer) || peer;
  }

  friend(user: string): Friend | undefined {
    return this.friends.value.find((each) => each.user === user);
  }

  isBlocked(user: string): boolean {
    return this.blocks.value.some((each) => each.user === user);
  }

  /** Ask for the names of users who are to be seen. */
  learn(users: Iterable<string>): void {
    for (const user of users) {
      if (!isGroupId(user) && !this.#asked.has(user) && this.#asked.size < MOST_NAMES) {
        this.#asked.add(user);
        this.#queue.push(user);
      }
    }
    while (this.#busy < MOST_AT_ONCE && this.#queue.length > 0) {
      this.#busy++;
      void this.#ask().finally(() => {
        this.#busy--;
      });
    }
  }

  /** A name that was heard by another way. */
  heard(user: string, name: string): void {
    if (name !== (this.names.value.get(user) ?? "")) {
      this.names.value = new Map(this.names.value).set(user, name);
    }
  }

  /** Somebody has another name. */
  forget(user: string): void {
    this.#asked.delete(user);
    this.learn([user]);
  }

  async #ask(): Promise<void> {
    for (let user = this.#queue.shift(); user !== undefined; user = this.#queue.shift()) {
      try {
        const { display_name: name } = await this.#tab.people.profile(user);
        this.heard(user, name);
      } catch {
        // Deleted, or not to be had now: the id has to do.
        this.#asked.delete(user);
      }
    }
  }
}
