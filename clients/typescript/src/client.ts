/**
 * The package's front: one device of one user.
 *
 * Owns what an application calls, and its arguments. The work is the engine's.
 */

import { amend, Reads } from "./amending.ts";
import { Conversations, type HistoryLine } from "./api/conversations.ts";
import { Credentials } from "./api/credentials.ts";
import { Files, referenceTo, type UploadOptions } from "./api/files.ts";
import { Groups } from "./api/groups.ts";
import { Logins, withLogins } from "./api/logins.ts";
import { Account, People } from "./api/people.ts";
import { SignedApi } from "./api/signed.ts";
import { Web } from "./api/web.ts";
import { content, fits, named, signal } from "./arguments.ts";
import type { Target } from "./core/changes.ts";
import { Emitter, type Listener } from "./emitter.ts";
import { Engine } from "./engine.ts";
import { ClosedError, MisuseError, UnreachableError } from "./errors.ts";
import type { ClientEvents, Tell } from "./events.ts";
import { Following } from "./following.ts";
import { within } from "./flow.ts";
import { Signal_Kind as SignalKind } from "./gen/sparrow_pb.js";
import { GroupMarks } from "./group_marks.ts";
import { MemoryBackend } from "./journal/backend.ts";
import { DeviceJournal } from "./journal/journal.ts";
import { FILE, type Message, type Owner, Sending, TEXT } from "./messages.ts";
import { encodeFileReference } from "./protocol/files.ts";
import { checkDestId, checkDeviceId, checkUserId } from "./protocol/ids.ts";
import { type ClientOptions, engineOptions, OPEN_TIMEOUT_MS } from "./options.ts";
import { Typing } from "./signals.ts";
import { websocket } from "./transport/websocket.ts";

/** How long closing waits for the answer to a renewal of tokens, in milliseconds. */
const LAST_ANSWER_MS = 2_000;

/** One device of one user: `const alice = await Client.open("alice", { api, password })`. */
export class Client implements Owner {
  /** The user's id. */
  readonly user: string;
  /** Friends, requests, blocks, and others' profiles. */
  readonly people: People;
  /** One's own profile and devices. */
  readonly account: Account;
  /** What is kept of conversations at the server. */
  readonly conversations: Conversations;
  readonly groups: Groups;
  readonly files: Files;
  readonly #web: Web;
  readonly #journal: DeviceJournal;
  readonly #credentials: Credentials;
  readonly #signed: SignedApi;
  readonly #engine: Engine;
  readonly #following: Following;
  readonly #marks: GroupMarks;
  readonly #reads = new Reads();
  readonly #typing = new Typing();
  readonly #emitter = new Emitter();
  #closing: Promise<void> | undefined;

