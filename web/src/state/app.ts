/**
 * What one tab shows: who is logged in, the connection, conversations, and what is being told to the person.
 *
 * Owns the signals that views read, and what they call. Draws nothing.
 */

import { effect, signal } from "@preact/signals";
import { HintKind } from "sparrow-client";

import type { Line } from "../model/line.ts";
import { type Entering, Tab, whoIsHere, wipe } from "../model/tab.ts";
import { type Connection, emptyRow, type Problem, problemOf, type Told, type Upload } from "../model/told.ts";
import { setOffset } from "./clock.ts";
import { Circle } from "./people.ts";
import { Previews } from "./previews.ts";
import { forgetAnswer } from "./provider.ts";
import { go, route } from "./route.ts";
import { Rows } from "./rows.ts";
import { Toasts } from "./toasts.ts";
import { Timeline } from "./timeline.ts";
import { Unread } from "./unread.ts";

export type Phase =
  | { readonly at: "starting" }
  | { readonly at: "login"; readonly user: string; readonly problem: Problem | undefined }
  | { readonly at: "in" }
  /** Another tab has gone on in this one's place, or the browser keeps nothing any more. */
  | { readonly at: "ended"; readonly problem: Problem };

/** The list is asked for no oftener. */
const ROWS_AGAIN_MS = 1_500;

export class App {
  readonly phase = signal<Phase>({ at: "starting" });
  readonly connection = signal<Connection>({ state: "connecting" });
  readonly typing = signal<ReadonlyMap<string, readonly string[]>>(new Map());
  readonly uploads = signal<ReadonlyMap<string, Upload>>(new Map());
  readonly toasts = new Toasts();
  /** A new message of somebody else, for notifications. */
  readonly news = signal<Line | undefined>(undefined);
  /** A line to be gone to in its conversation. */
  readonly sought = signal<Line | undefined>(undefined);
  readonly rows = new Rows();
  /** Up to where a conversation was read when it was opened. */
  readonly openedMark = signal<bigint>(0n);
  tab: Tab | undefined;
  circle: Circle | undefined;
  previews: Previews | undefined;
  readonly #unread = new Unread();
  readonly #timelines = new Map<string, Timeline>();
  #isRefreshing = false;

  /** Go on with the login that this browser keeps, or ask for one. */
  start(): void {
    effect(() => {
      const { value } = route;
      if (value.at === "chat" && this.phase.value.at === "in") {
        this.#opened(value.peer);
      }
    });
    // A network that is there again, a lid that was opened.
    for (const [target, event] of [
      [window, "online"],
      [document, "visibilitychange"],
    ] as const) {
      target.addEventListener(event, () => this.#hurry());
    }
    const user = whoIsHere();
    if (user === "") {
      this.phase.value = { at: "login", user: "", problem: undefined };
    } else {
      void this.#enter(user, undefined);
      this.phase.value = { at: "in" };
    }
  }

  /** Log in. Returns what is wrong with it. */
  async logIn(entering: Entering): Promise<Problem | undefined> {
    let problem = await this.#enter(entering.user, entering);
    if (problem?.name === "DeviceRemovedError") {
      // What is kept is of no use any more: a new device.
      await wipe(entering.user);
      problem = await this.#enter(entering.user, entering);
    }
    if (problem === undefined) {
      this.phase.value = { at: "in" };
    }
    return problem;
  }

  async #enter(user: string, entering: Entering | undefined): Promise<Problem | undefined> {
    let made: Tab | undefined;
    // One that is no more this page's, or not yet, may still say something.
    const isOurs = (): boolean => made !== undefined && this.tab === made;
    try {
      const tab = new Tab(user, entering, {
        told: (told) => isOurs() && this.#told(told),
        moved: () => isOurs() && this.#moved(),
        over: (problem) => isOurs() && this.#over(problem),
      });
      made = tab;
      if (entering === undefined) {
        this.#use(tab);
      }
      await tab.entered();
      if (entering !== undefined) {
        this.#use(tab);
      } else {
        forgetAnswer();
      }
      // One that leads by itself says so.
      if (entering !== undefined || !tab.isLeading) {
        this.#moved();
      }
      return undefined;
    } catch (error) {
      const problem = problemOf(error);
      if (entering === undefined) {
        this.#over(problem);
      } else {
        await made?.close();
      }
      return problem;
    }
  }

