/**
 * Connections to connectors: one at a time, again and again.
 *
 * Owns back-off and what follows from a Goodbye (docs/protocol.md, "Leave" and "Come back"). Knows nothing of messages.
 */

import { type Credentials, deviceRemoved } from "./api/credentials.ts";
import * as errors from "./errors.ts";
import { type Goodbye, Goodbye_Code } from "./gen/sparrow_pb.js";
import type { EngineOptions, Timing } from "./options.ts";
import type { Timers } from "./timers.ts";
import { type Connector, parseAddress, type Transport } from "./transport/transport.ts";

/** So long after we have left a connection, what it had said may still replace us. */
const COME_BACK_MS = 60_000;
/** So many failures in a row, and WebSockets are tried, too: something on the way may let nothing else through. */
const PATIENCE = 3;
/** So many failures in a row, and the user API is asked whether the connectors have moved. */
const RENEW_AFTER = 5;

/** One connection, and what was said on it. */
export class Connection {
  transport: Transport | undefined;
  /** What the server has said last. */
  goodbye: Goodbye | undefined;
  isLoggedIn = false;
  isOpen = false;
  reason = "the connection was lost";
  untrusted = false;
  /** Resolved when it is gone. */
  readonly closed: Promise<void>;
  #gone: () => void = () => undefined;

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#gone = resolve;
    });
  }

  /** It is gone. */
  ends(reason: string, untrusted: boolean): void {
    this.reason = reason;
    this.untrusted = untrusted;
    this.#gone();
  }

  /** Close at once. */
  abort(reason: string): void {
    this.transport?.close(reason);
  }
}

/** Who connections belong to. */
export interface DialerOwner {
  connected(connection: Connection, token: string): void;
  received(connection: Connection, data: Uint8Array): void;
  /** It is gone; returns when all that it had said has been looked at. */
  lost(connection: Connection): Promise<void>;
  waits(reason: string, retryInMs: number): void;
}

interface Wait {
  readonly reason: string;
  readonly ms: number;
}

/** Keeps a connection up until something final is said. */
export class Dialer {
  readonly #owner: DialerOwner;
  readonly #credentials: Credentials;
  readonly #connectors: readonly Connector[];
  readonly #timing: Timing;
  readonly #timers: Timers;
  #beenIn = false;
  #turn = Math.floor(Math.random() * 65_536);
  #failures = 0;
  /** When the last connection was lost or left without a Goodbye, if we have not come back for that yet. */
  #gaveUpAt: number | undefined;
  #wake: () => void = () => undefined;
  #stopped = false;
  #current: Connection | undefined;

  constructor(
    owner: DialerOwner,
    credentials: Credentials,
    connectors: readonly Connector[],
    options: Pick<EngineOptions, "timing" | "timers">,
  ) {
    this.#owner = owner;
    this.#credentials = credentials;
    this.#connectors = connectors;
    this.#timing = options.timing;
    this.#timers = options.timers;
  }

  /** Whether it was; a call, since it may become so at each `await`. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  /** Returns when it was stopped. Throws what ends the session for good. */
  async run(): Promise<void> {
    while (!this.#isStopped()) {
      const wait = await this.#try();
      if (wait !== undefined && !this.#isStopped()) {
        this.#owner.waits(wait.reason, wait.ms);
        await this.#sleep(wait.ms);
      }
    }
  }

  /** No more connections, once the one that there is has ended. */
  stop(): void {
    this.#stopped = true;
    this.#wake();
    if (this.#current?.isOpen === false) {
      this.#current.abort("closed");
    }
  }

