/**
 * One tab: it is the device, or asks the tab that is.
 *
 * Owns who is logged in here, what is opened and deleted in the browser, and how a call finds the device. Shows nothing.
 */

import {
  Client,
  type Conversations,
  type Groups,
  type People,
  type Account,
  SessionEndedError,
  UnavailableError,
} from "sparrow-client";
import { IndexedDbBackend, Leader, persist } from "sparrow-client/browser";

import { Channel } from "./channel.ts";
import { Chat } from "./chat.ts";
import { LineStore } from "./lines.ts";
import { type Connection, type Problem, problemOf, type Told } from "./told.ts";
import { backgroundTimers } from "./timer.ts";
import { Transfers } from "./transfers.ts";

const USER = "sparrow:user";
const PREFIX = "sparrow:";
/** What the client says where the service names no address that a browser can open. */
const NO_WEBSOCKET = "none of the connectors can be reached from here";
const NO_WAY_IN = "This service lets no browsers in: it names no WebSocket address to them (`userapi.connectors`).";

/** What a person gives to log in. */
export interface Entering {
  readonly user: string;
  readonly password: string;
  /** Of the OpenID provider, in place of the password; empty: none. */
  readonly ticket: string;
  /** Make the account. */
  readonly register: boolean;
  /** The code of an invitation; empty: none. */
  readonly invitation: string;
  /** Where there are too many devices, take the place of the one that was silent longest. */
  readonly replaces: boolean;
  readonly label: string;
}

/** Hears what happens to a tab. */
export interface TabListener {
  readonly told: (told: Told) => unknown;
  /** Another tab is the device from now on, or this one: all that is shown is to be looked at again. */
  readonly moved: () => unknown;
  /** The login has ended, in this tab or another. */
  readonly over: (problem: Problem | undefined) => unknown;
}

/** Methods that can be called from any tab. */
type Part<T> = { readonly [K in keyof T as T[K] extends (...args: never[]) => Promise<unknown> ? K : never]: T[K] };

/** What the device answers to, by part. */
interface Parts {
  readonly chat: Chat;
  readonly transfers: Transfers;
  readonly people: People;
  readonly account: Account;
  readonly groups: Groups;
  readonly conversations: Conversations;
  readonly session: { logOut(isForced: boolean): Promise<void> };
}

/** Who is logged in in this browser; empty: nobody. */
export function whoIsHere(): string {
  return localStorage.getItem(USER) ?? "";
}

export class Tab {
  readonly user: string;
  readonly chat: Part<Chat>;
  readonly transfers: Part<Transfers>;
  readonly people: Part<People>;
  readonly account: Part<Account>;
  readonly groups: Part<Groups>;
  readonly conversations: Part<Conversations>;
  readonly #listener: TabListener;
  readonly #channel: Channel;
  readonly #leader: Leader;
  readonly #entering: Entering | undefined;
  readonly #entered: Promise<void>;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #parts: Promise<Parts> | undefined;
  #isOver = false;

