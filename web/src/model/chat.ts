/**
 * The device: a client, and the lines that this browser keeps. In one tab at a time.
 *
 * Owns what of the client's events all tabs are told, and the order of keeping and taking: a message is kept here before
 * the client is told that it was taken. Shows nothing.
 */

import {
  type Client,
  type ClientEvents,
  type Conversation,
  FILE,
  HistoryNotKeptError,
  type Names,
  type Sending,
  stampMs,
  type Target,
  targetName,
  TEXT,
  Typists,
  UnavailableError,
} from "sparrow-client";

import { draftOf, erased, type Line, merged, ofHistory, ofMessage, ofSending, targetOf } from "./line.ts";
import type { LineStore } from "./lines.ts";
import { emptyRow, type LinePage, type Place, problemOf, type Row, type Told } from "./told.ts";

/** Lines that are asked for at a time. */
const PAGE = 60;
/** What the server's page does not have after so long, it will not have any more. */
const ARCHIVED_AFTER_MS = 600_000;
const TYPISTS_EVERY_MS = 1_000;
const EVERY_STAMP = 0n;

/** Of one tab, until it is closed. */
export class Chat {
  readonly #client: Client;
  readonly #lines: LineStore;
  readonly #tell: (told: Told) => void;
  readonly #typists = new Typists();
  readonly #timer: ReturnType<typeof setInterval>;
  /** The server's clock less this machine's. */
  #offsetMs = 0;
  /** Drafts are numbered anew by each client. */
  readonly #run: string = crypto.randomUUID();
  /** One after another: what is kept of a line goes by what was kept before. */
  #keeping: Promise<unknown> = Promise.resolve();

  constructor(client: Client, lines: LineStore, tell: (told: Told) => void) {
    this.#client = client;
    this.#lines = lines;
    this.#tell = tell;
    this.#listen();
    this.#timer = setInterval(() => this.#expireTypists(), TYPISTS_EVERY_MS);
  }

  get user(): string {
    return this.#client.user;
  }

  // What the client tells.

  #listen(): void {
    const on = this.#client.on.bind(this.#client);
    on("connected", ({ serverMs }) => {
      this.#offsetMs = serverMs - Date.now();
      this.#connection({ state: "online" });
    });
    on("disconnected", ({ reason }) => this.#connection({ state: "offline", reason }));
    on("closed", ({ error }) => {
      if (error !== undefined) {
        this.#connection({ state: "ended", problem: problemOf(error) });
      }
    });
    on("sending", (sending) => this.#sending(sending));
    on("doubtful", (sendings) => sendings.forEach((each) => this.#sending(each)));
    on("progress", (progress) => this.#progress(progress));
    on("ownMessage", (message) => this.#keepSoon(ofMessage(message, this.user)));
    on("readElsewhere", ({ peer }) => this.#tell({ type: "readElsewhere", peer }));
    on("markRaised", ({ peer, stamp }) => {
      void this.#lines.putMark(peer, stamp);
      this.#tell({ type: "readElsewhere", peer });
    });
    on("edited", (event) => this.#edited(event));
    on("erased", (event) => this.#erased(event));
    on("groupChanged", ({ group }) => this.#tell({ type: "groupChanged", group }));
    on("groupLeft", ({ group }) => this.#tell({ type: "groupChanged", group }));
    on("missed", ({ peer }) => this.#tell({ type: "stale", peer }));
    on("signal", (signal) => {
      if (this.#typists.noticed(signal, performance.now())) {
        this.#typing(signal.peer);
      }
    });
    on("hint", ({ kind, user, group }) => this.#tell({ type: "hint", kind, user, group }));
  }

  #connection(connection: Extract<Told, { type: "connection" }>["connection"]): void {
    this.#tell({ type: "connection", connection, offsetMs: this.#offsetMs });
  }

  #sending(sending: Sending): void {
    if (sending.kind !== TEXT && sending.kind !== FILE && sending.kind < 1000) {
      if (sending.error !== undefined) {
        this.#tell({ type: "failed", text: `this could not be changed: ${sending.error.message}` });
      }
      return;
    }
    this.#keepSoon(ofSending(sending, this.user, this.#client.device, this.#run));
  }

  #progress({ device, stream, ids, state, peer }: ClientEvents["progress"]): void {
    this.#alone(async () => {
      for (const name of this.#ownNames(peer, { device, stream, ids })) {
        const line = await this.#lines.progress(name, state);
        if (line !== undefined) {
          this.#tell({ type: "line", line, isNew: false });
        }
      }
    }).catch(() => undefined);
  }

  #ownNames(peer: string, { device, stream, ids }: Names): string[] {
    return ids.map((id) => targetName({ peer, author: this.user, device, stream, id }));
  }

  #edited({ peer, sender: author, device, stream, id, text, stamp }: ClientEvents["edited"]): void {
    const target = { peer, author, device, stream, id };
    this.#changed(target, (line) => ({ ...line, text, revision: line.revision + 1, editedMs: stampMs(stamp) }));
  }

  #erased({ peer, sender: author, device, stream, id, by }: ClientEvents["erased"]): void {
    this.#changed({ peer, author, device, stream, id }, (line) => erased(line, by));
  }

  #changed(target: Target, change: (line: Line) => Line): void {
    this.#alone(async () => {
      const line = await this.#lines.change(targetName(target), change);
      if (line === undefined) {
        this.#tell({ type: "stale", peer: target.peer });
      } else {
        this.#tell({ type: "line", line, isNew: false });
      }
    }).catch(() => undefined);
  }

  #expireTypists(): void {
    const peers = this.#typists.peers();
    if (this.#typists.expire(performance.now())) {
      peers.forEach((peer) => this.#typing(peer));
    }
  }

  #typing(peer: string): void {
    this.#tell({ type: "typing", peer, users: this.#typists.typing(peer, performance.now()) });
  }

