/**
 * Two devices and the least of a server that keeps the protocol, by a seed: messages get lost on connections that
 * break, come twice, late and in any order; a device dies at any point of a turn, with or without its last commit. Then
 * the account: what was SENT is shown, once, in order. Defects that are planted are found.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { ClientCore } from "../src/core/core.ts";
import { type Frame, FrameSchema, Kind, type Message, MessageSchema } from "../src/gen/sparrow_pb.js";
import { MemoryBackend } from "../src/journal/backend.ts";
import { DeviceJournal } from "../src/journal/journal.ts";
import { delimit, FrameReader } from "../src/protocol/framing.ts";
import type { Kinds } from "./bench.ts";

const MESSAGES = 40;
const SEEDS = Number(process.env["SEEDS"] ?? 150);

type Defect = "acks before it keeps" | "sends before it keeps" | "none";

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One device: its state outlives it. */
class Device {
  readonly backend = new MemoryBackend();
  core: ClientCore | undefined;
  journal: DeviceJournal | undefined;
  connected = false;
  /** Bytes that are on their way to it, frame by frame. */
  down: Uint8Array[] = [];
  session = 0n;
  counted: { readonly number: number; readonly name: string }[] = [];
  count = 0;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

class World {
  readonly random: () => number;
  readonly defect: Defect;
  readonly alice = new Device("alice");
  readonly bob = new Device("bob");
  /** What the server has promised to keep, by name, until it is acked. */
  readonly inbox = new Map<string, Message>();
  readonly sent = new Set<string>();
  readonly shown: { readonly text: number; readonly stream: bigint; readonly id: number; readonly late: boolean }[] =
    [];
  readonly told = new Set<string>();
  now = 1_000;
  #sessions = 0n;
  #written = 0;

  constructor(seed: number, defect: Defect) {
    this.random = randomOf(seed);
    this.defect = defect;
  }

  chance(of: number): boolean {
    return this.random() < of;
  }

  async start(device: Device): Promise<void> {
    device.journal = await DeviceJournal.open(device.backend);
    let next = BigInt(Math.floor(this.random() * 2 ** 50)) + 1n;
    device.core = new ClientCore(device.journal, device.journal.kept, () => next++);
    device.core.time(this.now);
    // What was shown, and not yet told, is told again: the application drops what it has by its name.
    for (const { message, late } of device.journal.untaken()) {
      this.#show(message, late);
    }
  }

  #show(message: Message, late: boolean): void {
    const name = `${message.stream}/${message.id}`;
    if (!this.told.has(name)) {
      this.told.add(name);
      const { stream, id } = message;
      this.shown.push({ text: Number(Buffer.from(message.body).toString()), stream, id: Number(id), late });
    }
  }

  say(device: Device, kind: Kinds): void {
    device.down.push(delimit(toBinary(FrameSchema, create(FrameSchema, { kind }))));
  }

  /** One turn, which a crash may end at any point. Whether the device lives. */
  async turn(device: Device): Promise<boolean> {
    const { core, journal } = device;
    assert.ok(core !== undefined && journal !== undefined);
    core.time(this.now);
    const early =
      this.defect === "acks before it keeps" || (this.defect === "sends before it keeps" && device === this.alice);
    const isDirty = core.prepare() || journal.isDirty;
    if (early) {
      this.#hear(device, core.finish().data);
    }
    if (this.chance(0.02)) {
      return this.#dies(device);
    }
    if (isDirty) {
      await journal.commit();
    }
    if (this.chance(0.02)) {
      return this.#dies(device);
    }
    const { data, events } = core.finish();
    for (const event of events) {
      if (event.case === "shown" && device === this.bob) {
        this.#show(event.message, event.late);
        if (this.chance(0.8)) {
          journal.untake(`alice/a1/${event.message.stream}/${event.message.id}`);
        }
      }
    }
    assert.equal(core.broken, undefined);
    this.#hear(device, data);
    return true;
  }

