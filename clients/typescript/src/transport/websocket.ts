/**
 * WebSocket, as browsers and Node have it built in.
 *
 * Owns one WebSocket for each connection. Binary messages carry the bytes of the stream; their boundaries mean nothing.
 */

import type { Address, Connector, Listener, Transport } from "./transport.ts";

/** What goes in one message: well below what servers bound one to. */
const MESSAGE_BYTES = 16 * 1024;
/** What was written and has not left: beyond it, nothing is sent again. */
const CONGESTED_BYTES = 256 * 1024;
const LOST = "the connection was lost";

/** The platform's. */
export const websocket: Connector = {
  schemes: ["ws", "wss"],
  connect: (address, listener) => new WebSocketTransport(address, listener),
};

class WebSocketTransport implements Transport {
  readonly #socket: WebSocket;
  readonly #listener: Listener;
  #closed = false;

  constructor(address: Address, listener: Listener) {
    this.#listener = listener;
    this.#socket = new WebSocket(address.text);
    this.#socket.binaryType = "arraybuffer";
    let failure = `cannot reach ${address.text}`;
    this.#socket.onopen = () => {
      failure = LOST;
      if (!this.#closed) {
        listener.opened();
      }
    };
    this.#socket.onmessage = (event: MessageEvent<unknown>) => this.#message(event.data);
    // Browsers do not say why: a certificate that is not trusted looks like nobody there.
    this.#socket.onerror = () => this.close(failure);
    this.#socket.onclose = () => this.close(LOST);
  }

  #message(data: unknown): void {
    if (this.#closed) {
      return;
    }
    if (data instanceof ArrayBuffer) {
      this.#listener.data(new Uint8Array(data));
    } else {
      this.close("the server sent text, and is no connector");
    }
  }

  get congested(): boolean {
    return this.#socket.bufferedAmount > CONGESTED_BYTES;
  }

  write(data: Uint8Array): void {
    for (let at = 0; at < data.length && this.#socket.readyState === WebSocket.OPEN; at += MESSAGE_BYTES) {
      this.#socket.send(data.subarray(at, at + MESSAGE_BYTES) as Uint8Array<ArrayBuffer>);
    }
  }

  close(reason: string): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    // Its closing handshake may take a minute on a network that is gone: nobody waits for it.
    this.#socket.close();
    this.#listener.closed(reason);
  }
}
