import assert from "node:assert/strict";
import { suite, test } from "node:test";

import type { GroupChange } from "sparrow-client";

import type { Line } from "../src/model/line.ts";
import { itemsOf } from "../src/state/items.ts";

const NOON = new Date(2026, 10, 27, 12).getTime();
const DAY = 86_400_000;
const NOTHING = { lines: [], changes: [], mark: 0n, user: "alice", hasOlder: false };

function line(ms: number, author = "bob"): Line {
  const names = { peer: "bob", author, device: "b1", stream: 7n, id: ms, name: `${author} ${ms}`, draft: "" };
  const said = { stamp: BigInt(ms) << 20n, kind: 1, text: "", file: undefined, revision: 0, editedMs: 0 };
  return { ...names, ...said, erasedBy: "", progress: "", note: "" };
}

function change(ms: number, version: number): GroupChange {
  return { ms, version, actor: "bob", kind: "renamed", user: null, value: "x" };
}

const types = (shown: Parameters<typeof itemsOf>[0]): string =>
  itemsOf(shown)
    .map((item) => (item.type === "line" && item.isFollowing ? "follows" : item.type))
    .join(" ");

suite("what stands in a timeline", () => {
  test("days, and messages of one person together", () => {
    const lines = [
      line(NOON - DAY),
      line(NOON),
      line(NOON + 1000),
      line(NOON + 2000, "alice"),
      line(NOON + 400_000, "alice"),
    ];
    assert.equal(types({ ...NOTHING, lines }), "begin day line day line follows line line");
    assert.equal(types({ ...NOTHING, lines, hasOlder: true }), "day line day line follows line line");
    assert.equal(types(NOTHING), "");
  });

  test("what happened to a group, and each day once", () => {
    const lines = [line(NOON), line(NOON + 2000), line(NOON + 3000)];
    const changes = [change(NOON - DAY, 1), change(NOON + 1000, 2), change(NOON + 9000, 3)];
    const whole = "begin day happened day line happened line follows happened";
    assert.equal(types({ ...NOTHING, lines, changes }), whole);
    assert.equal(types({ ...NOTHING, lines, changes, hasOlder: true }), "day line happened line follows happened");
    const keys = itemsOf({ ...NOTHING, lines, changes }).map(({ key }) => key);
    assert.equal(new Set(keys).size, keys.length);
  });

  test("where what is new begins: at somebody else's first", () => {
    const lines = [line(NOON), line(NOON + 1, "alice"), line(NOON + 2), line(NOON + 3)];
    const mark = BigInt(NOON) << 20n;
    assert.equal(types({ ...NOTHING, lines, mark }), "begin day line line new line follows");
    assert.equal(types({ ...NOTHING, lines, mark: BigInt(NOON + 9) << 20n }), "begin day line line line follows");
  });

  test("days in which the clock is put forward and back", () => {
    for (let day = 0; day < 370; day++) {
      const noon = new Date(2026, 0, 1 + day, 12).getTime();
      const lines = [line(noon), line(new Date(2026, 0, 1 + day, 23, 59).getTime()), line(noon + DAY)];
      assert.equal(types({ ...NOTHING, lines }), "begin day line line day line");
    }
  });
});
