/** Addresses, and the same client over WebSockets. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, ConfigError, websocket } from "../src/index.ts";
import { parseAddress } from "../src/transport/transport.ts";
import { FakeServer } from "./fake_server.ts";
import { WebSocketBridge } from "./websocket_bridge.ts";

test("addresses", () => {
  for (const [text, scheme, host, port] of [
    ["chat.example.net:7400", "tcp", "chat.example.net", 7400],
    ["[::1]:7400", "tcp", "::1", 7400],
    ["tls://chat.example.net:7400", "tls", "chat.example.net", 7400],
    ["tls://[::1]:65535", "tls", "::1", 65_535],
    ["ws://127.0.0.1:1", "ws", "127.0.0.1", 1],
    ["wss://chat.example.net:7443/", "wss", "chat.example.net", 7443],
    ["wss://chat.example.net/sparrow?a=b", "wss", "chat.example.net", 443],
    ["ws://[::1]/", "ws", "::1", 80],
    ["wss://[::1]:443", "wss", "::1", 443],
  ] as const) {
    assert.deepEqual(parseAddress(text), { scheme, host, port, text });
  }
  const wrong = [
    "",
    "7400",
    ":7400",
    "host:",
    "host:0",
    "host:99999",
    "host:x",
    "tls://host",
    "tls://:1",
    "ssl://host:1",
  ];
  for (const text of [
    ...wrong,
    "host:1/",
    "ws://host:1/#path",
    "ws://host:0",
    "ws://",
    "ws:///path",
    "ws://host:1/ü",
    "ws://user@host:1",
    "http://host:1",
    "::1:7400",
    "a b:1",
  ]) {
    assert.throws(() => parseAddress(text), ConfigError, text);
  }
});

test("over WebSockets, whose messages are cut anywhere, it is the same conversation", async (context) => {
  const server = await FakeServer.start();
  const bridge = await WebSocketBridge.start(server.address);
  const timing = { firstRetryMs: 20, lastRetryMs: 50 };
  const reasons: string[] = [];
  const options = { api: server.api, password: "x", connectors: [server.address, bridge.address], timing };
  const alice = await Client.open("alice", options, (client) => {
    client.on("disconnected", ({ reason }) => reasons.push(reason));
  });
  context.after(async () => {
    await alice.close();
    await bridge.stop();
    await server.stop();
  });
  for (const size of [1, 100, 200, 64_000]) {
    await (await alice.send("bob", "x".repeat(size))).sent();
  }
  bridge.text = "some other server";
  bridge.cut();
  await (await alice.send("bob", "again")).sent();
  assert.deepEqual(
    server.sessions.flatMap((session) => session.messages).map(({ body }) => body.length),
    [1, 100, 200, 64_000, 5],
  );
  assert.match(reasons.join("; "), /sent text, and is no connector/);
  assert.deepEqual(websocket.schemes, ["ws", "wss"]);
});

test("nobody at the other end of a WebSocket", async () => {
  const server = await FakeServer.start();
  const options = { api: server.api, password: "x", connectors: ["ws://127.0.0.1:1"], openTimeoutMs: 300 };
  await assert.rejects(Client.open("alice", options), /cannot reach ws:\/\/127.0.0.1:1/);
  await server.stop();
});
