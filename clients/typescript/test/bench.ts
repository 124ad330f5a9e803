/** A device, and a server that says what the test lets it. */

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";

import { ClientCore } from "../src/core/core.ts";
import type { Event } from "../src/core/state.ts";
import { type Frame, FrameSchema, Kind, MessageSchema } from "../src/gen/sparrow_pb.js";
import { type Backend, type Entry, MemoryBackend } from "../src/journal/backend.ts";
import { DeviceJournal } from "../src/journal/journal.ts";
import { concat, delimit, FrameReader } from "../src/protocol/framing.ts";
import type { Outgoing } from "../src/protocol/outbound.ts";

export type Kinds = NonNullable<MessageInitShape<typeof FrameSchema>["kind"]>;

export const GROUP = "~k7q2m5xw3n4c6z7abfde2rsg";

/** Commits are counted, and may be made to fail. */
export class BenchBackend extends MemoryBackend implements Backend {
  commits: (readonly Entry[])[] = [];
  error: Error | undefined;

  override commit(entries: readonly Entry[]): Promise<void> {
    if (this.error !== undefined) {
      return Promise.reject(this.error);
    }
    this.commits.push(entries);
    return super.commit(entries);
  }
}

export class Bench {
  readonly backend: BenchBackend;
  readonly journal: DeviceJournal;
  readonly core: ClientCore;
  now = 100_000;

  private constructor(backend: BenchBackend, journal: DeviceJournal, first: number, follows: boolean) {
    this.backend = backend;
    this.journal = journal;
    let next = BigInt(first);
    this.core = new ClientCore(journal, journal.kept, () => next++, follows);
    this.core.time(this.now);
  }

  static async open(backend = new BenchBackend(), first = 1000, follows = false): Promise<Bench> {
    return new Bench(backend, await DeviceJournal.open(backend), first, follows);
  }

  /** The server says something; what the device answers, and what it tells. */
  async turn(...kinds: Kinds[]): Promise<[Frame[], readonly Event[]]> {
    this.hears(...kinds);
    if (this.core.prepare() || this.journal.isDirty) {
      await this.journal.commit();
    }
    const { data, events } = this.core.finish();
    const frames = new FrameReader(10 ** 6).receive(data).map((payload) => fromBinary(FrameSchema, payload));
    return [frames, events];
  }

  /** The server says something, and nothing follows yet. */
  hears(...kinds: Kinds[]): void {
    this.core.data(concat(kinds.map((kind) => delimit(toBinary(FrameSchema, create(FrameSchema, { kind }))))));
  }

  /** Kinds of the device's answers. */
  async says(...kinds: Kinds[]): Promise<(string | undefined)[]> {
    return (await this.turn(...kinds))[0].map((frame) => frame.kind.case);
  }

  async events(...kinds: Kinds[]): Promise<readonly Event[]> {
    return (await this.turn(...kinds))[1];
  }

  passes(ms: number): void {
    this.now += ms;
    this.core.time(this.now);
  }

  async logIn(session = 1, previous = 0, more: object = {}): Promise<Frame[]> {
    this.core.connected("token", "tests");
    const [[login]] = await this.turn();
    if (login?.kind.case !== "login") {
      throw new Error("the first frame is no Login");
    }
    return (await this.turn(welcome(session, previous, more)))[0];
  }
}

export function welcome(session = 1, previous = 0, more: object = {}): Kinds {
  return {
    case: "loggedIn",
    value: {
      userId: "alice",
      deviceId: "a1",
      session: BigInt(session),
      previousSession: BigInt(previous),
      heartbeatMs: 60_000,
      maxUnsettledPerStream: 9,
      maxUnsettledPerConnection: 99,
      understands: ["changes", "groups"],
      ...more,
    },
  };
}

export function message(id: number, settled = 1, more: MessageInitShape<typeof MessageSchema> = {}): Kinds {
  const fields = {
    fromId: "bob",
    fromDevice: "b1",
    destId: "alice",
    kind: Kind.TEXT,
    body: Buffer.from("x"),
    stream: 5n,
  };
  return { case: "message", value: { ...fields, id: BigInt(id), settled: BigInt(settled), ...more } as never };
}

export function sent(outgoing: Outgoing, stamp = 7n): Kinds {
  const stream = outgoing.stream?.number ?? 0n;
  return { case: "receipt", value: { stream, ids: [BigInt(outgoing.id)], stamps: [stamp], sent: true } };
}

export function shown(events: readonly Event[]): number[] {
  return events.flatMap((event) => (event.case === "shown" ? [Number(event.message.id)] : []));
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