  private constructor(user: string, options: ClientOptions, web: Web, journal: DeviceJournal) {
    this.user = user;
    this.#web = web;
    this.#journal = journal;
    const tell: Tell = (name, event) => this.#emitter.tell(name, event);
    const keep = async (): Promise<void> => this.#engine.run(() => undefined);
    const keeping = {
      user: journal.user,
      device: journal.device,
      value: (key: string) => journal.value(key),
      putValue: (key: string, value: string | undefined) => journal.putValue(key, value),
      isDevice: (name: string, device: string) => journal.isDevice(name, device),
      keyPair: (make: () => Promise<CryptoKeyPair>) => journal.keyPair(make),
      keep,
    };
    this.#credentials = new Credentials(user, options, new Logins(web), keeping);
    const transports = options.transports ?? [websocket];
    this.#engine = new Engine(this, journal, this.#credentials, transports, engineOptions(options), tell);
    const api = new SignedApi(web, this.#credentials);
    this.#signed = api;
    this.people = new People(api);
    this.account = new Account(api, (fresh) => this.#credentials.passwordChanged(fresh));
    this.groups = new Groups(api);
    this.files = new Files(api);
    this.conversations = new Conversations(api, (lines) => this.#paged(lines));
    this.#following = new Following(this.#engine, this.groups, journal, tell);
    this.#marks = new GroupMarks(this.#engine, this.conversations, journal);
    this.#engine.before = () => this.#reads.send(this.#engine.core);
    this.#engine.noticed = (event) => {
      this.#following.noticed(event);
      if (event.case === "loggedIn") {
        this.#marks.tell();
      }
    };
  }

  /**
   * Open the state, connect and log in. It returns when the client is logged in; with `background`, at once.
   *
   * `listen`: sets listeners before anything happens. Throws `ConfigError`, `InvalidIdError`, `StateError`,
   * `WrongPasswordError`, `SessionEndedError` (or one below it), `TooManyDevicesError`, `UnavailableError` and
   * `UntrustedError`.
   */
  static async open(user: string, options: ClientOptions, listen?: (client: Client) => void): Promise<Client> {
    const backend = options.state ?? new MemoryBackend();
    let client: Client;
    try {
      const web = new Web(options.api);
      checkUserId(user);
      if (options.device !== undefined) {
        checkDeviceId(options.device);
      }
      client = new Client(user, options, web, await DeviceJournal.open(backend));
    } catch (error) {
      await backend.close();
      throw error;
    }
    try {
      listen?.(client);
      client.#engine.start();
      if (options.background !== true) {
        await client.#ready(options.openTimeoutMs ?? OPEN_TIMEOUT_MS);
      }
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /**
   * Make an account. Doing so again with the same password is no error. `invitation`: the code of one, where the service
   * asks for it. Throws `AlreadyExistsError`, `InvalidIdError`, `InvitationNeededError`, `WrongCodeError`, `MisuseError`
   * for a password that the service does not take, `UnavailableError` and `UntrustedError`.
   */
  static async register(api: string, user: string, password: string, invitation = ""): Promise<void> {
    await withLogins(api, (logins) => logins.register(checkUserId(user), password, invitation));
  }

  /** Set a new password by a code of those who run the service; all logins end. Throws `WrongCodeError`, and as above. */
  static async resetPassword(api: string, user: string, code: string, fresh: string): Promise<void> {
    await withLogins(api, (logins) => logins.resetPassword(checkUserId(user), code, fresh));
  }

  async #ready(timeoutMs: number): Promise<void> {
    let reason = "no connection yet";
    const stop = this.on("disconnected", (event) => {
      reason = event.reason;
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new UnreachableError(`cannot log in: ${reason}`)), timeoutMs);
    });
    try {
      await Promise.race([this.#engine.ready(), late]);
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /**
   * Send what can be sent, log out, and close. What is not safe by then stays in the state, and is sent by the next
   * client that opens it; without a state that outlives the process it is lost.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /**
   * Log this device out, and close. It stays the user's, with what waits for it, and needs the password to come back.
   * Throws what requests throw; then nothing has ended.
   */
  async logOut(): Promise<void> {
    this.#engine.leaving = true;
    try {
      await this.#signed.send("/v1/me/login", { method: "DELETE" });
    } catch (error) {
      this.#engine.leaving = false;
      throw error;
    }
    await this.#credentials.forget().catch(() => undefined);
    await this.close();
  }

  async #close(): Promise<void> {
    this.#following.close();
    this.#marks.close();
    // A loop that was left is done with its last message.
    for (const message of [...this.#engine.arrivals.given.values()]) {
      this.take(message);
    }
    await this.#engine.settle();
    await this.#engine.leave();
    await within(this.#credentials.atRest(), LAST_ANSWER_MS);
    this.#web.close();
    await this.#engine.stop();
    await this.#journal.close();
  }

  /** Be told of an event; returns what ends that. A listener must not block. */
  on<K extends keyof ClientEvents>(name: K, listener: Listener<K>): () => void {
    return this.#emitter.on(name, listener);
  }

  /** This device's id; empty until it is known. */
  get device(): string {
    return this.#credentials.device;
  }

  /** Whether the client is logged in. */
  get isConnected(): boolean {
    return this.#engine.isOnline;
  }

  /** Try to connect now: there may be a network again. */
  hurry(): void {
    this.#engine.hurry();
  }

  // Signals.

  /**
   * Tell a user, or a group of up to 50, what matters only now: to whoever is online, and may be written to. Nothing is
   * kept and nobody answers. Returns false if it was not even sent: there is no connection now, or the server does not
   * know signals. `kind`: a `SignalKind`, or a number of the application's own from 1000 up; `body`: up to 1,024 bytes.
   * Throws `InvalidIdError`, `MisuseError`, `MessageTooLargeError`, and as `send`.
   */
  async signal(dest: string, kind: number, body: Uint8Array = new Uint8Array()): Promise<boolean> {
    checkDestId(dest);
    return this.#engine.signal(dest, kind, signal(kind, body));
  }

  /** Tell that we are writing. Call it at each key: it is said every three seconds. Returns whether it was said now. */
  async typing(dest: string): Promise<boolean> {
    const now = performance.now();
    if (!this.#typing.isDue(dest, now)) {
      return false;
    }
    this.#typing.told(dest, now); // not once more while it is on its way
    const isSaid = await this.signal(dest, SignalKind.TYPING);
    if (!isSaid) {
      this.#typing.wrote(dest);
    }
    return isSaid;
  }

  /** Tell that we write no more, if somebody may think so; a message says so by itself. Returns whether it was said. */
  async stoppedTyping(dest: string): Promise<boolean> {
    const isBelieved = this.#typing.ended(dest, performance.now());
    return isBelieved && (await this.signal(dest, SignalKind.STOPPED_TYPING));
  }

  // Messages.

  /**
   * Send a message to one user, or to a group. It returns when the message is kept; then it is sent again and again
   * until it is safe, over reconnections and, with a state that lasts, over restarts.
   *
   * `kind`: `TEXT`, `FILE`, or a number of the application's own from 1000 up. Throws `InvalidIdError`,
   * `MessageTooLargeError`, `MisuseError`, `ClosedError`, and the error with which the session has ended.
   */
  async send(dest: string, body: string | Uint8Array, kind: number = TEXT): Promise<Sending> {
    checkDestId(dest);
    const bytes = content(body, kind);
    fits(bytes, dest, this.#engine.maxMessage);
    this.#typing.wrote(dest);
    return this.#submit(() => this.#engine.core.send(dest, kind, bytes));
  }

  async #submit(send: () => ReturnType<Engine["core"]["send"]>): Promise<Sending> {
    const { gate, core, telling } = this.#engine;
    await gate.enter();
    return this.#engine.run(() => {
      let outgoing;
      try {
        outgoing = send();
      } catch (error) {
        gate.leave();
        throw error;
      }
      return telling.sending(outgoing, false, core.loggedIn);
    });
  }

  /** Upload a file, and send it to one user, or to a group. Throws as `Files.upload` and `send`. */
  async sendFile(dest: string, blob: Blob, options: UploadOptions): Promise<Sending> {
    checkDestId(dest);
    const readers = [...new Set([...(options.readers ?? []), ...(dest === this.user ? [] : [dest])])];
    const file = await this.files.upload(blob, { ...options, readers });
    return this.send(dest, encodeFileReference(referenceTo(file)), FILE);
  }

  /**
   * Messages of others, in order, as they come. They end when the client is closed. A message counts as taken when the
   * loop asks for the next one; what was not taken comes again after a restart. Throws the error with which the session
   * has ended.
   */
  async *messages(): AsyncGenerator<Message, void, void> {
    for (;;) {
      const message = await this.#engine.arrivals.get();
      if (message === undefined) {
        return;
      }
      this.#engine.given();
      yield message;
      message.taken();
    }
  }

  /** Messages that are neither SENT nor refused, the oldest of each stream first, also those from before a restart. */
  get unsettled(): readonly Sending[] {
    return this.#engine.core.outgoing().flatMap(({ tag }) => (tag instanceof Sending ? [tag] : []));
  }

  /** Messages that may have been sent already, in their order: none of them goes out until `sendAgain` says so. */
  get doubtful(): readonly Sending[] {
    return [...this.#engine.telling.doubtful.keys()];
  }

  /** Send a doubtful message after all, since a person has said so. Its readers may be shown it twice. */
  async sendAgain(sending: Sending): Promise<void> {
    const { gate, core, telling } = this.#engine;
    await gate.enter();
    await this.#engine.run(() => {
      const outgoing = telling.doubtful.get(sending);
      if (outgoing === undefined || !core.sendAgain(outgoing)) {
        gate.leave();
        return;
      }
      telling.goesOut(sending);
    });
  }

  /** Forget a doubtful message. */
  async giveUp(sending: Sending): Promise<void> {
    const { core, telling } = this.#engine;
    await this.#engine.run(() => {
      const outgoing = telling.doubtful.get(sending);
      if (outgoing !== undefined && core.giveUp(outgoing)) {
        telling.givenUp(sending);
      }
    });
  }

  /**
   * Give a message of our own, which came in a page of history, another text; `known`: its `revision` there. Throws as
   * `send`.
   */
  edit(target: Target, text: string, known = 0): Promise<Sending> {
    return this.change(target, text, known);
  }

  /** Erase a message of our own on all devices of both and at the server. Throws as `send`. */
  erase(target: Target): Promise<Sending> {
    return this.change(target, undefined, 0);
  }

  /** See `Owner`. */
  async change(target: Target, text: string | undefined, revision: number): Promise<Sending> {
    checkDestId(target.peer);
    const about = { ...target, device: target.device || this.device };
    named(about.device, about.stream, [about.id]);
    if (about.author !== this.user) {
      throw new MisuseError("only one's own messages can be edited and erased");
    }
    const { core, maxMessage } = this.#engine;
    return this.#submit(() => amend(core, this.#journal, maxMessage, about, text, revision));
  }

  /**
   * Say that the person has read messages of a user that came in a page of history; `mark`: the highest stamp among
   * them. In a group: all up to `mark`. Throws `ClosedError`, and the error with which the session has ended.
   */
  async markRead(target: Omit<Target, "id">, ids: readonly number[], mark: bigint): Promise<void> {
    checkDestId(target.peer);
    named(target.device, target.stream, ids);
    await this.#engine.run(() => this.#read(target, ids, mark));
  }

  #read(target: Omit<Target, "id">, ids: readonly number[], mark: bigint): void {
    const { peer, author, device, stream } = target;
    if (author === this.user) {
      return;
    }
    if (peer.startsWith("~")) {
      this.#marks.read(peer, mark);
    } else {
      this.#reads.put(author, device, stream, ids, mark);
    }
  }

  /** See `Owner`. */
  async read(message: Message): Promise<void> {
    this.take(message);
    if (!message.isRead) {
      message.isRead = true;
      await this.#engine.run(() => this.#read(message.target, [message.id], message.stamp));
    }
  }

  /** See `Owner`. */
  take(message: Message): void {
    if (this.#engine.error === undefined) {
      this.#engine.telling.take(message);
      this.#engine.changed();
    }
  }

  /** What people call a group, as far as it was heard; empty: not. */
  groupName(group: string): string {
    return this.#journal.called(group);
  }

  async #paged(lines: readonly HistoryLine[]): Promise<void> {
    if (this.#engine.error instanceof ClosedError) {
      throw this.#engine.error;
    }
    await this.#engine.run(() => {
      for (const line of lines) {
        this.#journal.putPaged(line);
      }
      this.#engine.core.paged();
    });
  }
}
