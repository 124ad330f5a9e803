/**
 * The client's end of one connection, as a pure state machine (docs/protocol.md, "Sessions").
 *
 * Owns what may come when and the numbering of counted frames. Knows no socket, no clock and no stream: `inbound` and
 * `outbound` outlive connections.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { FrameError, MisuseError, type PeerError, SequenceError } from "../errors.ts";
import {
  type Failed,
  type Frame,
  FrameSchema,
  type Goodbye,
  type Hint,
  type LoggedIn,
  type Message,
  type Pong,
  type Receipt,
  type Signal,
  type Synced,
} from "../gen/sparrow_pb.js";
import { concat, delimit, FrameReader, HINT_TAG, MESSAGE_TAG, SIGNAL_TAG } from "./framing.ts";
import { MAX_ID } from "./ids.ts";

/** What the server says. `unreadable`: a message that cannot be read is counted, and nobody can say whose it is. */
export type Said =
  | { readonly case: "loggedIn"; readonly value: LoggedIn }
  | { readonly case: "message"; readonly value: Message }
  | { readonly case: "receipt"; readonly value: Receipt }
  | { readonly case: "failed"; readonly value: Failed }
  | { readonly case: "synced"; readonly value: Synced }
  | { readonly case: "pong"; readonly value: Pong }
  | { readonly case: "hint"; readonly value: Hint }
  | { readonly case: "signal"; readonly value: Signal }
  | { readonly case: "goodbye"; readonly value: Goodbye }
  | { readonly case: "unreadable" };

export type SessionState = "new" | "logging_in" | "active" | "closed";

/** Which frames a server may send in which state. */
const ALLOWED: Readonly<Record<SessionState, readonly string[]>> = {
  new: ["goodbye"],
  logging_in: ["loggedIn", "pong", "goodbye"],
  active: ["message", "receipt", "failed", "synced", "pong", "hint", "signal", "goodbye"],
  closed: [],
};

/** No id runs further ahead of `settled`: what a receiver must remember of a stream is bounded. */
const MAX_WINDOW = 65_536n;
/** What a client believes of a server before it knows better. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024;

/** What a `Login` says beside its token. */
export interface LoginFields {
  readonly client?: string;
  readonly start?: bigint;
  readonly tries?: number;
  readonly understands?: readonly string[];
  readonly fresh?: boolean;
}

/** One connection, from Login to Goodbye. */
export class ClientSession {
  state: SessionState = "new";
  /** Counted frames received. */
  counted = 0;
  /** The last ack sent. */
  acked = 0;
  /** How the server broke the protocol; the connection is of no more use. */
  error: PeerError | undefined;
  readonly #reader = new FrameReader(MAX_FRAME_BYTES);
  #out: Uint8Array[] = [];

  // In.

  /** What the server said, up to Goodbye or to where it broke the protocol (`error`). */
  receive(data: Uint8Array): Said[] {
    const said: Said[] = [];
    if (this.#over()) {
      return said;
    }
    for (const payload of this.#reader.receive(data)) {
      const event = this.#event(payload);
      if (event !== undefined) {
        said.push(event);
      }
      if (this.#over()) {
        return said;
      }
    }
    this.error = this.#reader.error;
    return said;
  }

  #over(): boolean {
    return this.error !== undefined || this.state === "closed";
  }

  #event(payload: Uint8Array): Said | undefined {
    let frame: Frame;
    try {
      frame = fromBinary(FrameSchema, payload);
    } catch {
      return this.#unreadable(payload);
    }
    const { kind } = frame;
    if (kind.case === undefined) {
      return undefined; // of a later version of the protocol
    }
    if (!ALLOWED[this.state].includes(kind.case)) {
      this.error = new SequenceError(`the server sent ${kind.case}, which is not allowed now`);
      return undefined;
    }
    if (kind.case === "message" && !isPossible(kind.value)) {
      return this.#unreadable(payload);
    }
    if (kind.case === "message" || (kind.case === "receipt" && !kind.value.sent && !kind.value.early)) {
      this.counted++;
    } else if (kind.case === "loggedIn") {
      this.state = "active";
    } else if (kind.case === "goodbye") {
      this.state = "closed";
    }
    return kind as Said;
  }

  /** A message that is no good must not keep all others away: they would come behind it again and again. */
  #unreadable(payload: Uint8Array): Said | undefined {
    const tag = payload[0];
    if (this.state !== "active" || tag === undefined || ![MESSAGE_TAG, HINT_TAG, SIGNAL_TAG].includes(tag)) {
      this.error = new FrameError("a frame is not valid protobuf");
      return undefined;
    }
    if (tag !== MESSAGE_TAG) {
      return undefined;
    }
    this.counted++;
    return { case: "unreadable" };
  }

  // Out.

  /** The first frame. Throws `MisuseError` if it is not. */
  login(token: string, fields: LoginFields = {}): void {
    if (this.state !== "new") {
      throw new MisuseError("log in once a connection");
    }
    this.state = "logging_in";
    this.#push({
      case: "login",
      value: {
        token,
        client: fields.client ?? "",
        start: fields.start ?? 0n,
        tries: BigInt(fields.tries ?? 0),
        understands: [...(fields.understands ?? [])],
        fresh: fields.fresh ?? false,
      },
    });
  }

  /** Send a message, or send it again. */
  message(message: Message): void {
    this.#requireActive();
    this.#push({ case: "message", value: message });
  }

  /** Everything received so far is kept; call it only when it is. */
  ack(): void {
    this.#requireActive();
    if (this.counted > this.acked) {
      this.acked = this.counted;
      this.#push({ case: "ack", value: { upTo: BigInt(this.acked) } });
    }
  }

  /** Ask for one whole scan of the inbox and of all groups, or of this group alone. */
  sync(n: number, group = ""): void {
    this.#requireActive();
    this.#push({ case: "sync", value: { n: BigInt(n), group } });
  }

  /** Send a signal; nothing answers it. */
  signal(kind: number, dest: string, body: Uint8Array): void {
    this.#requireActive();
    this.#push({ case: "signal", value: { kind, destId: dest, body } });
  }

  /** Say that we are here. */
  ping(n: number): void {
    this.#requireActive();
    this.#push({ case: "ping", value: { n: BigInt(n) } });
  }

  /** Ask for a Goodbye. */
  logout(): void {
    this.#requireActive();
    this.#push({ case: "logout", value: {} });
  }

  #requireActive(): void {
    if (this.state !== "active") {
      throw new MisuseError("not logged in");
    }
  }

  #push(kind: NonNullable<Parameters<typeof create<typeof FrameSchema>>[1]>["kind"]): void {
    this.#out.push(delimit(toBinary(FrameSchema, create(FrameSchema, { kind } as never))));
  }

  /** Everything since the last call. */
  dataToSend(): Uint8Array {
    const data = concat(this.#out);
    this.#out = [];
    return data;
  }
}

function isPossible(message: Message): boolean {
  const { stream, id, settled } = message;
  return stream !== 0n && settled >= 1n && settled <= id && id < settled + MAX_WINDOW && id <= BigInt(MAX_ID);
}
