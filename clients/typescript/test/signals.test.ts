/** Signals: to a server that takes them, while there is a connection, and no oftener than they are believed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Client,
  type ClientEvents,
  InvalidIdError,
  MessageTooLargeError,
  MisuseError,
  SignalKind,
  Typists,
} from "../src/index.ts";
import { tcp } from "../src/node.ts";
import { Typing } from "../src/signals.ts";
import { Bench, bytes, GROUP } from "./bench.ts";
import { FakeServer, polite } from "./fake_server.ts";

test("a core sends none to a server that does not know them, and keeps none", async () => {
  const bench = await Bench.open();
  assert.ok(!bench.core.signal("bob", SignalKind.TYPING, bytes("")));
  await bench.logIn(1, 0, { understands: ["signals"] });
  assert.ok(!bench.core.signal(GROUP, SignalKind.TYPING, bytes("")));
  assert.ok(bench.core.signal("bob", 1000, bytes("x")));
  const commits = bench.backend.commits.length;
  const [[frame], events] = await bench.turn();
  assert.ok(frame?.kind.case === "signal");
  const { destId, kind, body, fromId } = frame.kind.value;
  assert.deepEqual([destId, kind, Buffer.from(body).toString(), fromId, events], ["bob", 1000, "x", "", []]);
  assert.equal(bench.backend.commits.length, commits);
  bench.core.disconnected();
  await bench.logIn(2, 1, { understands: ["changes", "groups"] });
  assert.ok(!bench.core.signal("bob", SignalKind.TYPING, bytes("")));
});

test("a signal that comes is neither counted nor acked; one that cannot be read is passed over", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const value = { kind: SignalKind.TYPING, destId: "alice", fromId: "bob", fromDevice: "b1" };
  const [answers, events] = await bench.turn({ case: "signal", value });
  assert.deepEqual([answers, events.map((event) => event.case)], [[], ["signal"]]);
  bench.core.data(Uint8Array.of(3, 0x72, 1, 0x0b)); // cut off inside
  assert.deepEqual(await bench.turn(), [[], []]);
  assert.equal(bench.core.broken, undefined);
});

test("a client: typing is said every three seconds, and stops with a message", async (context) => {
  const server = await FakeServer.start((session, frame) => {
    if (frame.case === "login") {
      assert.ok(frame.value.understands.includes("signals"));
      session.welcome({ understands: ["signals", "groups"] });
    } else {
      polite(session, frame);
    }
  });
  const heard: ClientEvents["signal"][] = [];
  const alice = await Client.open("alice", { api: server.api, password: "x", transports: [tcp()] }, (client) => {
    client.on("signal", (signal) => heard.push(signal));
  });
  context.after(async () => {
    await alice.close();
    await server.stop();
  });
  assert.deepEqual(await Promise.all([alice.typing("bob"), alice.typing("bob"), alice.typing(GROUP)]), [
    true,
    false,
    true,
  ]);
  assert.ok(await alice.stoppedTyping("bob"));
  assert.ok(!(await alice.stoppedTyping("bob")));
  assert.ok(await alice.typing("bob"));
  await (await alice.send("bob", "hi")).sent();
  assert.ok(!(await alice.stoppedTyping("bob")));
  assert.ok(await alice.signal("bob", 2000, bytes("x".repeat(1024))));
  const said = server.latest.heard.flatMap((kind) =>
    kind.case === "signal" ? [`${kind.value.destId} ${kind.value.kind}`] : [],
  );
  assert.deepEqual(said.slice(0, 4), ["bob 1", `${GROUP} 1`, "bob 2", "bob 1"]);
  await assert.rejects(alice.signal("bob", 3), MisuseError);
  await assert.rejects(alice.signal("bob", 0), MisuseError);
  await assert.rejects(alice.signal("Bob!", 1), InvalidIdError);
  await assert.rejects(alice.signal("bob", 1000, new Uint8Array(1025)), MessageTooLargeError);

  const from = { fromId: "bob", fromDevice: "b1", body: bytes("x") };
  server.latest.say({ case: "signal", value: { ...from, kind: 7 as never, destId: "alice" } }); // of a later version
  server.latest.say({ case: "signal", value: { ...from, kind: 1, destId: "alice" } });
  server.latest.say({ case: "signal", value: { ...from, kind: 1000 as never, destId: GROUP } });
  await (await alice.send("bob", "there?")).sent();
  assert.deepEqual(
    heard.map(({ peer, sender, kind }) => [peer, sender, kind]),
    [
      ["bob", "bob", 1],
      [GROUP, "bob", 1000],
    ],
  );
  server.script = () => undefined;
  server.latest.socket.destroy();
  await new Promise((resolve) => alice.on("disconnected", resolve));
  assert.ok(!(await alice.typing("bob")));
});

test("who is typing, and for how long", () => {
  const typists = new Typists();
  const of = (sender: string, kind: number, peer = "bob"): ClientEvents["signal"] => ({
    peer,
    sender,
    device: "b1",
    kind,
    body: bytes(""),
  });
  assert.ok(typists.noticed(of("bob", 1), 0));
  assert.ok(!typists.noticed(of("bob", 1), 3000));
  assert.ok(!typists.noticed(of("bob", 1000), 3000));
  assert.ok(typists.noticed(of("carol", 1, GROUP), 3000));
  assert.deepEqual(
    [typists.typing("bob", 8999), typists.typing("bob", 9000), typists.typing(GROUP, 3000)],
    [["bob"], [], ["carol"]],
  );
  assert.deepEqual(typists.peers(), ["bob", GROUP]);
  assert.ok(typists.noticed(of("carol", 2, GROUP), 3000));
  assert.ok(typists.expire(9000) && !typists.expire(9000));
  for (let number = 0; number < 300; number++) {
    typists.noticed(of(`user${number}`, 1), 0);
  }
  assert.deepEqual(
    [typists.size, typists.stopped("bob", "user299"), typists.stopped("bob", "user0")],
    [200, true, false],
  );
  const typing = new Typing();
  assert.ok(typing.isDue("bob", 0));
  typing.told("bob", 0);
  assert.deepEqual(
    [typing.isDue("bob", 2999), typing.isDue("bob", 3000), typing.ended("bob", 6000)],
    [false, true, false],
  );
});