  /** `entering`: what a person gave; without it, the login that this browser keeps is gone on with. */
  constructor(user: string, entering: Entering | undefined, listener: TabListener) {
    this.user = user;
    this.#entering = entering;
    this.#listener = listener;
    this.chat = this.#part("chat");
    this.transfers = this.#part("transfers");
    this.people = this.#part("people");
    this.account = this.#part("account");
    this.groups = this.#part("groups");
    this.conversations = this.#part("conversations");
    this.#entered = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#entered.catch(() => undefined);
    this.#channel = new Channel(
      user,
      (told) => listener.told(told),
      () => listener.moved(),
      () => this.#ends(undefined),
    );
    this.#leader = new Leader(databaseOf(user), { onLead: () => this.#lead(), onLost: () => this.#lost() });
    // Another tab may be the device already.
    void this.#channel.ask("chat.connection", []).then(
      () => this.#isIn(),
      () => undefined,
    );
  }

  /** Whether this tab is the device. */
  get isLeading(): boolean {
    return this.#leader.state === "leading";
  }

  /** Returns when somebody is logged in. Throws what logging in throws. */
  entered(): Promise<void> {
    return this.#entered;
  }

  #isIn(): void {
    localStorage.setItem(USER, this.user);
    this.#settle?.resolve();
  }

  // Being the device.

  #lead(): void {
    this.#parts = this.#open();
    this.#parts.then(
      (parts) => {
        this.#channel.lead((path, args) => call(parts, path, args));
        this.#listener.moved();
        this.#isIn();
      },
      (error: unknown) => {
        this.#settle?.reject(error);
        this.#ends(problemOf(error));
      },
    );
  }

  async #open(): Promise<Parts> {
    const asked = this.#entering;
    if (asked?.register === true) {
      await Client.register(location.origin, asked.user, asked.password, asked.invitation);
    }
    await persist();
    const state = await IndexedDbBackend.open(databaseOf(this.user));
    const lines = await LineStore.open(linesOf(this.user));
    const timers = backgroundTimers();
    const options = {
      api: location.origin,
      name: "sparrow-web",
      state,
      timers,
      // A person waits to hear whether the password is right.
      background: asked === undefined,
      ...(asked && { label: asked.label, ...(asked.ticket === "" ? passwordOf(asked) : { ticket: asked.ticket }) }),
      ...(asked?.replaces === true && { replaces: "silent_longest" }),
    };
    let chat: Chat | undefined;
    try {
      let refuse: (error: Error) => void = () => undefined;
      const refused = new Promise<never>((_, reject) => (refuse = reject));
      const opened = Client.open(this.user, options, (opening) => {
        chat = new Chat(opening, lines, (told) => this.#tell(told));
        opening.on("disconnected", ({ reason }) => {
          if (reason.startsWith(NO_WEBSOCKET)) {
            refuse(new UnavailableError(NO_WAY_IN));
          }
        });
      });
      // A login that this browser keeps waits for better times; a person who logs in is told.
      const client = await (asked === undefined ? opened : Promise.race([opened, refused]));
      if (chat === undefined) {
        throw new Error("the client was not opened");
      }
      void chat.run();
      const { people, account, groups, conversations } = client;
      const transfers = new Transfers(client, (told) => this.#tell(told));
      const session = { logOut: (isForced: boolean) => this.#logOut(client, isForced) };
      return { chat, transfers, people, account, groups, conversations, session };
    } catch (error) {
      await chat?.close().catch(() => undefined);
      lines.close();
      timers.close();
      throw error;
    }
  }

  #tell(told: Told): void {
    this.#channel.tell(told);
    this.#listener.told(told);
  }

  #lost(): void {
    this.#channel.follow();
    const parts = this.#parts;
    this.#parts = undefined;
    void parts?.then(({ chat }) => chat.close()).catch(() => undefined);
    // What it had in hand is the other tab's now. Loading the page again makes it one of those that follow.
    this.#listener.over({ name: "StateError", text: "another tab goes on", trouble: "taken_over" });
  }

  async #logOut(client: Client, isForced: boolean): Promise<void> {
    try {
      await client.logOut();
    } catch (error) {
      if (!isForced && !(error instanceof SessionEndedError)) {
        throw error;
      }
      await client.close();
    }
    this.#channel.end();
    this.#ends(undefined);
    await wipe(this.user);
  }

  #ends(problem: Problem | undefined): void {
    if (!this.#isOver) {
      this.#isOver = true;
      this.#listener.over(problem);
    }
  }

  // Calls.

  #part<K extends keyof Parts>(name: K): Part<Parts[K]> {
    const made: unknown = new Proxy(
      {},
      {
        get:
          (_, method) =>
          (...args: unknown[]) =>
            this.#ask(`${name}.${String(method)}`, args),
      },
    );
    return made as Part<Parts[K]>;
  }

  async #ask(path: string, args: readonly unknown[]): Promise<unknown> {
    // As long as nobody is the device, nobody answers.
    await this.#entered;
    if (this.#parts !== undefined) {
      return call(await this.#parts, path, args);
    }
    return this.#channel.ask(path, args);
  }

  /** Log this device out, and forget all in this browser. `isForced`: also where the server cannot be told. */
  async logOut(isForced: boolean): Promise<void> {
    await this.#ask("session.logOut", [isForced]);
  }

  /** Let another tab go on. */
  async close(): Promise<void> {
    this.#isOver = true;
    const parts = this.#parts;
    this.#channel.close();
    await parts?.then(({ chat }) => chat.close()).catch(() => undefined);
    this.#leader.close();
  }
}

function passwordOf({ password }: Entering): { password: string; isPasswordForOnce: true } {
  return { password, isPasswordForOnce: true };
}

function call(parts: Parts, path: string, args: readonly unknown[]): Promise<unknown> {
  const [part = "", method = ""] = path.split(".");
  const owner = Object.hasOwn(parts, part) ? (parts[part as keyof Parts] as unknown as Record<string, unknown>) : {};
  const found = owner[method];
  if (typeof found !== "function") {
    return Promise.reject(new Error(`nothing answers to ${path}: load the page again in all tabs`));
  }
  return (found as (...each: unknown[]) => Promise<unknown>).apply(owner, [...args]);
}

function databaseOf(user: string): string {
  return `sparrow-${user}`;
}

function linesOf(user: string): string {
  return `sparrow-lines-${user}`;
}

/** Forget all that this browser keeps of a user. */
export async function wipe(user: string): Promise<void> {
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(PREFIX)) {
      localStorage.removeItem(key);
    }
  }
  await Promise.all([databaseOf(user), linesOf(user)].map(deleted));
}

function deleted(name: string): Promise<void> {
  return new Promise((resolve) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = request.onerror = request.onblocked = () => resolve();
  });
}

export type { Connection };
