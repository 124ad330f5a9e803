/** A connector that says what a test lets it, and a user API that logs everybody in. */

import {
  createServer as createHttp,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { type Frame, FrameSchema, type Goodbye_Code, type Message } from "../src/gen/sparrow_pb.js";
import { delimit, FrameReader } from "../src/protocol/framing.ts";
import type { Kinds } from "./bench.ts";

export type Script = (session: FakeSession, frame: Frame["kind"]) => void;

/** One connection at the scripted connector. */
export class FakeSession {
  readonly heard: Frame["kind"][] = [];
  readonly server: FakeServer;
  readonly socket: Socket;
  stamp = 1n << 60n;

  constructor(server: FakeServer, socket: Socket) {
    this.server = server;
    this.socket = socket;
    const reader = new FrameReader(10 ** 6);
    socket.on("data", (data) => {
      for (const payload of reader.receive(data)) {
        const { kind } = fromBinary(FrameSchema, payload);
        this.heard.push(kind);
        server.script(this, kind);
      }
    });
    socket.on("error", () => undefined);
  }

  say(kind: Kinds): void {
    this.socket.write(delimit(toBinary(FrameSchema, create(FrameSchema, { kind }))));
  }

  /** Messages that the client has sent. */
  get messages(): Message[] {
    return this.heard.flatMap((kind) => (kind.case === "message" ? [kind.value] : []));
  }

  /** The highest ack. */
  get acked(): number {
    return this.heard.reduce((most, kind) => (kind.case === "ack" ? Number(kind.value.upTo) : most), 0);
  }

  welcome(more: object = {}): void {
    const { server } = this;
    const previousSession = server.session;
    server.session++;
    this.say({
      case: "loggedIn",
      value: {
        userId: "alice",
        deviceId: "a1",
        session: server.session,
        previousSession,
        serverTimeMs: BigInt(Date.now()),
        heartbeatMs: 60_000,
        maxMessageBytes: 64_512,
        maxUnsettledPerStream: 256,
        maxUnsettledPerConnection: 4096,
        maxUnacked: 256,
        understands: ["changes"],
        ...more,
      },
    });
  }

  sent(message: Message, delivered = false): void {
    this.say({
      case: "receipt",
      value: { stream: message.stream, ids: [message.id], stamps: [this.stamp++], sent: true, delivered },
    });
  }

  goodbye(code: Goodbye_Code, retryAfterMs = 0): void {
    this.say({ case: "goodbye", value: { code, text: "so it is", retryAfterMs } });
    this.socket.end();
  }
}

/** Welcomes everybody, and takes everything. */
export const polite: Script = (session, frame) => {
  if (frame.case === "login") {
    session.welcome();
  } else if (frame.case === "message") {
    session.sent(frame.value);
  } else if (frame.case === "logout") {
    session.goodbye(10);
  } else if (frame.case === "ping") {
    session.say({ case: "pong", value: { n: frame.value.n } });
  } else if (frame.case === "sync") {
    session.say({ case: "synced", value: { n: frame.value.n } });
  }
};

export type Answering = (
  request: IncomingMessage,
  body: Record<string, unknown>,
) => [status: number, answer: object, headers?: Record<string, string>];

export class FakeServer {
  script: Script;
  session = 0n;
  readonly sessions: FakeSession[] = [];
  /** Paths that were asked for, and what with. */
  readonly asked: [path: string, body: Record<string, unknown>][] = [];
  answer: Answering = (_request, body) => [200, this.login((body["user"] as string | undefined) ?? "alice")];
  readonly #server: Server;
  readonly #http: HttpServer;
  #tokens = 0;

  private constructor(script: Script) {
    this.script = script;
    this.#server = createServer((socket) => this.sessions.push(new FakeSession(this, socket)));
    this.#http = createHttp((request, response) => void this.#answer(request, response));
  }

  static async start(script: Script = polite): Promise<FakeServer> {
    const server = new FakeServer(script);
    for (const each of [server.#server, server.#http]) {
      await new Promise<void>((resolve) => each.listen(0, "127.0.0.1", resolve));
    }
    return server;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const part of request) {
      text += String(part);
    }
    const body = JSON.parse(text || "{}") as Record<string, unknown>;
    this.asked.push([request.url ?? "", body]);
    const [status, answer, headers] = this.answer(request, body);
    response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(answer));
  }

  /** The answer to a login. */
  login(user: string): object {
    const number = ++this.#tokens;
    const tokens = { access_token: `token ${number}`, refresh_token: `refresh ${number}`, expires_in: 900 };
    return { ...tokens, user, device: "a1", connectors: [this.address, "gopher://of.a.later:1"] };
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get api(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  get latest(): FakeSession {
    const session = this.sessions.at(-1);
    if (session === undefined) {
      throw new Error("nobody has connected");
    }
    return session;
  }

  async stop(): Promise<void> {
    for (const { socket } of this.sessions) {
      socket.destroy();
    }
    this.#http.closeAllConnections();
    for (const each of [this.#server, this.#http]) {
      await new Promise((resolve) => each.close(resolve));
    }
  }
}
