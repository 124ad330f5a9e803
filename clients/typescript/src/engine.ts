/**
 * A client at work: core, connection and application, turn by turn.
 *
 * Owns the turn: what happened is given to the core, what the core says is kept, and then goes to the socket and to the
 * application. While it is being kept nothing else reaches the core: it waits for the next turn.
 */

import type { Credentials } from "./api/credentials.ts";
import { ClientCore } from "./core/core.ts";
import type { Event } from "./core/state.ts";
import { type Connection, Dialer, type DialerOwner } from "./dialer.ts";
import * as errors from "./errors.ts";
import type { Tell } from "./events.ts";
import { Arrivals, Gate, wakeAll, within } from "./flow.ts";
import type { LoggedIn } from "./gen/sparrow_pb.js";
import type { DeviceJournal } from "./journal/journal.ts";
import type { Owner } from "./messages.ts";
import type { EngineOptions } from "./options.ts";
import { Telling } from "./telling.ts";
import type { Connector } from "./transport/transport.ts";
import { Alarm, Watch } from "./watch.ts";

const MAX_MESSAGE = "max_message";
const DEFAULT_MAX_MESSAGE = 64_512;
/** Timers do not fire for each message's time-out alone. */
const LEAST_SLEEP_MS = 50;

interface Work {
  readonly work: () => void;
  /** Told when what it did is kept, or why it is not; undefined: nobody waits for it, and that it fails is a bug. */
  readonly done: ((error?: unknown) => void) | undefined;
}

/** Runs from `start` to `stop`. It ends by itself when the session ends for good: then `error` says why. */
export class Engine implements DialerOwner {
  readonly core: ClientCore;
  readonly arrivals: Arrivals;
  readonly telling: Telling;
  readonly gate: Gate;
  /** The longest message, encoded, that the server takes. */
  maxMessage: number;
  error: errors.SparrowError | undefined;
  /** The user API was asked to end the login: that the session ends is no error. */
  leaving = false;
  /** Told of what has happened, for groups. */
  noticed: (event: Event) => void = () => undefined;
  /** Called at the beginning of each turn. */
  before: () => void = () => undefined;
  readonly #owner: Owner;
  readonly #journal: DeviceJournal;
  readonly #credentials: Credentials;
  readonly #options: EngineOptions;
  readonly #tell: Tell;
  readonly #dialer: Dialer;
  readonly #watch: Watch;
  #connection: Connection | undefined;
  #queue: Work[] = [];
  #turning = false;
  readonly #alarm: Alarm;
  #running: Promise<void> = Promise.resolve();
  #ready: (() => void)[] = [];
  #quiet: (() => void)[] = [];
  #beenIn = false;