  #use(tab: Tab): void {
    this.tab = tab;
    this.circle = new Circle(tab);
    this.previews = new Previews(tab);
  }

  /** The device is in another tab, or in this one, from now on. */
  #moved(): void {
    void this.try(async (tab) => {
      const told = await tab.chat.connection();
      this.#told(told);
      await this.refreshRows();
      for (const timeline of this.#timelines.values()) {
        void timeline.begin(true);
      }
    });
    this.#refreshCircle();
  }

  #refreshCircle(): void {
    this.circle?.refresh().catch(() => undefined); // with the next connection
  }

  #over(problem: Problem | undefined): void {
    const tab = this.tab;
    this.tab = this.circle = this.previews = undefined;
    this.#timelines.clear();
    this.#unread.clear();
    this.rows.set([]);
    this.typing.value = new Map();
    this.uploads.value = new Map();
    this.news.value = this.sought.value = undefined;
    void tab?.close();
    if (problem === undefined) {
      go({ at: "list" }, true); // whoever logs in next has others to talk to
    }
    if (problem !== undefined && problem.trouble !== "") {
      this.phase.value = { at: "ended", problem };
    } else {
      this.phase.value = { at: "login", user: problem === undefined ? "" : whoIsHere(), problem };
    }
  }

  // What the device tells.

  #told(told: Told): void {
    switch (told.type) {
      case "connection":
        this.#connected(told);
        break;
      case "line":
        this.#line(told.line, told.isNew);
        break;
      case "stale":
        this.#stale(told.peer);
        break;
      case "readElsewhere":
        this.#refreshRowsSoon();
        break;
      case "typing":
        this.typing.value = new Map(this.typing.value).set(told.peer, told.users);
        break;
      case "groupChanged":
        void this.circle?.refreshGroups().catch(() => undefined);
        break;
      case "hint":
        this.#hint(told);
        break;
      case "failed":
        this.say(told.text, true);
        break;
      case "upload":
        this.#upload(told.upload);
        break;
    }
  }

  #connected({ connection, offsetMs }: Extract<Told, { type: "connection" }>): void {
    const was = this.connection.value.state;
    this.connection.value = connection;
    setOffset(offsetMs);
    if (connection.state === "online" && was !== "online") {
      this.#refreshRowsSoon();
      this.#refreshCircle();
      for (const timeline of this.#timelines.values()) {
        if (timeline.isPartial.value) {
          void timeline.begin();
        }
      }
    } else if (connection.state === "ended") {
      this.#over(connection.problem);
    }
  }

  #line(line: Line, isNew: boolean): void {
    const timeline = this.#timelines.get(line.peer);
    const isKnown = timeline?.has(line.name) ?? false;
    const isOthers = line.author !== this.tab?.user;
    if (isNew || isKnown) {
      timeline?.put([line]);
    }
    const isNews = isNew && isOthers && !isKnown && line.erasedBy === "";
    if (isNews) {
      this.#unread.came(line);
    }
    this.rows.noticed(line, isNews && !this.isRead(line.peer));
    if (isNews) {
      this.news.value = line;
      this.circle?.learn([line.author]);
    }
  }

  /** Whether somebody is reading this conversation now. */
  isRead(peer: string): boolean {
    const { value } = route;
    return value.at === "chat" && value.peer === peer && document.visibilityState === "visible" && document.hasFocus();
  }

  #stale(peer: string): void {
    for (const timeline of this.#timelines.values()) {
      if (peer === "" || timeline.peer === peer) {
        void timeline.begin();
      }
    }
    this.#refreshRowsSoon();
  }

  #hint({ kind, user, group }: Extract<Told, { type: "hint" }>): void {
    if (kind === HintKind.HISTORY_CHANGED || kind === HintKind.SKIPPED) {
      this.#stale(group || user);
    } else if (kind === HintKind.GROUP_CHANGED) {
      void this.circle?.refreshGroups().catch(() => undefined);
    } else {
      if (kind === HintKind.PROFILE_CHANGED) {
        this.circle?.forget(user);
      }
      void this.circle?.refreshPeople().catch(() => undefined);
    }
  }

  #upload(upload: Upload): void {
    const uploads = new Map(this.uploads.value);
    if (upload.end === "sent" || upload.end === "cancelled") {
      uploads.delete(upload.upload);
    } else {
      uploads.set(upload.upload, upload);
    }
    this.uploads.value = uploads;
  }

  /** Take an upload that has failed out of sight. */
  forgetUpload(id: string): void {
    const uploads = new Map(this.uploads.value);
    uploads.delete(id);
    this.uploads.value = uploads;
  }

  // The list.

  #refreshRowsSoon(): void {
    if (!this.#isRefreshing) {
      this.#isRefreshing = true;
      setTimeout(() => {
        this.#isRefreshing = false;
        void this.refreshRows();
      }, ROWS_AGAIN_MS);
    }
  }

  async refreshRows(): Promise<void> {
    await this.try(async (tab) => {
      const askedMs = performance.now();
      const rows = await tab.chat.rows();
      this.rows.set(rows, askedMs);
      this.#unread.marked(rows);
      this.circle?.learn(rows.map(({ peer }) => peer));
      for (const { peer, readByOther } of rows) {
        this.#timelines.get(peer)?.readUpTo(readByOther, tab.user);
      }
    });
  }

  // One conversation.

  timeline(peer: string): Timeline {
    let timeline = this.#timelines.get(peer);
    if (timeline === undefined) {
      timeline = new Timeline(peer, async (before) => {
        if (this.tab === undefined) {
          throw new Error("nobody is logged in");
        }
        const page = await this.tab.chat.page(peer, before);
        return before === undefined
          ? { ...page, lines: [...page.lines, ...(await this.tab.chat.unsettled(peer))] }
          : page;
      });
      this.#timelines.set(peer, timeline);
    }
    return timeline;
  }

  #hurry(): void {
    if (this.connection.value.state === "offline" && document.visibilityState === "visible") {
      void this.try((tab) => tab.chat.hurry());
    }
  }

  #opened(peer: string): void {
    const timeline = this.timeline(peer);
    const row = this.rows.all.peek().get(peer) ?? emptyRow(peer);
    this.openedMark.value = row.mark;
    if (!timeline.isBegun) {
      void timeline.begin().then(() => timeline.readUpTo(row.readByOther, this.tab?.user ?? ""));
    }
    this.circle?.learn([peer]);
  }

  /** The person has seen all up to this line. */
  async seen(peer: string, last: Line): Promise<void> {
    this.rows.read(peer, last.stamp);
    const unread = this.#unread.take(peer, this.timeline(peer).lines.peek(), last.stamp);
    if (unread.length > 0) {
      await this.try((tab) => tab.chat.read(peer, unread));
    }
  }

  async send(peer: string, text: string): Promise<boolean> {
    return this.try((tab) => tab.chat.send(peer, text));
  }

  async sendFile(peer: string, blob: Blob, name: string): Promise<void> {
    await this.try((tab) => tab.transfers.send(crypto.randomUUID(), peer, blob, name));
  }

  /** Mute a conversation for so long, on all devices; undefined: for ever, 0: no more. */
  async mute(peer: string, forMs: number | undefined): Promise<void> {
    await this.try(async (tab) => {
      let untilMs = 0;
      if (forMs === 0) {
        await tab.conversations.unmute(peer);
      } else {
        untilMs = await tab.conversations.mute(peer, forMs === undefined ? undefined : Date.now() + forMs);
      }
      this.rows.change(peer, (row) => ({ ...row, mutedUntilMs: untilMs }));
    });
  }

  async hide(peer: string): Promise<void> {
    const isDone = await this.try((tab) => tab.conversations.hide(peer));
    if (isDone) {
      this.rows.remove(peer);
      go({ at: "list" });
    }
  }

  // Telling the person.

  /** Do something that may fail, and say so where it does. Returns whether it was done. */
  async try(work: (tab: Tab) => Promise<unknown>): Promise<boolean> {
    const { tab } = this;
    if (tab === undefined) {
      return false;
    }
    try {
      await work(tab);
      return true;
    } catch (error) {
      if (this.tab === tab) {
        this.say(problemOf(error).text, true);
      }
      return false;
    }
  }

  say(text: string, isError = false): void {
    this.toasts.say(text, isError);
  }

  async logOut(isForced: boolean): Promise<Problem | undefined> {
    try {
      await this.tab?.logOut(isForced);
      return undefined;
    } catch (error) {
      return problemOf(error);
    }
  }
}
