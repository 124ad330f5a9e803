/** A client whose state is in IndexedDB: a tab that was frozen, and one that has gone on in its place. */

import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { test } from "node:test";

import { IndexedDbBackend } from "../src/browser.ts";
import { Client, StateError } from "../src/index.ts";
import { tcp } from "../src/node.ts";
import { FakeServer, polite } from "./fake_server.ts";

test("a tab that wakes up when another one is the device gives no id, and acks nothing", async (context) => {
  const server = await FakeServer.start();
  const options = { api: server.api, password: "x", transports: [tcp()], closeTimeoutMs: 100 };
  const open = async (): Promise<Client> =>
    Client.open("alice", { ...options, state: await IndexedDbBackend.open("alice") });
  const frozen = await open();
  const first = await frozen.send("bob", "one");
  await first.sent();
  const [old] = server.sessions;
  assert.ok(old !== undefined);

  // Its connection does not break: it does not even hear of it.
  const next = await open();
  context.after(async () => {
    await Promise.all([frozen.close(), next.close()]);
    await server.stop();
  });
  const isTakenOver = (error: unknown): boolean => error instanceof StateError && error.trouble === "taken_over";
  const said = old.heard.length;
  await assert.rejects(frozen.send("bob", "from a frozen tab"), isTakenOver);
  await assert.rejects(frozen.send("bob", "again"), isTakenOver);
  assert.equal(old.heard.length, said);
  assert.ok(!frozen.isConnected);

  // It cannot know that the other's session has ended, so it begins a new stream; the device is the same.
  const second = await next.send("bob", "two");
  await second.sent();
  assert.notEqual(second.stream, first.stream);
  assert.equal(next.device, frozen.device);
  assert.equal(server.asked.filter(([path]) => path === "/v1/login").length, 1);
});

test("a message that comes to a frozen tab is the other's", async (context) => {
  const server = await FakeServer.start(polite);
  const options = { api: server.api, password: "x", transports: [tcp()], closeTimeoutMs: 100 };
  const frozen = await Client.open("alice", { ...options, state: await IndexedDbBackend.open("arrivals") });
  const closed = new Promise<unknown>((resolve) => frozen.on("closed", ({ error }) => resolve(error)));
  await IndexedDbBackend.open("arrivals");
  context.after(async () => {
    await frozen.close();
    await server.stop();
  });
  const message = { fromId: "bob", fromDevice: "b1", destId: "alice", stream: 9n, id: 1n, settled: 1n, kind: 1 };
  server.latest.say({ case: "message", value: message });
  const error = await closed;
  assert.ok(error instanceof StateError && error.trouble === "taken_over");
  assert.equal(server.latest.acked, 0);
});
