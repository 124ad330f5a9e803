/** The client's core by itself: what it keeps before it tells, what ends with a connection, when it is woken. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { Acks } from "../src/core/acks.ts";
import { ORDER_WAIT_MS } from "../src/core/core.ts";
import { Erasures } from "../src/core/erasures.ts";
import { Streams } from "../src/core/streams.ts";
import { AboutSchema, Failed_Code, Goodbye_Code, Kind, MessageSchema } from "../src/gen/sparrow_pb.js";
import type { Outgoing } from "../src/protocol/outbound.ts";
import { Bench, bytes, GROUP, type Kinds, message, sent, shown, welcome } from "./bench.ts";

const TEXT: number = Kind.TEXT;
const DELIVERED: Kinds = { case: "receipt", value: { stream: 77n, ids: [1n], delivered: true, fromDevice: "a2" } };

function names(frames: Awaited<ReturnType<Bench["turn"]>>[0]): string[] {
  return frames.map(({ kind }) =>
    kind.case === "message"
      ? `${kind.value.stream}/${kind.value.id}`
      : kind.case === "ack"
        ? `ack ${kind.value.upTo}`
        : String(kind.case),
  );
}

// Connections.

test("nothing is said or asked on a connection that is gone", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  bench.core.send("bob", TEXT, bytes("one"));
  await bench.turn(message(2));
  bench.passes(ORDER_WAIT_MS); // 1 is to be asked for,
  bench.hears(message(3)); // and 3 to be acked
  bench.core.disconnected();
  assert.deepEqual(await bench.says(), []);
  assert.equal(bench.core.nextWake(), undefined);
  assert.equal(bench.core.loggedIn, false);
  // Bytes that were on their way are nobody's, and say nothing about the next connection.
  bench.hears(message(1));
  bench.core.ping();
  bench.core.logout();
  assert.deepEqual(await bench.turn(), [[], []]);
  assert.deepEqual(
    (await bench.logIn(2, 1)).map(({ kind }) => kind.case),
    ["sync", "message"],
  );
  assert.deepEqual(names((await bench.turn(message(2)))[0]), ["ack 1"]); // each connection counts its own
});

test("a breach ends with its connection", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  bench.core.data(Uint8Array.of(2, 0xff, 0xff));
  assert.notEqual(bench.core.broken, undefined);
  bench.core.disconnected();
  assert.equal(bench.core.broken, undefined);
});

test("what a login tells", async () => {
  const bench = await Bench.open();
  for (const tries of [1n, 2n]) {
    bench.core.connected("token", "tests 1.0");
    const [[frame]] = await bench.turn();
    assert.ok(frame?.kind.case === "login");
    const { token, client, start, tries: told, understands } = frame.kind.value;
    assert.deepEqual([token, client, start, told], ["token", "tests 1.0", 1000n, tries]);
    assert.deepEqual(understands, ["disabled", "changes", "groups"]);
    bench.core.disconnected();
  }
});

for (const [isOpen, previous] of [
  [true, 4],
  [true, 5],
  [false, 4],
  [false, 5],
] as const) {
  test(`streams go on only where nobody can have given their ids: open ${isOpen}, previous ${previous}`, async () => {
    const before = await Bench.open();
    await before.logIn(4);
    const settled = before.core.send("bob", TEXT, bytes("one"));
    before.core.send("bob", TEXT, bytes("two"));
    await before.turn();
    await before.turn(sent(settled));
    if (!isOpen) {
      before.core.disconnected();
      await before.turn();
    }
    const bench = await Bench.open(before.backend, 2000);
    assert.deepEqual(names(await bench.logIn(6, previous)), ["1001/2"]);
    const three = bench.core.send("bob", TEXT, bytes("three"));
    const goesOn = previous === 4 && !isOpen;
    assert.equal(three.stream?.number === 1001n && three.id === 3, goesOn);
    // Nothing overtakes what the old stream still has under way.
    assert.deepEqual(await bench.says(), goesOn ? ["message"] : []);
    const two = bench.core.outgoing().find((each) => each.id === 2) as Outgoing;
    await bench.turn(sent(two));
    assert.equal(bench.core.unsettled, 1);
    const again = await Bench.open(bench.backend);
    assert.deepEqual(
      again.journal.kept.outbound.map((each) => each.number === 1001n),
      [goesOn],
    );
  });
}

test("what was parked is shown behind what was missing, after a restart too", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  assert.deepEqual(await bench.events(message(3), message(5)), []);
  const again = await Bench.open(bench.backend);
  await again.logIn(2, 1);
  assert.equal(again.core.nextWake(), again.now + 500);
  assert.deepEqual(await again.events(message(3), message(2)), []);
  assert.deepEqual(shown(await again.events(message(1))), [1, 2, 3]);
  const [answers, events] = await again.turn(message(6, 5)); // 4 will not come, as its author knows
  assert.deepEqual([names(answers), events], [["ack 4", "sync"], []]);
  const last = await again.events({ case: "synced", value: { n: 1n } });
  assert.deepEqual(shown(last), [5, 6]);
  assert.deepEqual(
    last.find((event) => event.case === "skipped"),
    { case: "skipped", key: "bob/b1/5", first: 4, last: 4 },
  );
  assert.deepEqual((await Bench.open(again.backend)).journal.kept.parked, []);
});

test("ping and logout", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  await bench.turn(message(1, 1, { destId: GROUP })); // which need not be acked at once
  bench.core.ping();
  bench.core.logout();
  assert.deepEqual(await bench.says(), ["ping", "ack", "logout"]);
});

// What may have been sent already.

async function doubting(): Promise<[Bench, Outgoing, Outgoing]> {
  const bench = await Bench.open();
  await bench.logIn(4);
  bench.core.disconnected();
  bench.core.send("bob", TEXT, bytes("one"));
  bench.core.send("bob", Kind.READ, bytes(""), {
    about: create(AboutSchema, { fromDevice: "b1", stream: 5n, ids: [1n] }),
  });
  bench.core.send("bob", TEXT, bytes("two"));
  await bench.turn();
  const again = await Bench.open(bench.backend, 2000);
  again.core.send("bob", TEXT, bytes("new"));
  again.core.connected("token", "tests");
  const [answers, events] = await again.turn(welcome(9, 8));
  // READ may be told twice; and what was written since nobody else has.
  const said = answers.flatMap(({ kind }) =>
    kind.case === "message" ? [[kind.value.kind, Buffer.from(kind.value.body).toString()]] : [],
  );
  assert.deepEqual(said, [
    [Kind.READ, ""],
    [TEXT, "new"],
  ]);
  const doubtful = events.find((event) => event.case === "doubtful");
  const [one, two] = doubtful?.outgoing ?? [];
  assert.ok(one !== undefined && two !== undefined);
  assert.deepEqual([...again.core.doubtful.values()], [one, two]);
  return [again, one, two];
}

test("what somebody else may have sent goes out when a person says so", async () => {
  const [bench, one, two] = await doubting();
  assert.ok(bench.core.sendAgain(two));
  assert.ok(!bench.core.sendAgain(two));
  assert.deepEqual(await bench.says(), ["message"]);
  assert.ok(bench.core.giveUp(one));
  assert.ok(!bench.core.giveUp(one) && !bench.core.sendAgain(one));
  assert.deepEqual(await bench.turn(), [[], []]);
  const { kept } = (await Bench.open(bench.backend)).journal;
  assert.deepEqual([kept.drafts, kept.doubtful], [[], new Set()]);
});

test("it waits for that over restarts and without a connection", async () => {
  const [bench] = await doubting();
  const again = await Bench.open(bench.backend, 3000);
  const [one, two] = [...again.core.doubtful.values()];
  assert.ok(one !== undefined && two !== undefined && again.core.sendAgain(one));
  await again.turn();
  assert.deepEqual((await Bench.open(again.backend)).journal.kept.doubtful, new Set([two.draft]));
  // It waits behind what is under way, in a stream that ends: the session before was not seen to end.
  assert.equal((await again.logIn(10, 9)).length, 2);
  assert.equal(again.core.unsettled, 3);
  assert.deepEqual([...again.core.doubtful.values()], [two]);
});

for (const retryAfterMs of [0, 500]) {
  test(`a refusal, retry after ${retryAfterMs} ms`, async () => {
    const bench = await Bench.open();
    await bench.logIn();
    const outgoing = bench.core.send("bob", TEXT, bytes("one"));
    await bench.turn();
    const name = { stream: outgoing.stream?.number ?? 0n, id: BigInt(outgoing.id) };
    const failed: Kinds = { case: "failed", value: { ...name, code: Failed_Code.BLOCKED, text: "no", retryAfterMs } };
    const final = retryAfterMs === 0;
    assert.deepEqual(await bench.events(failed), [
      { case: "refused", outgoing, code: Failed_Code.BLOCKED, text: "no", final },
    ]);
    assert.equal(bench.core.unsettled, final ? 0 : 1);
    assert.equal((await bench.events(sent(outgoing))).length, final ? 0 : 1);
    assert.deepEqual(await bench.events(failed, sent(outgoing)), []); // it is settled
  });
}

// Keeping and telling.

test("what could not be kept is neither acked nor told", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  bench.backend.error = new Error("no space");
  await assert.rejects(bench.turn(message(1)), /no space/);
});

test("a message is kept before it is sent, with its stream", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  bench.backend.commits = [];
  bench.core.send("bob", TEXT, bytes("one"));
  assert.ok(bench.core.prepare());
  await bench.journal.commit();
  const [commit = []] = bench.backend.commits;
  const stores = commit.filter((entry) => entry.fields !== undefined).map((entry) => `${entry.store} ${entry.key}`);
  assert.deepEqual(stores, ["outbound 1001", "outgoing 1001/1"]);
  assert.ok(bench.core.finish().data.length > 0);
});

test("acks wait while the application has enough to do", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  bench.core.holdAcks = true;
  bench.core.send("bob", TEXT, bytes("one"));
  assert.deepEqual(await bench.says(message(1)), ["message"]); // all else goes on
  assert.deepEqual(await bench.says(message(2)), []);
  bench.core.holdAcks = false;
  assert.deepEqual(names((await bench.turn())[0]), ["ack 2"]);
  assert.deepEqual(await bench.says(), []);
});

test("DELIVERED without SENT is acked, but for an early one", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const early: Kinds = { case: "receipt", value: { stream: 77n, ids: [1n], delivered: true, early: true } };
  assert.deepEqual(await bench.says(early), []);
  assert.deepEqual(names((await bench.turn(DELIVERED))[0]), ["ack 1"]);
});

// Wake-ups.

test("it wants to be woken when a message is to be sent again", async () => {
  const bench = await Bench.open();
  bench.core.send("bob", TEXT, bytes("one"));
  await bench.turn();
  bench.core.connected("token", "tests");
  await bench.turn();
  assert.equal(bench.core.nextWake(), undefined); // who is not logged in sends nothing
  await bench.turn(welcome());
  assert.equal(bench.core.nextWake(), bench.now + 3000);
  bench.passes(3000);
  assert.deepEqual(await bench.says(), ["message"]);
  assert.equal(bench.core.nextWake(), bench.now + 6000);
  const [outgoing] = bench.core.outgoing();
  const name = { stream: outgoing?.stream?.number ?? 0n, id: 1n };
  await bench.turn({ case: "failed", value: { ...name, code: Failed_Code.UNAVAILABLE, retryAfterMs: 500 } });
  assert.equal(bench.core.nextWake(), bench.now + 1000); // its second try
  await bench.turn({ case: "goodbye", value: { code: Goodbye_Code.MOVE } });
  assert.equal(bench.core.nextWake(), undefined);
});

test("a long wait is cut short where another message has gone through", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const [one, two] = ["one", "two"].map((text) => bench.core.send("bob", TEXT, bytes(text)));
  assert.ok(one !== undefined && two !== undefined);
  await bench.turn();
  const name = { stream: one.stream?.number ?? 0n, id: 1n };
  await bench.turn({ case: "failed", value: { ...name, code: Failed_Code.INBOX_FULL, retryAfterMs: 3_600_000 } });
  bench.passes(100);
  assert.deepEqual(names((await bench.turn(sent(two)))[0]), ["1001/1"]);
});

test("windows: of a stream and of a connection", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const messages = Array.from({ length: 12 }, (_, at) => bench.core.send("bob", TEXT, bytes(String(at))));
  assert.equal((await bench.turn())[0].length, 9);
  assert.deepEqual(names((await bench.turn(sent(messages[3] as Outgoing)))[0]), []); // 1 is not settled
  assert.deepEqual(names((await bench.turn(sent(messages[0] as Outgoing)))[0]), ["1001/10"]);
});

test("it looks at a stream that waits for something", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  assert.equal(bench.core.nextWake(), undefined);
  assert.deepEqual(await bench.says(message(2)), ["ack"]);
  let answers: unknown[] = [];
  let woken = 0;
  while (answers.length === 0) {
    woken++;
    assert.equal(bench.core.nextWake(), bench.now + 500);
    bench.passes(500);
    answers = await bench.says();
  }
  assert.deepEqual(answers, ["sync"]);
  assert.equal(woken * 500, ORDER_WAIT_MS);
  assert.deepEqual(shown(await bench.events({ case: "synced", value: { n: 1n } })), [2]);
  assert.deepEqual(await bench.events(message(1)).then(([event]) => event?.case === "shown" && event.late), true);
});

test("what has been unsettled for longer than messages live is never sent again", async () => {
  const life = 1000n * 3600n;
  const bench = await Bench.open();
  await bench.logIn(1, 0, { serverTimeMs: 1_000_000_000n, inboxTtlMs: life });
  const outgoing = bench.core.send("bob", TEXT, bytes("one"));
  await bench.turn();
  bench.core.disconnected();
  await bench.turn();
  const again = await Bench.open(bench.backend);
  assert.deepEqual(await again.logIn(2, 1, { serverTimeMs: 1_000_000_001n + life, inboxTtlMs: life }), []);
  const [event] = await again.events();
  assert.ok(event?.case === "refused" && event.final && event.outgoing.id === outgoing.id);
  assert.equal((await Bench.open(again.backend)).journal.kept.outbound[0]?.messages.size, 0);
});

// Groups and changes.

test("what is for a group, or a change, waits for a server that knows it", async () => {
  const bench = await Bench.open();
  await bench.logIn(1, 0, { understands: [] });
  const about = create(AboutSchema, { fromDevice: "a1", stream: 9n, ids: [1n] });
  bench.core.send(GROUP, TEXT, bytes("all"));
  bench.core.send("bob", Kind.ERASE, bytes(""), { about });
  assert.deepEqual(await bench.says(), []);
  assert.equal(bench.core.unsettled, 2);
  bench.core.disconnected();
  assert.equal((await bench.logIn(2, 1)).length, 2);
});

test("messages of groups are acked late", () => {
  const acks = new Acks();
  acks.window(256);
  acks.countedLate(10, 1000);
  assert.deepEqual([acks.isDue(1000), acks.due], [false, 31_000]);
  for (let count = 0; count < 63; count++) {
    acks.countedLate(10, 2000);
  }
  assert.ok(acks.isDue(2000));
  acks.acked();
  acks.countedLate(65_536, 3000);
  assert.ok(acks.isDue(3000));
});

test("a change of a group is shown before the first message of its version", async () => {
  const bench = await Bench.open(undefined, undefined, true);
  await bench.logIn();
  const of = (id: number, version: bigint): Kinds => message(id, 1, { destId: GROUP, version });
  assert.deepEqual(await bench.events(of(1, 3n)), [{ case: "groupBehind", group: GROUP, version: 3n }]);
  assert.deepEqual(shown(await bench.events(of(2, 3n))), []);
  const again = await Bench.open(bench.backend, undefined, true);
  await again.logIn(2, 1);
  again.core.groupAt(GROUP, 3n);
  assert.deepEqual(shown(await again.events()), [1, 2]);
  assert.deepEqual(shown(await again.events(of(3, 3n))), [3]);
  await again.turn(of(4, 4n));
  again.passes(10_000);
  assert.deepEqual(shown(await again.events()), [4]); // what cannot be had is not waited for
  assert.equal(again.core.groupVersion(GROUP), 3n);
});

test("an erased message of a group is passed, and nothing is shown", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const of = (id: number, more: object = {}): Kinds => message(id, 1, { destId: GROUP, version: 0n, ...more });
  await bench.turn(of(3));
  await bench.turn(of(3, { erased: true }));
  assert.deepEqual(shown(await bench.events(of(1), of(2, { erased: true }))), [1]);
  assert.deepEqual(shown(await bench.events(of(4))), [4]);
});

test("where only streams of a group miss something, the group alone is asked for", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const [answers] = await bench.turn(message(2, 2, { destId: GROUP }));
  assert.deepEqual(
    answers.map(({ kind }) => kind.case === "sync" && kind.value.group),
    [GROUP],
  );
});

test("who uses one stream for a group and for something else has two", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  assert.deepEqual(shown(await bench.events(message(1), message(1, 1, { destId: GROUP }))), [1, 1]);
});

test("what was erased before it came is waited for by nobody", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  const about = { fromDevice: "b1", stream: 5n, ids: [1n] };
  const events = await bench.events(
    message(2),
    message(1, 1, { stream: 6n, kind: Kind.ERASE, about, body: bytes("") }),
  );
  assert.deepEqual(shown(events), [2, 1]);
  assert.deepEqual(await bench.events(message(1)), []);
});

test("what was paged is gone past, and not shown twice", async () => {
  const bench = await Bench.open();
  await bench.logIn();
  await bench.turn(message(3));
  for (const id of [1, 2]) {
    bench.journal.putPaged({ peer: "bob", author: "bob", device: "b1", stream: 5n, id });
  }
  bench.core.paged();
  assert.deepEqual(shown(await bench.events()), [3]);
  bench.journal.putPaged({ peer: "bob", author: "bob", device: "b1", stream: 5n, id: 4 });
  const [answers, events] = await bench.turn(message(4));
  assert.deepEqual([names(answers), shown(events)], [["ack 2"], []]);
  assert.deepEqual(
    bench.journal.untaken().map(({ message: each }) => Number(each.id)),
    [3],
  );
});

// Bounds.

test("who begins many streams is forgotten first", () => {
  const streams = new Streams([], 2, 3);
  const busy = (): boolean => false;
  assert.equal(streams.tooMany("m/d/1", "me", busy), undefined);
  assert.equal(streams.tooMany("m/d/2", "me", busy), undefined);
  assert.equal(streams.tooMany("m/d/3", "me", busy), "m/d/1");
  streams.heard("m/d/2");
  assert.equal(streams.tooMany("b/d/1", "me", busy), undefined);
  assert.equal(
    streams.tooMany("b/d/2", "me", (key) => key === "m/d/3"),
    "m/d/2",
  );
  assert.equal(streams.size, 3);
});

test("names of what was erased are bounded", () => {
  const erasures = new Erasures(2);
  const about = { fromDevice: "b1", stream: 5n, ids: [1n, 2n, 3n] };
  erasures.told(create(MessageSchema, { fromId: "bob", kind: Kind.ERASE, about }), new Map());
  assert.equal(erasures.size, 2);
});
