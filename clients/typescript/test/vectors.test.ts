/** Every conformance vector that is a client's, against our own session and streams. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { create, equals, toBinary } from "@bufbuild/protobuf";

import { ORDER_WAIT_MS } from "../src/core/core.ts";
import { groupOf } from "../src/core/streams.ts";
import {
  Failed_Code,
  type Frame,
  FrameSchema,
  Goodbye_Code,
  Kind,
  type Message,
  MessageSchema,
} from "../src/gen/sparrow_pb.js";
import { delimit, FrameReader } from "../src/protocol/framing.ts";
import { InboundStream, type Shown } from "../src/protocol/inbound.ts";
import { ClientSession, type Said } from "../src/protocol/session.ts";
import { bytesOf, frame, load, sessionIn, unhex, type Vector } from "./vectors.ts";

/** What a session says of a frame, as a frame again. */
function asFrame(said: Said): Frame {
  assert.notEqual(said.case, "unreadable");
  const kind = said as Frame["kind"];
  const found = create(FrameSchema);
  found.kind = kind;
  return found;
}

function stripped(one: Frame): Frame {
  if (one.kind.case !== undefined) {
    delete (one.kind.value as { $unknown?: unknown }).$unknown;
  }
  return one;
}

for (const vector of load<Vector>("frames")) {
  if (vector.canonical !== false) {
    test(`frames: ${vector.name}: bytes follow from the meaning`, () => {
      assert.deepEqual(bytesOf(vector.frame), unhex(vector.hex));
    });
  }
  if (vector.from === "client") {
    continue;
  }
  test(`frames: ${vector.name}: a client takes it`, () => {
    const session = sessionIn(vector.state ?? "active");
    const said = session.receive(unhex(vector.hex));
    assert.equal(session.error, undefined);
    assert.equal(said.length, vector.frame === null ? 0 : 1);
    for (const each of said) {
      assert.ok(equals(FrameSchema, stripped(asFrame(each)), frame(vector.frame)));
    }
    assert.equal(session.counted, vector.counts === true ? 1 : 0);
  });
  test(`frames: ${vector.name}: a client takes it byte by byte`, () => {
    const session = sessionIn(vector.state ?? "active");
    const said = [...unhex(vector.hex)].flatMap((byte) => session.receive(Uint8Array.of(byte)));
    assert.equal(said.length, vector.frame === null ? 0 : 1);
  });
}

for (const vector of load<Vector>("bad_frames").filter(({ from }) => from === "server")) {
  test(`bad frames: ${vector.name}: a client gives the server up`, () => {
    const session = sessionIn(vector.state ?? "active");
    assert.deepEqual(session.receive(unhex(vector.hex)), []);
    assert.notEqual(session.error, undefined);
  });
}

for (const vector of load<Vector>("unreadable_frames")) {
  test(`unreadable frames: ${vector.name}: a client goes on behind it`, () => {
    const session = sessionIn("active");
    const said = session.receive(unhex(vector.hex));
    assert.equal(said.length, 1);
    assert.ok(said[0]?.case === "message" || said[0]?.case === "unreadable");
    assert.equal(session.error, undefined);
    assert.equal(session.counted, 1);
    session.ack();
    assert.deepEqual(session.dataToSend(), bytesOf({ ack: { upTo: "1" } }));
  });
}

// Streams.

interface Step {
  readonly arrives?: readonly [number, number];
  readonly live_s?: number;
  readonly offline_s?: number;
  readonly reconnects?: true;
  readonly restarts?: true;
  readonly synced?: true;
}

/** The receiving end of one stream, and the Sync of its connection. */
class Device {
  #stream = new InboundStream<number>();
  #syncs = 0;
  #open = false;