  /** Try again now: there may be a network again. */
  hurry(): void {
    this.#wake();
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.#timers.start(resolve, ms);
      this.#wake = () => {
        stop();
        resolve();
      };
    });
  }

  /** One connection, from its beginning to its end. Why and how long to wait before the next; undefined: not at all. */
  async #try(): Promise<Wait | undefined> {
    let token: string;
    let addresses: readonly string[];
    try {
      if (this.#failures > 0 && this.#failures % RENEW_AFTER === 0) {
        await this.#lookForConnectors();
      }
      ({ token, connectors: addresses } = await this.#credentials.get());
      if (this.#failures === 0 && this.#usable(addresses).length === 0) {
        // What is kept may be older than what is offered by now.
        await this.#lookForConnectors();
        ({ token, connectors: addresses } = await this.#credentials.get());
      }
    } catch (error) {
      if (error instanceof errors.UnavailableError) {
        return this.#backOff(error.message);
      }
      if (error instanceof errors.UntrustedError) {
        return this.#distrust(error);
      }
      throw error;
    }
    const ours = this.#preferred(this.#usable(addresses));
    const address = ours[++this.#turn % ours.length];
    if (address === undefined) {
      return this.#backOff(`none of the connectors can be reached from here: ${addresses.join(", ")}`);
    }
    if (this.#stopped) {
      return undefined;
    }
    const began = performance.now();
    const connection = await this.#connect(address, token);
    if (connection.untrusted) {
      return this.#distrust(new errors.UntrustedError(connection.reason));
    }
    if (!connection.isOpen) {
      return this.#backOff(connection.reason);
    }
    await this.#owner.lost(connection);
    return this.#afterwards(connection, token, performance.now() - began);
  }

  /** Of these, addresses that can be connected to here; a browser has only WebSockets. */
  #usable(addresses: readonly string[]): string[] {
    return addresses.filter((text) => {
      try {
        return this.#connectorOf(text) !== undefined;
      } catch {
        return false; // of a later version, perhaps
      }
    });
  }

  /** Those to choose from: WebSockets cost more, and are for those who cannot do without. */
  #preferred(addresses: readonly string[]): readonly string[] {
    const bare = addresses.filter((text) => !/^wss?:/.test(text));
    return bare.length > 0 && this.#failures < PATIENCE ? bare : addresses;
  }

  #connectorOf(text: string): Connector | undefined {
    const { scheme } = parseAddress(text);
    return this.#connectors.find((each) => each.schemes.includes(scheme));
  }

  /** From its beginning to its end. */
  async #connect(text: string, token: string): Promise<Connection> {
    const address = parseAddress(text);
    const connection = new Connection();
    this.#current = connection;
    const owner = this.#owner;
    const tooLate = (): void => connection.abort(`cannot reach ${text}`);
    const stop = this.#timers.start(tooLate, this.#timing.connectTimeoutMs);
    connection.transport = this.#connectorOf(text)?.connect(address, {
      opened() {
        stop();
        connection.isOpen = true;
        owner.connected(connection, token);
      },
      data: (data) => owner.received(connection, data),
      closed: (reason, untrusted = false) => connection.ends(reason, untrusted),
    });
    await connection.closed;
    stop();
    return connection;
  }

  /** At first it is a mistake that somebody must mend; later it may be the network that one is in for a while. */
  #distrust(error: errors.UntrustedError): Wait {
    if (!this.#beenIn) {
      throw error;
    }
    return this.#backOff(error.message);
  }

  async #afterwards(connection: Connection, token: string, lastedMs: number): Promise<Wait | undefined> {
    const { goodbye } = connection;
    const isGood = connection.isLoggedIn && lastedMs > this.#timing.goodSessionMs;
    if (connection.isLoggedIn) {
      this.#beenIn = true;
      this.#credentials.accepted();
    }
    if (isGood) {
      this.#failures = 0;
    }
    if (goodbye === undefined) {
      this.#gaveUpAt = performance.now();
      return this.#backOff(connection.reason);
    }
    if (goodbye.code === Goodbye_Code.LOGGED_OUT) {
      await this.#credentials.atRest();
    }
    return this.#after(goodbye, token, isGood);
  }

  async #after(goodbye: Goodbye, token: string, isGood: boolean): Promise<Wait | undefined> {
    const text = `the server says: ${goodbye.text || `goodbye, code ${goodbye.code}`}`;
    switch (goodbye.code) {
      case Goodbye_Code.REPLACED:
        if (this.#gaveUpRecently()) {
          return this.#backOff("a connection that was given up has replaced this one");
        }
        throw new errors.ReplacedError(
          "this device has logged in elsewhere, with the same state or token: use one at a time",
        );
      case Goodbye_Code.DEVICE_REMOVED:
        throw deviceRemoved(this.#credentials.device);
      case Goodbye_Code.BAD_TOKEN:
        this.#credentials.rejected(token, goodbye.text);
        return undefined;
      case Goodbye_Code.ACCOUNT_DISABLED:
        throw new errors.AccountDisabledError(
          "the account is disabled: ask those who run the service. The device and its messages are kept",
        );
      case Goodbye_Code.LOGGED_OUT:
        if (this.#stopped || this.#credentials.loggedOut(token)) {
          return undefined; // we asked for it, or it was our own next login that has ended this one
        }
        await this.#credentials.forget();
        throw new errors.TokenRejectedError("this device was logged out: log in with the password");
      case Goodbye_Code.MOVE:
        return isGood ? { reason: text, ms: Math.random() * this.#timing.firstRetryMs } : this.#backOff(text);
      case Goodbye_Code.TIMED_OUT:
        return isGood ? { reason: text, ms: 0 } : this.#backOff(text);
      default: {
        // Everybody was told the same time: not all at once.
        const { ms } = this.#backOff(text);
        return { reason: text, ms: Math.max(ms, goodbye.retryAfterMs * (1 + Math.random() / 2)) };
      }
    }
  }

  /** Whether it may be our own Login that has replaced us, over a connection that we had left; once for each. */
  #gaveUpRecently(): boolean {
    const at = this.#gaveUpAt;
    this.#gaveUpAt = undefined;
    return at !== undefined && performance.now() - at < COME_BACK_MS;
  }

  #backOff(reason: string): Wait {
    const longest = Math.min(this.#timing.firstRetryMs * 2 ** Math.min(this.#failures++, 20), this.#timing.lastRetryMs);
    return { reason, ms: Math.random() * longest };
  }

  async #lookForConnectors(): Promise<void> {
    if (this.#credentials.canRenew) {
      try {
        await this.#credentials.renew();
      } catch (error) {
        if (!(error instanceof errors.SparrowError)) {
          throw error;
        }
        // The token that we have may still be good.
      }
    }
  }
}
