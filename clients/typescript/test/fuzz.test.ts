/** Whatever a server says: the core breaks with it or goes on, throws nothing, and keeps a state that can be read. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";

import { FrameSchema } from "../src/gen/sparrow_pb.js";
import { concat, delimit, FrameReader } from "../src/protocol/framing.ts";
import { Bench, GROUP, type Kinds, message, welcome } from "./bench.ts";
import { load, unhex, type Vector } from "./vectors.ts";

const RUNS = Number(process.env["RUNS"] ?? 1000);
const MOST = (1n << 64n) - 1n;

function frames(kinds: readonly Kinds[]): Uint8Array[] {
  return kinds.map((kind) => delimit(toBinary(FrameSchema, create(FrameSchema, { kind }))));
}

/** What servers say, and what none of ours does: numbers at their ends. */
const SEEDS: Uint8Array[] = [
  ...load<Vector>("frames")
    .filter(({ from, frame }) => from === "server" && frame !== null)
    .map(({ hex }) => unhex(hex)),
  ...load<Vector>("unreadable_frames").map(({ hex }) => unhex(hex)),
  ...frames([
    message(2 ** 53 - 1, 2 ** 53 - 1, { stream: MOST, stamp: MOST, version: MOST, mark: MOST }),
    message(3, 1, { destId: GROUP, version: MOST, erased: true }),
    message(4, 4, { kind: 5, about: { fromDevice: "b1", stream: 5n, ids: [MOST] } }),
    message(5, 4, { kind: 4, revision: 1, about: { fromDevice: "b1", stream: MOST, ids: [MOST] } }),
    message(6, 1, { kind: 3, about: { fromDevice: "/", stream: 0n, ids: [0n, MOST] } }),
    message(7, 1, { fromId: "a/b", fromDevice: "~x/y", destId: "~short" }),
    { case: "synced", value: { n: MOST } },
    { case: "failed", value: { stream: 1001n, id: MOST, retryAfterMs: 2 ** 32 - 1 } },
    { case: "receipt", value: { stream: 1001n, ids: [1n, MOST, 1n], stamps: [MOST], sent: true } },
    { case: "hint", value: { kind: 99 as never, group: GROUP, version: MOST } },
  ]),
];

const WELCOMES = [
  {},
  { serverTimeMs: MOST, inboxTtlMs: MOST },
  { serverTimeMs: 1n, inboxTtlMs: 1n, maxUnsettledPerStream: 0, maxUnsettledPerConnection: 0, heartbeatMs: 0 },
  { maxUnacked: 1, understands: ["groups", "groups", "x".repeat(1000)] },
];

test(`${RUNS} conversations with servers that say anything`, async () => {
  let state = 20_261_127;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const pick = <T>(from: readonly T[]): T => from[random(from.length)] as T;
  const mutated = (seed: Uint8Array): Uint8Array => {
    const [payload = seed] = new FrameReader(10 ** 6).receive(seed);
    const bytes = Uint8Array.from(payload);
    for (let count = random(3); count > 0 && bytes.length > 0; count--) {
      bytes[random(bytes.length)] = pick([0, 1, 0x7f, 0x80, 0xff, random(256)]);
    }
    const cut = random(8) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
    return random(30) === 0 ? cut : delimit(cut);
  };
  let broken = 0;
  for (let run = 0; run < RUNS; run++) {
    const bench = await Bench.open(undefined, undefined, random(2) === 0);
    bench.core.send("bob", 1, Uint8Array.of(65));
    bench.core.send(GROUP, 1, Uint8Array.of(66));
    bench.core.connected("token", "fuzz");
    await bench.turn(welcome(1, random(2), pick(WELCOMES)));
    for (let turns = 1 + random(4); turns > 0; turns--) {
      bench.core.data(concat(Array.from({ length: 1 + random(4) }, () => mutated(pick(SEEDS)))));
      await bench.turn();
      bench.passes(random(20_000));
    }
    broken += bench.core.broken === undefined ? 0 : 1;
    bench.core.disconnected();
    await bench.turn();
    const again = await Bench.open(bench.backend, 2000, true);
    await again.logIn(2, 1);
  }
  assert.ok(broken > RUNS / 100 && broken < RUNS);
});