  /** Do a step; returns it with what came of it. */
  step(step: Step): Record<string, unknown> {
    const { arrives, live_s: live, offline_s: offline, reconnects, restarts, synced } = step;
    let shown: Shown<number>[] = [];
    const done: Record<string, unknown> = {};
    if (arrives !== undefined) {
      done["arrives"] = arrives;
      shown = this.#stream.receive(arrives[0], arrives[1], arrives[0]);
    } else if (live !== undefined) {
      done["live_s"] = live;
      this.#stream.blockedMs += this.#stream.parked.size > 0 ? live * 1000 : 0;
    } else if (reconnects) {
      done["reconnects"] = true;
      this.#stream.disconnected();
      this.#open = false;
    } else if (restarts) {
      done["restarts"] = true;
      this.#restart();
    } else if (synced) {
      done["synced"] = true;
      assert.ok(this.#open);
      this.#open = false;
      shown = this.#stream.synced(this.#syncs);
    } else {
      assert.notEqual(offline, undefined);
      return { offline_s: offline };
    }
    for (const [late, name] of [
      [false, "shown"],
      [true, "late"],
    ] as const) {
      const found = shown.filter((each) => each.late === late).map((each) => each.item);
      if (found.length > 0) {
        done[name] = found;
      }
    }
    if (this.#asks()) {
      done["asks"] = true;
    }
    return done;
  }

  #restart(): void {
    const old = this.#stream;
    this.#stream = new InboundStream<number>(old.next, old.settled, old.gaps);
    for (const number of old.parked.keys()) {
      assert.deepEqual(this.#stream.receive(number, 1, number), []);
    }
    this.#open = false;
  }

  #asks(): boolean {
    if (this.#open || !this.#stream.wantsSync(ORDER_WAIT_MS)) {
      return false;
    }
    this.#syncs++;
    this.#stream.asked(this.#syncs, ORDER_WAIT_MS);
    this.#open = true;
    return true;
  }
}

for (const { name, steps } of load<{ name: string; steps: Step[] }>("streams")) {
  test(`streams: ${name}`, () => {
    const device = new Device();
    assert.deepEqual(
      steps.map((step) => device.step(step)),
      steps,
    );
  });
}

// Dialogues.

interface DialogueStep {
  readonly step: string;
  readonly device?: string;
  readonly hex: string;
  readonly frame?: Parameters<typeof frame>[0];
}

interface Dialogue {
  readonly name: string;
  readonly wrong?: boolean;
  readonly steps: readonly DialogueStep[];
  readonly outcome: unknown;
}

/** What a client makes of what it is told, over all its connections: the least of a client. */
class Reader {
  readonly outcome: Record<string, unknown> = {};
  #session = new ClientSession();
  readonly #streams = new Map<string, InboundStream<Message>>();
  /** READs of this user: DELIVERED means nothing for them. */
  readonly #reads = new Set<string>();

  connected(): void {
    this.#session = new ClientSession();
    for (const stream of this.#streams.values()) {
      stream.disconnected();
    }
  }

  /** The bytes of a frame that the client sends now. */
  says({ kind }: Frame): Uint8Array {
    const session = this.#session;
    switch (kind.case) {
      case "login": {
        const { token, client, start, tries, understands, fresh } = kind.value;
        session.login(token, { client, start, tries: Number(tries), understands, fresh });
        break;
      }
      case "message":
        session.message(kind.value);
        this.#remember(kind.value);
        break;
      case "ack":
        session.ack();
        break;
      case "sync":
        for (const stream of this.#streams.values()) {
          if (stream.wantsSync(ORDER_WAIT_MS)) {
            stream.asked(Number(kind.value.n), ORDER_WAIT_MS);
          }
        }
        session.sync(Number(kind.value.n), kind.value.group);
        break;
      case "signal":
        session.signal(kind.value.kind, kind.value.destId, kind.value.body);
        break;
      case "ping":
        session.ping(Number(kind.value.n));
        break;
      case "logout":
        session.logout();
        break;
      default:
        assert.fail(`no client says ${kind.case}`);
    }
    return session.dataToSend();
  }

  /** The client breaks the protocol, which our own client cannot; what it hears then is all the same to it. */
  saysSomething(): void {
    if (this.#session.state === "new") {
      this.#session.login("");
    }
  }