  // Keeping.

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#keeping.then(work, work);
    this.#keeping = done.catch((error: unknown) => this.#tell({ type: "failed", text: problemOf(error).text }));
    return done;
  }

  #keep(line: Line): Promise<void> {
    return this.#alone(async () => {
      await this.#lines.put([line]);
      this.#tell({ type: "line", line, isNew: true });
    });
  }

  /** The same, where nobody waits for it; what goes wrong is told. */
  #keepSoon(line: Line): void {
    this.#keep(line).catch(() => undefined);
  }

  /** Take messages of others as they come, until the client is closed. */
  async run(): Promise<void> {
    try {
      for await (const message of this.#client.messages()) {
        if (this.#typists.stopped(message.peer, message.sender)) {
          this.#typing(message.peer);
        }
        await this.#keep(ofMessage(message, this.user));
      }
    } catch (error) {
      // Also where a message could not be kept: it was not taken, and comes again.
      this.#connection({ state: "ended", problem: problemOf(error) });
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#client.close();
    await this.#keeping;
    this.#lines.close();
  }

  // What tabs ask.

  async send(peer: string, text: string): Promise<void> {
    this.#sending(await this.#client.send(peer, text));
  }

  /** What was not SENT when the page was closed last, too. */
  unsettled(peer: string): Promise<Line[]> {
    const found = this.#client.unsettled
      .filter(({ dest, kind }) => dest === peer && (kind === TEXT || kind === FILE))
      .map((each) => ofSending(each, this.user, this.#client.device, this.#run));
    return Promise.resolve(found);
  }

  /** All conversations, newest first. */
  async rows(): Promise<Row[]> {
    const found = await this.#rows();
    const known = new Map(found.map((row) => [row.peer, row]));
    for (const { dest: peer, kind } of this.#client.unsettled) {
      if (!known.has(peer) && (kind === TEXT || kind === FILE)) {
        known.set(peer, emptyRow(peer));
      }
    }
    return [...known.values()];
  }

  async #rows(): Promise<Row[]> {
    try {
      const found = await this.#client.conversations.list();
      return await Promise.all(found.map((each) => this.#row(each)));
    } catch (error) {
      if (error instanceof HistoryNotKeptError || error instanceof UnavailableError) {
        return this.#ownRows();
      }
      throw error;
    }
  }

  async #row(one: Conversation): Promise<Row> {
    const { peer, newest, mark, readByOther, unread, mutedUntilMs } = one;
    const line = newest && ofHistory(newest, this.user);
    const known = newest?.stamp ?? EVERY_STAMP;
    const own = await this.#lines.range(peer, known, EVERY_STAMP, PAGE);
    // What has just come is counted here until the server's list has it.
    const fresh = own.filter(({ author, stamp }) => author !== this.user && stamp > known && stamp > mark);
    return { peer, newest: own[0] ?? line, mark, readByOther, unread: unread + fresh.length, mutedUntilMs };
  }

  async #ownRows(): Promise<Row[]> {
    const newest = await this.#lines.newest();
    const mutes = await this.#client.conversations.mutes().catch(() => new Map<string, number>());
    return Promise.all(
      newest.map(async (line) => {
        const mark = await this.#lines.mark(line.peer);
        const later = await this.#lines.range(line.peer, mark + 1n, EVERY_STAMP, 100);
        const unread = later.filter(({ author }) => author !== this.user).length;
        return { ...emptyRow(line.peer), newest: line, mark, unread, mutedUntilMs: mutes.get(line.peer) ?? 0 };
      }),
    );
  }

  /** Lines of a conversation, newest first, from the end or from a place back. */
  async page(peer: string, before?: Place): Promise<LinePage> {
    try {
      return await this.#serversPage(peer, before);
    } catch (error) {
      if (error instanceof HistoryNotKeptError || error instanceof UnavailableError) {
        return this.#ownPage(peer, before, error instanceof UnavailableError);
      }
      throw error;
    }
  }

  async #ownPage(peer: string, before: Place | undefined, isPartial: boolean): Promise<LinePage> {
    const lines = await this.#lines.range(peer, EVERY_STAMP, before?.stamp ?? EVERY_STAMP, PAGE);
    const last = lines.at(-1);
    const next = lines.length < PAGE || last === undefined ? undefined : { next: "", stamp: last.stamp };
    return { lines, next, isPartial };
  }

  async #serversPage(peer: string, before: Place | undefined): Promise<LinePage> {
    const { messages, next } = await this.#client.conversations.messages(peer, before?.next ?? "", PAGE);
    const lines = messages.map((each) => ofHistory(each, this.user));
    const oldest = lines.at(-1)?.stamp ?? before?.stamp ?? EVERY_STAMP;
    const page = await this.#alone(async () => {
      const own = await this.#lines.range(
        peer,
        next === undefined ? EVERY_STAMP : oldest,
        before?.stamp ?? EVERY_STAMP,
      );
      const both = await this.#both(lines, own);
      if (before === undefined) {
        await this.#lines.put(both);
        await this.#lines.prune(peer);
      }
      return both;
    });
    return { lines: page, next: next === undefined ? undefined : { next, stamp: oldest }, isPartial: false };
  }

  /** What the server's page and this browser have of one stretch. Of what only one has, the server is right in time. */
  async #both(lines: readonly Line[], own: readonly Line[]): Promise<Line[]> {
    const kept = new Map(own.map((line) => [line.name, line]));
    const both = lines.map((line) => {
      const known = kept.get(line.name);
      kept.delete(line.name);
      return known === undefined ? line : merged({ ...known, ...textOf(line) }, line);
    });
    const since = BigInt(Date.now() + this.#offsetMs - ARCHIVED_AFTER_MS) << 20n;
    const gone = [...kept.values()].filter(({ stamp }) => stamp < since);
    await this.#lines.remove(gone);
    return [...both, ...[...kept.values()].filter(({ stamp }) => stamp >= since)];
  }

  /** Say that the person has read these. */
  async read(peer: string, lines: readonly Line[]): Promise<void> {
    const mark = lines.reduce((most, { stamp }) => (stamp > most ? stamp : most), EVERY_STAMP);
    await this.#lines.putMark(peer, mark);
    const streams = Map.groupBy(lines, ({ author, device, stream }) => `${author} ${device} ${stream}`);
    for (const group of streams.values()) {
      const [first] = group;
      if (first !== undefined && first.author !== this.user) {
        const ids = group.map(({ id }) => id);
        await this.#client.markRead({ ...first, peer }, ids, mark);
      }
    }
  }

  async edit(line: Line, text: string): Promise<void> {
    await this.#client.edit(targetOf(line), text, line.revision);
  }

  async erase(line: Line): Promise<void> {
    await this.#client.erase(targetOf(line));
  }

  /** Send once more what may have been sent already, or forget it. */
  async decide(draft: string, isSentAgain: boolean): Promise<void> {
    const sending = this.#client.doubtful.find((each) => draftOf(each, this.#run) === draft);
    if (sending !== undefined) {
      await (isSentAgain ? this.#client.sendAgain(sending) : this.#client.giveUp(sending));
    }
  }

  async typing(peer: string): Promise<void> {
    await this.#client.typing(peer);
  }

  async stoppedTyping(peer: string): Promise<void> {
    await this.#client.stoppedTyping(peer);
  }

  async search(words: string, peer: string): Promise<Line[]> {
    const found = await this.#client.conversations.search(words, peer);
    return found.map((each) => ofHistory(each, this.user));
  }

  hurry(): Promise<void> {
    this.#client.hurry();
    return Promise.resolve();
  }

  /** What a tab that was just opened has to know. */
  connection(): Promise<Told> {
    const connection = { state: this.#client.isConnected ? "online" : "connecting" } as const;
    return Promise.resolve({
      type: "connection",
      connection,
      offsetMs: this.#offsetMs,
    });
  }
}

function textOf({ text, file, erasedBy, revision }: Line): Pick<Line, "text" | "file" | "erasedBy" | "revision"> {
  return { text, file, erasedBy, revision };
}