  #dies(device: Device): boolean {
    device.core = undefined;
    this.breaks(device);
    return false;
  }

  breaks(device: Device): void {
    device.connected = false;
    device.down = [];
    device.core?.disconnected();
  }

  #hear(device: Device, data: Uint8Array): void {
    for (const payload of new FrameReader(10 ** 6).receive(data)) {
      if (this.chance(0.03)) {
        this.breaks(device); // what is behind it is lost
      }
      if (!device.connected) {
        return;
      }
      this.#answer(device, fromBinary(FrameSchema, payload));
    }
  }

  #answer(device: Device, { kind }: Frame): void {
    if (kind.case === "login") {
      const previousSession = device.session;
      device.session = ++this.#sessions;
      device.counted = [];
      device.count = 0;
      const windows = { maxUnsettledPerStream: 8, maxUnsettledPerConnection: 20, maxUnacked: 256 };
      const value = { userId: device.name, deviceId: "a1", session: device.session, previousSession, ...windows };
      this.say(device, { case: "loggedIn", value });
      this.#scan();
    } else if (kind.case === "message") {
      this.#take(kind.value);
    } else if (kind.case === "ack") {
      for (const { number, name } of device.counted) {
        if (number <= Number(kind.value.upTo)) {
          this.inbox.delete(name);
        }
      }
    } else if (kind.case === "sync") {
      this.#scan();
      this.say(device, { case: "synced", value: { n: kind.value.n } });
    }
  }

  #take(message: Message): void {
    if (this.chance(0.15)) {
      const { stream, id } = message;
      this.say(this.alice, { case: "failed", value: { stream, id, code: 5, retryAfterMs: 500 } });
      return;
    }
    const whole = create(MessageSchema, { ...message, fromId: "alice", fromDevice: "a1", stamp: BigInt(this.now) });
    this.inbox.set(`${message.stream}/${message.id}`, whole);
    this.sent.add(Buffer.from(message.body).toString());
    if (this.chance(0.9)) {
      this.#deliver(whole); // else it waits, for a scan
    }
    const receipt = { stream: message.stream, ids: [message.id], stamps: [1n], sent: true };
    this.say(this.alice, { case: "receipt", value: receipt });
  }

  /** All of the inbox, in whatever order. */
  #scan(): void {
    for (const message of [...this.inbox.values()].sort(() => this.random() - 0.5)) {
      this.#deliver(message);
    }
  }

  #deliver(message: Message): void {
    const { bob } = this;
    if (bob.connected) {
      this.say(bob, { case: "message", value: message });
      bob.counted.push({ number: ++bob.count, name: `${message.stream}/${message.id}` });
    }
  }

  async step(device: Device): Promise<void> {
    if (device.core === undefined) {
      await this.start(device);
    }
    const { core } = device;
    assert.ok(core !== undefined);
    for (const outgoing of [...core.doubtful.values()]) {
      core.sendAgain(outgoing); // there is nobody else who has this state
    }
    if (!device.connected) {
      device.connected = true;
      core.connected("token", "simulation");
    }
    if (device === this.alice && this.#written < MESSAGES && this.chance(0.4)) {
      core.send("bob", Kind.TEXT, Buffer.from(String(this.#written)));
      if (await this.turn(device)) {
        this.#written++; // `send` has returned
      } else {
        await this.start(device);
        const kept = [...(device.core as unknown as ClientCore).outgoing()].map(({ body }) =>
          Number(Buffer.from(body).toString()),
        );
        this.#written += kept.includes(this.#written) ? 1 : 0;
      }
      return;
    }
    const heard = device.down.splice(0, 1 + Math.floor(this.random() * 4));
    for (const data of heard) {
      core.data(data);
    }
    if (this.chance(0.02)) {
      this.breaks(device);
    }
    await this.turn(device);
  }

  /** All that was written is SENT, and nothing is on its way. */
  get isQuiet(): boolean {
    const { alice, bob } = this;
    const isWritten = this.#written === MESSAGES && alice.core?.unsettled === 0 && alice.core.doubtful.size === 0;
    return isWritten && this.inbox.size === 0 && bob.core?.blocked === 0 && bob.down.length === 0;
  }
}

async function run(seed: number, defect: Defect = "none"): Promise<void> {
  const world = new World(seed, defect);
  for (let steps = 0; !world.isQuiet; steps++) {
    assert.ok(steps < 40_000, "it does not come to an end");
    await world.step(world.chance(0.5) ? world.alice : world.bob);
    world.now += Math.floor(world.random() * 400);
  }
  const texts = world.shown.map(({ text }) => text);
  assert.equal(new Set(texts).size, texts.length, "shown twice");
  assert.deepEqual(
    [...texts].sort((a, b) => a - b),
    Array.from({ length: MESSAGES }, (_, at) => at),
    "lost",
  );
  // Of each stream: more is promised to nobody.
  const last = new Map<bigint, number>();
  for (const { stream, id } of world.shown.filter(({ late }) => !late)) {
    assert.ok(id > (last.get(stream) ?? 0), "out of order");
    last.set(stream, id);
  }
}

test(`simulated crashes and losses, ${SEEDS} seeds`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    await run(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
  }
});

for (const defect of ["acks before it keeps", "sends before it keeps"] as const) {
  test(`a client that ${defect} is found`, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const isFine = await run(seed, defect).then(
        () => true,
        () => false,
      );
      if (!isFine) {
        return;
      }
    }
    assert.fail("it is not found");
  });
}