  hears(data: Uint8Array): Said[] {
    const said = this.#session.receive(data);
    assert.equal(this.#session.error, undefined);
    for (const each of said) {
      this.#note(each);
    }
    return said;
  }

  #note(said: Said): void {
    if (said.case === "message") {
      const { value } = said;
      const key = `${groupOf(value)} ${value.fromId} ${value.fromDevice} ${value.stream}`;
      const stream = this.#streams.get(key) ?? new InboundStream<Message>();
      this.#streams.set(key, stream);
      this.#remember(value);
      this.#show(stream.receive(Number(value.id), Number(value.settled), value));
    } else if (said.case === "synced") {
      for (const stream of this.#streams.values()) {
        this.#show(stream.synced(Number(said.value.n)));
      }
    } else if (said.case === "receipt") {
      const { stream, ids, sent, delivered } = said.value;
      if (sent) {
        this.#add(
          "sent",
          ids.map((id) => nameOf(stream, id)),
        );
      }
      if (delivered) {
        const told = ids.filter((id) => !this.#reads.has(`${stream}/${id}`));
        this.#add(
          "delivered",
          told.map((id) => nameOf(stream, id)),
        );
      }
    } else if (said.case === "failed") {
      const { stream, id, code, retryAfterMs } = said.value;
      this.#add("failed", [{ ...nameOf(stream, id), code: Failed_Code[code], final: retryAfterMs === 0 }]);
    } else if (said.case === "signal") {
      const { fromId, destId, kind } = said.value;
      this.#add("signals", [{ from_id: fromId, dest_id: destId, kind }]);
    } else if (said.case === "goodbye") {
      this.outcome["goodbye"] = Goodbye_Code[said.value.code];
    }
  }

  #show(shown: readonly Shown<Message>[]): void {
    for (const { item, late } of shown) {
      const name = { from_id: item.fromId, ...nameOf(item.stream, item.id) };
      this.#add("shown", [late ? { ...name, late: true } : name]);
    }
  }

  #remember(message: Message): void {
    if (message.kind === Kind.READ) {
      this.#reads.add(`${message.stream}/${message.id}`);
    }
  }

  #add(state: string, names: readonly object[]): void {
    if (names.length > 0) {
      const noted = [...((this.outcome[state] as object[] | undefined) ?? []), ...names];
      const texts = noted.map((name) => JSON.stringify(name));
      this.outcome[state] = noted.filter((_, at) => texts.indexOf(texts[at] ?? "") === at);
    }
  }
}

function nameOf(stream: bigint, id: bigint): { stream: string; id: string } {
  return { stream: String(stream), id: String(id) };
}

for (const dialogue of load<Dialogue>("dialogues")) {
  test(`dialogues: ${dialogue.name}`, () => {
    const readers = new Map<string, Reader>();
    for (const step of dialogue.steps) {
      if (step.device === undefined) {
        continue;
      }
      const reader = readers.get(step.device) ?? new Reader();
      readers.set(step.device, reader);
      if (step.step === "connect") {
        reader.connected();
      } else if (step.step === "client" && dialogue.wrong === true) {
        reader.saysSomething();
      } else if (step.step === "client") {
        assert.deepEqual(reader.says(frame(step.frame ?? null)), unhex(step.hex));
      } else if (step.step === "server") {
        const said = reader.hears(unhex(step.hex)).map(asFrame);
        assert.equal(said.length, 1);
        assert.ok(said.every((each) => equals(FrameSchema, each, frame(step.frame ?? null))));
      }
    }
    const outcome = [...readers].filter(([, reader]) => Object.keys(reader.outcome).length > 0);
    assert.deepEqual(Object.fromEntries(outcome.map(([device, reader]) => [device, reader.outcome])), dialogue.outcome);
  });
}

// Framing.

test("a frame beyond the limit is found before its bytes are there", () => {
  const reader = new FrameReader(100);
  assert.deepEqual(reader.receive(Uint8Array.of(101)), []);
  assert.equal(reader.error?.name, "FrameTooLargeError");
  assert.deepEqual(reader.receive(Uint8Array.of(1, 2)), []);
});

test("good frames in front of a bad one are read", () => {
  const reader = new FrameReader(100);
  const frames = reader.receive(Uint8Array.of(1, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01));
  assert.deepEqual(frames, [Uint8Array.of(7)]);
  assert.equal(reader.error?.name, "FrameError");
});

test("frames cut anywhere are the same frames", () => {
  const payloads = [0, 1, 127, 128, 300, 20_000].map((size) => new Uint8Array(size).fill(size % 251));
  const bytes = Buffer.concat(payloads.map(delimit));
  for (const piece of [1, 2, 3, 126, 4096, bytes.length]) {
    const reader = new FrameReader(65_536);
    const found: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += piece) {
      found.push(...reader.receive(new Uint8Array(bytes.subarray(at, at + piece))));
    }
    assert.deepEqual(found, payloads);
    assert.equal(reader.buffered, 0);
  }
});

test("an id that no number holds exactly is of a message that cannot be read", () => {
  const message = create(MessageSchema, { stream: 1n, id: 1n << 60n, settled: 1n << 60n });
  const wrapped = create(FrameSchema, { kind: { case: "message", value: message } });
  const session = sessionIn("active");
  assert.deepEqual(session.receive(delimit(toBinary(FrameSchema, wrapped))), [{ case: "unreadable" }]);
  assert.equal(session.counted, 1);
});