  constructor(
    owner: Owner,
    journal: DeviceJournal,
    credentials: Credentials,
    connectors: readonly Connector[],
    options: EngineOptions,
    tell: Tell,
  ) {
    this.#owner = owner;
    this.#journal = journal;
    this.#credentials = credentials;
    this.#options = options;
    this.#tell = tell;
    this.core = new ClientCore(journal, journal.kept, random64, true);
    this.core.fresh = options.fresh;
    this.core.signals = true;
    this.arrivals = new Arrivals(options.maxWaiting);
    this.telling = new Telling(owner, this.arrivals, journal, tell, () => this.#settledOne());
    this.telling.restore(this.core.outgoing(), this.core.doubtful);
    this.gate = new Gate(options.maxUnsettled, this.telling.unsettled);
    this.maxMessage = Number(journal.value(MAX_MESSAGE)) || DEFAULT_MAX_MESSAGE;
    this.#dialer = new Dialer(this, credentials, connectors, options);
    this.#alarm = new Alarm(options.timers, () => this.#onTimer());
    this.#watch = new Watch(options.timing);
  }

  /** Tell again what was not taken, and connect. */
  start(): void {
    this.telling.repeat();
    this.#running = this.#dialer.run().catch((error: unknown) => this.end(known(error)));
  }

  /** Whether a session is live. */
  get isOnline(): boolean {
    return this.error === undefined && this.core.loggedIn;
  }

  /** Returns at the first login. Throws what ends the session before. */
  async ready(): Promise<void> {
    if (this.error === undefined && !this.#beenIn) {
      await new Promise<void>((resolve) => void this.#ready.push(resolve));
    }
    if (this.error !== undefined) {
      throw this.error;
    }
  }

  /** Try to connect now, if there is no connection. */
  hurry(): void {
    this.#dialer.hurry();
  }

  // The turn.

  /** Do this in the next turn; returns when what it did is kept. Throws what it throws, or why the client has ended. */
  run<T>(work: () => T): Promise<T> {
    if (this.error !== undefined) {
      return Promise.reject(this.error);
    }
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let result: T;
    const done = (error?: unknown): void => {
      if (error === undefined) {
        resolve(result);
      } else {
        reject(error);
      }
    };
    this.#queue.push({ work: () => void (result = work()), done });
    this.#schedule();
    return promise;
  }

  /** Tell what matters only now; whether it could leave. What cannot would come when it is not true any more. */
  signal(dest: string, kind: number, body: Uint8Array): Promise<boolean> {
    return this.run(() => this.#connection?.transport?.congested === false && this.core.signal(dest, kind, body));
  }

  /** Something is to be kept, or looked at, with the next turn. */
  changed(): void {
    this.#post(() => undefined);
  }

  #post(work: () => void): void {
    this.#queue.push({ work, done: undefined });
    this.#schedule();
  }

  #schedule(): void {
    if (!this.#turning && this.error === undefined) {
      this.#turning = true;
      queueMicrotask(() => void this.#turns());
    }
  }

  async #turns(): Promise<void> {
    try {
      do {
        await this.#turn();
      } while (this.#queue.length > 0 && this.error === undefined);
    } catch (error) {
      this.end(known(error));
    } finally {
      this.#turning = false;
    }
    this.#arm();
  }

  async #turn(): Promise<void> {
    const queue = this.#queue;
    this.#queue = [];
    this.#time();
    const done: Work[] = [];
    for (const each of queue) {
      try {
        each.work();
        done.push(each);
      } catch (error) {
        if (each.done === undefined) {
          throw error;
        }
        each.done(error);
      }
    }
    try {
      this.before();
      if (this.core.prepare() || this.#journal.isDirty) {
        await this.#journal.commit();
      }
      const { data, events } = this.core.finish();
      for (const event of events) {
        this.#happened(event);
      }
      this.#write(data);
    } catch (error) {
      for (const each of done) {
        each.done?.(error);
      }
      throw error;
    }
    for (const each of done) {
      each.done?.();
    }
    this.#holdAcks();
  }

  #time(): void {
    // While nothing leaves, repeating would only make the queue longer: time stands still for the core.
    if (this.#connection?.transport?.congested !== true) {
      this.core.time(performance.now());
    }
  }

