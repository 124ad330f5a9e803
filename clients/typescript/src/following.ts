/**
 * Changes of groups: fetched, and told before the messages that were written behind them (docs/protocol.md, M8).
 *
 * Owns what is asked for when. Which messages wait, and for how long, is `core/holding`'s business.
 */

import type { Groups } from "./api/groups.ts";
import { sleep } from "./api/signed.ts";
import type { Event } from "./core/state.ts";
import type { Engine } from "./engine.ts";
import { GroupsNotOfferedError, NotFoundError, SparrowError } from "./errors.ts";
import type { Tell } from "./events.ts";
import { Hint_Kind } from "./gen/sparrow_pb.js";
import type { DeviceJournal } from "./journal/journal.ts";

/** Of a group that is new on this device, so many of its latest changes are told. */
const FIRST_CHANGES = 50;
/** The changes of a group are asked for no oftener, and again after so long where they could not be had. */
const AGAIN_MS = 1_000;
/** In a row; then with the next login, hint or message. */
const TRIES = 10;

/** Of one client. */
export class Following {
  readonly #engine: Engine;
  readonly #api: Groups;
  readonly #journal: DeviceJournal;
  readonly #tell: Tell;
  /** Group → up to which version. */
  readonly #wanted = new Map<string, number>();
  /** Groups that we were in when a hint of them came. */
  readonly #ours = new Set<string>();
  #list = false;
  /** Group → when its changes were asked for last. */
  readonly #asked = new Map<string, number>();
  #running = false;
  #closed = false;

  constructor(engine: Engine, api: Groups, journal: DeviceJournal, tell: Tell) {
    this.#engine = engine;
    this.#api = api;
    this.#journal = journal;
    this.#tell = tell;
  }

  /** Ask for nothing any more. */
  close(): void {
    this.#closed = true;
  }

  /** See `Engine.noticed`. */
  noticed(event: Event): void {
    if (event.case === "loggedIn") {
      this.#list = event.value.understands.includes("groups");
    } else if (event.case === "groupBehind") {
      this.#want(event.group, Number(event.version));
    } else if (event.case === "hint" && event.value.kind === Hint_Kind.GROUP_CHANGED && event.value.group !== "") {
      const { group } = event.value;
      const version = Number(event.value.version);
      // Without a version it is an invitation that has come or gone.
      if (version > 0) {
        this.#ours.add(group);
      }
      this.#want(group, version || this.#version(group) + 1);
    }
    if ((this.#list || this.#wanted.size > 0) && !this.#running) {
      this.#running = true;
      void this.#run().finally(() => {
        this.#running = false;
      });
    }
  }

  #version(group: string): number {
    return Number(this.#engine.core.groupVersion(group));
  }

  #want(group: string, version: number): void {
    this.#wanted.set(group, Math.max(version, this.#wanted.get(group) ?? 0));
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#closed && (this.#list || this.#wanted.size > 0) && failures < TRIES) {
      try {
        if (this.#list) {
          this.#list = false;
          await this.#lookAtAll();
        }
        for (const [group, version] of [...this.#wanted]) {
          await this.#catchUp(group, version);
          if (this.#wanted.get(group) === version) {
            this.#wanted.delete(group);
          }
        }
        failures = 0;
      } catch (error) {
        if (!(error instanceof SparrowError)) {
          throw error;
        }
        failures++;
        await sleep(AGAIN_MS);
      }
    }
  }

  /** Hints get lost while we are away. */
  async #lookAtAll(): Promise<void> {
    let found;
    try {
      found = await this.#api.list();
    } catch (error) {
      if (error instanceof GroupsNotOfferedError) {
        return;
      }
      this.#list = true;
      throw error;
    }
    for (const { group, version, left_ms: leftMs } of found) {
      const known = this.#version(group);
      if (leftMs === null && version > known) {
        this.#want(group, version);
      } else if (leftMs !== null && known > 0) {
        await this.#left(group);
      }
    }
  }

  async #catchUp(group: string, version: number): Promise<void> {
    if (this.#version(group) >= Math.max(version, 1)) {
      return;
    }
    const waitMs = (this.#asked.get(group) ?? Number.NEGATIVE_INFINITY) + AGAIN_MS - performance.now();
    if (waitMs > 0) {
      await sleep(waitMs);
    }
    this.#asked.set(group, performance.now());
    try {
      const reached = await this.#tellChanges(group);
      await this.#engine.run(() => this.#engine.core.groupAt(group, BigInt(reached)));
    } catch (error) {
      if (!(error instanceof NotFoundError)) {
        throw error;
      }
      await this.#left(group);
    }
  }

  /** Tell all that are not told; returns up to which version. What is told twice after a crash is harmless. */
  async #tellChanges(group: string): Promise<number> {
    let since = this.#version(group);
    if (since === 0) {
      since = Math.max(0, (await this.#api.one(group)).version - FIRST_CHANGES);
    }
    for (;;) {
      const { changes, version } = await this.#api.changes(group, since);
      for (const change of changes) {
        if (change.kind === "made" || change.kind === "renamed") {
          this.#journal.putCalled(group, change.value ?? "");
        }
        this.#tell("groupChanged", { group, change });
        since = Math.max(since, change.version);
        if ((change.kind === "left" || change.kind === "removed") && change.user === this.#journal.user) {
          throw new NotFoundError("left while it was looked at");
        }
      }
      if (changes.length === 0 || since >= version) {
        return Math.max(since, version);
      }
    }
  }

  /** We are not in it (any more); an invitation to it may have come, or gone. */
  async #left(group: string): Promise<void> {
    const known = await this.#engine.run(() => this.#engine.core.groupLeft(group));
    const was = this.#ours.delete(group);
    if (known || was) {
      this.#tell("groupLeft", { group });
    }
  }
}
