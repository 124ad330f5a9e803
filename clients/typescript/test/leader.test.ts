/** Which tab is the device. Node has Web Locks and channels as browsers do. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";

import { Leader } from "../src/journal/leader.ts";

const ALIVE_MS = 60;
let count = 0;

class Tab {
  readonly told: string[] = [];
  readonly leader: Leader;

  constructor(name: string, channel?: (name: string) => BroadcastChannel) {
    this.leader = new Leader(name, {
      onLead: () => void this.told.push("lead"),
      onLost: () => void this.told.push("lost"),
      aliveMs: ALIVE_MS,
      ...(channel && { channel }),
    });
  }
}

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !isSo(); tries++) {
    await sleep(5);
  }
  assert.ok(isSo());
}

test("one tab leads, and the next one when that closes", async () => {
  const name = `tabs ${++count}`;
  const one = new Tab(name);
  await until(() => one.leader.state === "leading");
  const two = new Tab(name);
  await sleep(4 * ALIVE_MS);
  assert.equal(two.leader.state, "waiting");
  one.leader.close();
  await until(() => two.leader.state === "leading");
  assert.deepEqual([one.told, two.told], [["lead"], ["lead"]]);
  two.leader.close();
});

test("a tab that does not answer is taken over from, and hears of it", async () => {
  const name = `tabs ${++count}`;
  /** Nobody hears what is said on it. */
  const deaf = (): BroadcastChannel => new BroadcastChannel(`deaf ${name}`);
  const frozen = new Tab(name, deaf);
  await until(() => frozen.leader.state === "leading");
  const next = new Tab(name);
  await until(() => next.leader.state === "leading");
  await until(() => frozen.leader.state === "lost");
  assert.deepEqual([frozen.told, next.told], [["lead", "lost"], ["lead"]]);
  const third = new Tab(name);
  await sleep(3 * ALIVE_MS);
  assert.deepEqual([third.leader.state, next.leader.state], ["waiting", "leading"]);
  third.leader.close();
  next.leader.close();
});

test("a tab that has slept itself takes nobody's answer for missing", async () => {
  const name = `tabs ${++count}`;
  const one = new Tab(name);
  await until(() => one.leader.state === "leading");
  await immediate(); // behind it timers come first: its own is due before it has heard anything
  const two = new Tab(name);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4 * ALIVE_MS);
  await sleep(4 * ALIVE_MS);
  assert.deepEqual([one.leader.state, two.leader.state], ["leading", "waiting"]);
  two.leader.close();
  one.leader.close();
});

test("one that waits may give up", async () => {
  const name = `tabs ${++count}`;
  const one = new Tab(name);
  const two = new Tab(name);
  await until(() => one.leader.state === "leading" || two.leader.state === "leading");
  const [leading, waiting] = one.leader.state === "leading" ? [one, two] : [two, one];
  waiting.leader.close();
  leading.leader.close();
  await sleep(2 * ALIVE_MS);
  assert.deepEqual([waiting.told, waiting.leader.state], [[], "closed"]);
});