  #happened(event: Event): void {
    if (event.case === "loggedIn") {
      this.#loggedIn(event.value);
    } else if (event.case === "goodbye") {
      if (this.#connection !== undefined) {
        this.#connection.goodbye = event.value;
      }
      return;
    } else {
      this.telling.happened(event);
    }
    this.noticed(event);
  }

  #loggedIn(frame: LoggedIn): void {
    const { user } = this.#owner;
    const { device } = this.#credentials;
    if (frame.userId !== user || (device !== "" && frame.deviceId !== device)) {
      throw new errors.MisuseError(
        `the token is ${frame.userId}'s, device ${frame.deviceId}; this client is ${user}'s, device ${device}`,
      );
    }
    this.#credentials.keepDevice(frame.deviceId);
    if (this.#connection !== undefined) {
      this.#connection.isLoggedIn = true;
    }
    this.telling.numbered();
    if (frame.maxMessageBytes > 0 && frame.maxMessageBytes !== this.maxMessage) {
      this.maxMessage = frame.maxMessageBytes;
      this.#journal.putValue(MAX_MESSAGE, String(this.maxMessage));
    }
    this.#beenIn = true;
    wakeAll(this.#ready);
    const { userId, deviceId, serverTimeMs } = frame;
    this.#tell("connected", { user: userId, device: deviceId, serverMs: Number(serverTimeMs) });
  }

  #settledOne(): void {
    this.gate.leave();
    if (this.telling.unsettled === 0) {
      wakeAll(this.#quiet);
    }
  }

  #write(data: Uint8Array): void {
    const connection = this.#connection;
    if (connection === undefined) {
      return;
    }
    if (data.length > 0) {
      this.#watch.said = performance.now();
      connection.transport?.write(data);
    }
    if (this.core.broken !== undefined) {
      connection.abort(`the server broke the protocol: ${this.core.broken.message}`);
    }
  }

  #holdAcks(): void {
    if (this.arrivals.full !== this.core.holdAcks) {
      this.core.holdAcks = this.arrivals.full;
      this.changed();
    }
  }

  /** The application has asked for a message: there may be room for more. */
  given(): void {
    if (this.core.holdAcks && !this.arrivals.full) {
      this.changed();
    }
  }

  // The connection.

  connected(connection: Connection, token: string): void {
    this.#connection = connection;
    this.#watch.begin(performance.now());
    this.#post(() => this.core.connected(token, this.#options.name));
  }

  received(connection: Connection, data: Uint8Array): void {
    if (connection === this.#connection) {
      this.#watch.heard = performance.now();
      this.#post(() => this.core.data(data));
    }
  }

  async lost(connection: Connection): Promise<void> {
    if (this.error === undefined && connection === this.#connection) {
      await this.run(() => undefined); // what came last
      await this.run(() => {
        this.core.disconnected();
        this.#connection = undefined;
      });
    }
  }

  waits(reason: string, retryInMs: number): void {
    this.#tell("disconnected", { reason, retryInMs });
  }

  // Time.

  /** Look again when the core, a ping or a time-out is due. */
  #arm(): void {
    if (this.error !== undefined) {
      return;
    }
    const now = performance.now();
    const due = this.core.nextWake();
    const dues = due === undefined ? [] : [Math.max(due, now + LEAST_SLEEP_MS)];
    const connection = this.#connection;
    if (connection !== undefined) {
      dues.push(this.#watch.next(connection.isLoggedIn, this.core.heartbeatMs));
    }
    this.#alarm.set(dues, now);
  }

  #onTimer(): void {
    const connection = this.#connection;
    const now = performance.now();
    if (connection !== undefined && this.#watch.isSilent(connection.isLoggedIn, now)) {
      connection.abort("the server does not answer");
    } else if (connection !== undefined && this.#watch.wantsPing(connection.isLoggedIn, this.core.heartbeatMs, now)) {
      this.#post(() => this.core.ping());
    }
    this.changed();
  }

  // The end.

  /** Wait until all of ours is safe, but not for long, and not for a server that is away if all is kept. */
  async settle(): Promise<void> {
    const isOnline = this.#connection?.isLoggedIn === true;
    if (this.telling.unsettled > 0 && this.error === undefined && (isOnline || !this.#journal.durable)) {
      const quiet = new Promise<void>((resolve) => void this.#quiet.push(resolve));
      await within(quiet, this.#options.closeTimeoutMs);
    }
  }

  /** Log out. */
  async leave(): Promise<void> {
    this.#dialer.stop();
    const connection = this.#connection;
    if (connection?.isLoggedIn === true && this.error === undefined) {
      this.#post(() => this.core.logout());
      await within(connection.closed, this.#options.timing.logoutTimeoutMs);
    }
    connection?.abort("closed");
  }

  /** Keep what there is to keep, behind `leave`. */
  async stop(): Promise<void> {
    await this.#running;
    if (this.error === undefined) {
      await this.run(() => undefined).catch(() => undefined);
    }
    this.end(new errors.ClosedError("the client is closed"));
  }

  /** Nothing more will happen; all that waits learns why. */
  end(error: errors.SparrowError): void {
    if (this.error !== undefined) {
      return;
    }
    const why = this.leaving ? new errors.ClosedError("this device was logged out", { cause: error }) : error;
    const told = why instanceof errors.ClosedError ? undefined : why;
    this.error = why;
    this.#alarm.stop();
    this.#dialer.stop();
    this.#connection?.abort(why.message);
    this.gate.close(why);
    this.arrivals.end(told);
    this.telling.close(why);
    for (const each of this.#queue.splice(0)) {
      each.done?.(why);
    }
    wakeAll(this.#ready);
    wakeAll(this.#quiet);
    this.#tell("closed", { error: told });
  }
}

/** Loudly, and at once: an engine that goes on after an error of another kind would seem to run and do nothing. */
function known(error: unknown): errors.SparrowError {
  if (error instanceof errors.SparrowError) {
    return error;
  }
  console.error("the client has failed, which is a bug:", error);
  return new errors.ClosedError(`the client has failed, which is a bug: ${String(error)}`, { cause: error });
}

function random64(): bigint {
  const [number = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  return number || 1n;
}
