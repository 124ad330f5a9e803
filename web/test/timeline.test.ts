import assert from "node:assert/strict";
import { suite, test } from "node:test";

import type { Line } from "../src/model/line.ts";
import type { LinePage } from "../src/model/told.ts";
import { Timeline } from "../src/state/timeline.ts";

const NOBODY: LinePage = { lines: [], next: undefined, isPartial: false };

function line(id: number, more: Partial<Line> = {}): Line {
  const names = { peer: "bob", author: "bob", device: "b1", stream: 7n, id, name: `bob b1 7/${id}`, draft: "" };
  const said = { stamp: BigInt(id) * 10n, kind: 1, text: `text ${id}`, file: undefined, revision: 0, editedMs: 0 };
  return { ...names, ...said, erasedBy: "", progress: "", note: "", ...more };
}

function mine(id: number, more: Partial<Line> = {}): Line {
  return line(id, { author: "alice", device: "a1", name: `alice a1 9/${id}`, progress: "sent", ...more });
}

const texts = (timeline: Timeline): string[] => timeline.lines.value.map(({ text }) => text);

suite("a timeline", () => {
  test("is in order and has each once, however lines come", () => {
    const all = Array.from({ length: 6 }, (_, at) => line(at + 1));
    for (const order of [
      [0, 1, 2, 3, 4, 5],
      [5, 4, 3, 2, 1, 0],
      [2, 5, 0, 0, 4, 1, 3, 2],
    ]) {
      const timeline = new Timeline("bob", () => Promise.resolve(NOBODY));
      for (const at of order) {
        timeline.put([all[at] as Line]);
      }
      assert.deepEqual(
        texts(timeline),
        all.map(({ text }) => text),
      );
      timeline.put(all);
      assert.equal(timeline.lines.value.length, 6);
    }
  });

  test("shows a message of ours once, from its draft to its name", () => {
    const timeline = new Timeline("bob", () => Promise.resolve(NOBODY));
    const draft = { draft: "run 1", stamp: 0n, progress: "queued" } as const;
    timeline.put([line(1), mine(0, { ...draft, id: 0, name: "", text: "hello" })]);
    timeline.put([line(2)]);
    assert.deepEqual(texts(timeline), ["text 1", "text 2", "hello"]);
    timeline.put([mine(1, { ...draft, text: "hello" })]);
    timeline.put([mine(1, { draft: "run 1", stamp: 15n, text: "hello" })]);
    timeline.put([mine(1, { stamp: 15n, text: "hello" })]); // of a page
    assert.deepEqual(texts(timeline), ["text 1", "hello", "text 2"]);
    assert.equal(timeline.lines.value[1]?.progress, "sent");
    timeline.put([mine(1, { draft: "run 1", stamp: 15n, text: "hello", progress: "read" })]);
    timeline.put([mine(1, { stamp: 15n, text: "hello" })]);
    assert.equal(timeline.lines.value[1].progress, "read");
  });

  test("takes no message of another run for one of this", async () => {
    const timeline = new Timeline("bob", () => Promise.resolve(NOBODY));
    timeline.put([mine(1, { draft: "one 1", text: "of the first" })]);
    timeline.put([mine(0, { draft: "one 2", name: "", stamp: 0n, text: "not numbered" })]);
    const loading = timeline.begin();
    await timeline.begin(true);
    await loading;
    timeline.put([mine(2, { draft: "two 1", text: "of the second" })]);
    timeline.put([mine(2, { draft: "two 2", name: "", stamp: 0n, text: "not numbered" })]);
    assert.deepEqual(texts(timeline), ["of the first", "of the second", "not numbered"]);
  });

  test("an erasure is final, and the newer text counts", () => {
    const timeline = new Timeline("bob", () => Promise.resolve(NOBODY));
    timeline.put([line(1), line(2)]);
    timeline.put([line(1, { text: "edited", revision: 2 })]);
    timeline.put([line(1, { text: "older", revision: 1 })]);
    assert.deepEqual(texts(timeline), ["edited", "text 2"]);
    timeline.put([line(2, { text: "", erasedBy: "bob" })]);
    timeline.put([line(2)]);
    assert.deepEqual(texts(timeline), ["edited", ""]);
    assert.equal(timeline.lines.value[1]?.erasedBy, "bob");
  });

  test("pages back to the beginning, and says how many came above", async () => {
    const pages = [[6, 5, 4], [4, 3, 2], [1]];
    const asked: (string | undefined)[] = [];
    const timeline = new Timeline("bob", (before) => {
      asked.push(before?.next);
      const at = asked.length - 1;
      const lines = (pages[at] ?? []).map((id) => line(id));
      const next = at < 2 ? { next: `page ${at + 1}`, stamp: 1n } : undefined;
      return Promise.resolve({ lines, next, isPartial: false });
    });
    await timeline.begin();
    timeline.put([line(7)]);
    assert.equal(timeline.above.value, 0);
    await timeline.older();
    assert.equal(timeline.above.value, 2);
    assert.ok(timeline.hasOlder.value);
    await timeline.older();
    assert.ok(!timeline.hasOlder.value);
    await timeline.older();
    assert.deepEqual(asked, [undefined, "page 1", "page 2"]);
    assert.deepEqual(
      timeline.lines.value.map(({ id }) => id),
      [1, 2, 3, 4, 5, 6, 7],
    );
  });

  test("shows nothing above an earlier one of its stream, whatever the servers' clocks did", () => {
    const timeline = new Timeline("bob", () => Promise.resolve(NOBODY));
    const carol = { author: "carol", name: "carol c1 3/1", stream: 3n, id: 1, text: "carol" };
    timeline.put([line(1, { stamp: 500n }), line(2, { stamp: 100n }), line(3, { stamp: 600n })]);
    timeline.put([line(9, { ...carol, stamp: 300n })]);
    assert.deepEqual(texts(timeline), ["carol", "text 1", "text 2", "text 3"]);
    timeline.put([mine(0, { name: "", draft: "run 1", stamp: 0n, text: "mine" }), line(4, { stamp: 50n })]);
    assert.deepEqual(texts(timeline), ["carol", "text 1", "text 2", "text 3", "text 4", "mine"]);
    // Of several stamps the lowest counts.
    timeline.put([line(1, { stamp: 200n })]);
    timeline.put([line(1, { stamp: 900n })]);
    assert.deepEqual(texts(timeline), ["text 1", "text 2", "carol", "text 3", "text 4", "mine"]);
  });

  test("goes back as far as a line, or says that it is not there", async () => {
    let asked = 0;
    const timeline = new Timeline("bob", (before) => {
      asked++;
      const from = before === undefined ? 100n : before.stamp;
      const next = { next: `below ${from}`, stamp: from - 1n };
      return Promise.resolve({ lines: [line(Number(from))], next, isPartial: false });
    });
    assert.ok(await timeline.seek(line(95).name, 20));
    assert.equal(asked, 6);
    assert.ok(!(await timeline.seek("nobody", 3)));
    assert.equal(asked, 9);
    // Asked twice at once, it is loaded once.
    await Promise.all([timeline.older(), timeline.older(), timeline.begin(), timeline.begin()]);
    assert.equal(asked, 11);
  });

  test("says why it could not be loaded, and can be tried again", async () => {
    let fails = true;
    const page = (): Promise<LinePage> =>
      fails ? Promise.reject(new Error("no way there")) : Promise.resolve({ ...NOBODY, lines: [line(1)] });
    const timeline = new Timeline("bob", page);
    await timeline.begin();
    assert.equal(timeline.problem.value, "no way there");
    fails = false;
    await timeline.begin();
    assert.equal(timeline.problem.value, "");
    assert.deepEqual(texts(timeline), ["text 1"]);
  });
});
