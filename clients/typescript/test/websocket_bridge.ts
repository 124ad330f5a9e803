/** WebSockets in front of a connector that has none: the bytes of binary messages, cut in odd places. */

import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

export class WebSocketBridge {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Say this text to the next one who connects. */
  text: string | undefined;

  private constructor(host: string, port: number) {
    this.#server = createServer((_request, response) => response.writeHead(426).end());
    this.#server.on("upgrade", (request, socket: Socket) => {
      const key = request.headers["sec-websocket-key"] ?? "";
      const accept = createHash("sha1")
        .update(key + GUID)
        .digest("base64");
      const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
      socket.write([...head, `Sec-WebSocket-Accept: ${accept}`, "", ""].join("\r\n"));
      if (this.text !== undefined) {
        socket.write(message(0x81, Buffer.from(this.text)));
        this.text = undefined;
      }
      this.#bridge(socket, connect(port, host));
    });
  }

  static async start(address: string): Promise<WebSocketBridge> {
    const colon = address.lastIndexOf(":");
    const bridge = new WebSocketBridge(address.slice(0, colon), Number(address.slice(colon + 1)));
    await new Promise<void>((resolve) => bridge.#server.listen(0, "127.0.0.1", resolve));
    return bridge;
  }

  get address(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #bridge(socket: Socket, connector: Socket): void {
    let buffer = Buffer.alloc(0);
    socket.on("data", (data: Buffer) => {
      buffer = Buffer.concat([buffer, data]);
      for (let found = unmasked(buffer); found !== undefined; found = unmasked(buffer)) {
        buffer = buffer.subarray(found.size);
        if (found.code === 2) {
          connector.write(found.payload);
        } else if (found.code === 8) {
          socket.end(message(0x88, found.payload));
        }
      }
    });
    connector.on("data", (data: Buffer) => {
      for (let at = 0; at < data.length; at += 7) {
        socket.write(message(0x82, data.subarray(at, at + 7)));
      }
    });
    for (const [one, other] of [
      [socket, connector],
      [connector, socket],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => undefined);
      one.on("close", () => other.destroy());
    }
  }

  /** All connections break. */
  cut(): void {
    for (const socket of this.#sockets) {
      socket.destroy();
    }
    this.#sockets.clear();
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

function message(head: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([head, payload.length]), payload]);
}

function unmasked(buffer: Buffer): { code: number; payload: Buffer; size: number } | undefined {
  if (buffer.length < 2) {
    return undefined;
  }
  const short = (buffer[1] ?? 0) & 0x7f;
  const wide = short === 126 ? 2 : short === 127 ? 8 : 0;
  if (buffer.length < 6 + wide) {
    return undefined;
  }
  const length = wide === 2 ? buffer.readUInt16BE(2) : wide === 8 ? Number(buffer.readBigUInt64BE(2)) : short;
  const size = 6 + wide + length;
  if (buffer.length < size) {
    return undefined;
  }
  const mask = buffer.subarray(2 + wide, 6 + wide);
  const payload = Buffer.from(buffer.subarray(6 + wide, size));
  for (let at = 0; at < payload.length; at++) {
    payload[at] = (payload[at] ?? 0) ^ (mask[at % 4] ?? 0);
  }
  return { code: (buffer[0] ?? 0) & 0x0f, payload, size };
}
