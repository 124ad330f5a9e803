/**
 * TCP and TLS, for Node. Not for browsers.
 *
 * Owns one socket for each connection, and what makes a server trusted.
 */

import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

import type { Address, Connector, Listener, Transport } from "./transport.ts";

const ALPN = "sparrow/1";

export interface TcpOptions {
  /** PEM: trust servers with certificates of these CAs, instead of those that Node trusts. */
  readonly ca?: string | Uint8Array;
}

/** Connections over TCP, with TLS where the address says so. */
export function tcp(options: TcpOptions = {}): Connector {
  return {
    schemes: ["tcp", "tls"],
    connect: (address, listener) => new TcpTransport(address, listener, options),
  };
}

class TcpTransport implements Transport {
  readonly #socket: Socket;
  readonly #listener: Listener;
  #closed = false;

  constructor(address: Address, listener: Listener, options: TcpOptions) {
    this.#listener = listener;
    const { host, port } = address;
    if (address.scheme === "tls") {
      const servername = isIP(host) === 0 ? { servername: host } : {};
      const ca = options.ca === undefined ? {} : { ca: Buffer.from(options.ca) };
      const secured = { host, port, ALPNProtocols: [ALPN], minVersion: "TLSv1.2", ...servername, ...ca } as const;
      const socket = connectTls(secured, () => this.#secured(socket));
      this.#socket = socket;
    } else {
      this.#socket = connectTcp({ host, port }, () => this.#opened());
    }
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (data: Buffer) => !this.#closed && listener.data(data));
    // Half-closing is closing.
    this.#socket.on("end", () => this.close("the connection was lost"));
    this.#socket.on("close", () => this.close("the connection was lost"));
    this.#socket.on("error", (error: NodeJS.ErrnoException) => this.#failed(address, error));
  }

  #opened(): void {
    if (!this.#closed) {
      this.#listener.opened();
    }
  }

  #secured(socket: TLSSocket): void {
    if (socket.alpnProtocol !== false && socket.alpnProtocol !== null && socket.alpnProtocol !== ALPN) {
      this.close(`the server speaks ${socket.alpnProtocol}, which was not offered`);
    } else {
      this.#opened();
    }
  }

  #failed(address: Address, error: NodeJS.ErrnoException): void {
    const code = error.code ?? "";
    const untrusted = /CERT|SIGNATURE|ISSUER|CRL|HOSTNAME_MISMATCH/.test(code);
    const reason = untrusted
      ? `the certificate of ${address.text} is not trusted: ${error.message}`
      : `cannot reach ${address.text}: ${code || error.message}`;
    this.#end(reason, untrusted);
  }

  get congested(): boolean {
    return this.#socket.writableNeedDrain;
  }

  write(data: Uint8Array): void {
    if (!this.#closed && this.#socket.writable) {
      this.#socket.write(data);
    }
  }

  close(reason: string): void {
    this.#end(reason, false);
  }

  #end(reason: string, untrusted: boolean): void {
    if (!this.#closed) {
      this.#closed = true;
      this.#socket.destroy();
      this.#listener.closed(reason, untrusted);
    }
  }
}
