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
  /** As it was given; of WebSockets, the URI to open. */
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

const BARE = /^(?:(tls):\/\/)?(?:\[([0-9A-Fa-f:.%]+)\]|([^\s/[\]@:?#]+)):([0-9]{1,5})$/;
const WEB = /^(wss?):\/\/[^\s/?#@]+(?:\/[\x21-\x7e]*)?$/;
const PORTS: Readonly<Record<string, number>> = { ws: 80, wss: 443 };

/** Of `host:port`, `tls://host:port`, and the URIs of WebSockets. Throws `ConfigError`. */
export function parseAddress(text: string): Address {
  const address = bare(text) ?? web(text);
  if (address === undefined) {
    throw new ConfigError(
      `connector address ${JSON.stringify(text)}: give host:port, such as 127.0.0.1:7400, tls://host:port, ` +
        "ws://host:port or wss://host/path",
    );
  }
  return address;
}

function bare(text: string): Address | undefined {
  const [, scheme = "tcp", bracketed, plain, digits] = BARE.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { scheme: scheme as Scheme, host, port, text };
}

function web(text: string): Address | undefined {
  const scheme = WEB.exec(text)?.[1];
  if (scheme === undefined || text.includes("#") || !URL.canParse(text)) {
    return undefined;
  }
  const { hostname, port } = new URL(text);
  const host = hostname.replace(/^\[|\]$/g, "");
  return port === "0"
    ? undefined
    : { scheme: scheme as Scheme, host, port: Number(port) || (PORTS[scheme] ?? 0), text };
}
