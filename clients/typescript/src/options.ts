/**
 * Limits and times of a client.
 *
 * Owns their defaults. Decides nothing by them.
 */

import type { Backend } from "./journal/backend.ts";
import { platformTimers, type Timers } from "./timers.ts";
import type { Connector } from "./transport/transport.ts";

/** How long opening a client may take, in milliseconds. */
export const OPEN_TIMEOUT_MS = 15_000;

/** How a client treats its connections, in milliseconds. */
export interface Timing {
  /** The longest first wait before another try. It doubles with each failure; a wait is drawn between 0 and that. */
  readonly firstRetryMs: number;
  /** The longest wait before another try. */
  readonly lastRetryMs: number;
  /** How long opening a connection may take, TLS included. */
  readonly connectTimeoutMs: number;
  /** How long the server may take to answer a login. */
  readonly loginTimeoutMs: number;
  /** How long the server may take to answer a ping. */
  readonly pongTimeoutMs: number;
  /** After a session of this length, waits begin anew. */
  readonly goodSessionMs: number;
  /** How long the server may take to answer a logout. */
  readonly logoutTimeoutMs: number;
}

export const TIMING: Timing = {
  firstRetryMs: 1_000,
  lastRetryMs: 60_000,
  connectTimeoutMs: 10_000,
  loginTimeoutMs: 10_000,
  pongTimeoutMs: 10_000,
  goodSessionMs: 60_000,
  logoutTimeoutMs: 2_000,
};

export interface ClientOptions {
  /** Base URL of the user API. */
  readonly api: string;
  /** Logs in over HTTP when there is no token, or the kept one has ended. */
  readonly password?: string;
  /** Forget the password once it was used: when that login has ended, the session has. */
  readonly isPasswordForOnce?: boolean;
  /** Of an OpenID provider (`redeemOidc`), in place of a password: it is used once. */
  readonly ticket?: string;
  /** Make the account, with this password, if there is none. */
  readonly register?: boolean;
  /** With `register`, the code of an invitation, where the service asks for one. */
  readonly invitation?: string;
  /** Where the device keeps its state: memory, if nothing else is given. The client closes it. */
  readonly state?: Backend;
  /** The id of a device that the user has; with `state`, the one that is kept there. */
  readonly device?: string;
  /** Where the user has as many devices as allowed: the one whose place a new one takes, or "silent_longest". */
  readonly replaces?: string;
  /** What people see of a new device. */
  readonly label?: string;
  /** Name and version of the program, for the server's log. */
  readonly name?: string;
  /** What may carry a connection: WebSockets, if nothing else is given. Node has `tcp()`, too. */
  readonly transports?: readonly Connector[];
  /** Where to connect, in place of what the user API tells. */
  readonly connectors?: readonly string[];
  /** Do not wait for the login when opening: connect whenever the server can be reached. */
  readonly background?: boolean;
  /** How long opening may take, in milliseconds. */
  readonly openTimeoutMs?: number;
  /** How long closing waits for messages to become safe, in milliseconds. */
  readonly closeTimeoutMs?: number;
  /** `send` waits while so many messages are neither SENT nor refused. */
  readonly maxUnsettled?: number;
  /** With so many messages waiting to be taken, the server is asked for no more, until half of them are. */
  readonly maxWaiting?: number;
  /** Of groups, have only what is written while the client is logged in: for a program that keeps nothing. */
  readonly fresh?: boolean;
  readonly timing?: Partial<Timing>;
  /** What rings when a ping or another try is due. A page in the background needs `workerTimers`. */
  readonly timers?: Timers;
}

export interface EngineOptions {
  /** Name and version of the program, for the server's log. */
  readonly name: string;
  /** `send` waits while so many messages are neither SENT nor refused. */
  readonly maxUnsettled: number;
  /** With so many messages waiting to be taken, the server is asked for no more, until half of them are. */
  readonly maxWaiting: number;
  /** How long closing waits for messages to become safe, in milliseconds. */
  readonly closeTimeoutMs: number;
  /** Of groups, have only what is written while the client is logged in. */
  readonly fresh: boolean;
  readonly timing: Timing;
  readonly timers: Timers;
}

/** What of a client's options is its engine's. */
export function engineOptions(options: ClientOptions): EngineOptions {
  return {
    name: options.name ?? "sparrow-typescript",
    maxUnsettled: options.maxUnsettled ?? 1000,
    maxWaiting: options.maxWaiting ?? 1000,
    closeTimeoutMs: options.closeTimeoutMs ?? 5_000,
    fresh: options.fresh ?? false,
    timing: { ...TIMING, ...options.timing },
    timers: options.timers ?? platformTimers,
  };
}
