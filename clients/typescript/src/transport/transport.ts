/**
 * What carries bytes to a connector and back, and addresses of connectors.
 *
 * Owns both forms. The bytes are the same over each transport (docs/protocol.md, "Framing"); how they are cut on the
 * way means nothing.
 */

import { ConfigError } from "../errors.ts";

export type Scheme = "tcp" | "tls" | "ws" | "wss";

/** Where a connector is. */
export interface Address {
  readonly scheme: Scheme;
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
  /** As it was given. */
  readonly text: string;
}

/** Who is told of a connection. After `closed` nothing more is told. */
export interface Listener {
  opened(): void;
  data(data: Uint8Array): void;
  /** `untrusted`: the server could not show who it is. */
  closed(reason: string, untrusted?: boolean): void;
}

/** One connection, or the attempt at one. */
export interface Transport {
  /** What was written has not left yet. */
  readonly congested: boolean;
  /** Write, if it is still open. */
  write(data: Uint8Array): void;
  /** Close at once. Its listener is told. */
  close(reason: string): void;
}

/** Opens connections of some schemes. */
export interface Connector {
  readonly schemes: readonly Scheme[];
  connect(address: Address, listener: Listener): Transport;
}

const ADDRESS = /^(?:(tls|wss?):\/\/)?(?:\[([0-9A-Fa-f:.%]+)\]|([^\s/[\]@:]+)):([0-9]{1,5})(\/?)$/;

/** Of `host:port`, `[host]:port`, and both behind `tls://`, `ws://` or `wss://`. Throws `ConfigError`. */
export function parseAddress(text: string): Address {
  const found = ADDRESS.exec(text);
  const [, scheme, bracketed, plain, digits, slash] = found ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  const isWeb = scheme === "ws" || scheme === "wss";
  if (host === undefined || port < 1 || port > 65_535 || (slash === "/" && !isWeb)) {
    throw new ConfigError(
      `connector address ${JSON.stringify(text)}: give host:port, such as 127.0.0.1:7400, or the same behind tls://, ` +
        "ws:// or wss://",
    );
  }
  return { scheme: (scheme as Scheme | undefined) ?? "tcp", host, port, text };
}
