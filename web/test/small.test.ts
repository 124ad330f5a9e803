import assert from "node:assert/strict";
import { suite, test } from "node:test";

import type { Line } from "../src/model/line.ts";
import { emptyRow } from "../src/model/told.ts";
import { setOffset } from "../src/state/clock.ts";
import { parseHanded } from "../src/state/handed.ts";
import { addressOf, parseRoute } from "../src/state/route.ts";
import { isMuted, Rows } from "../src/state/rows.ts";
import { Unread } from "../src/state/unread.ts";
import { sizeText } from "../src/views/size.ts";

function line(stamp: bigint, more: Partial<Line> = {}): Line {
  const names = {
    peer: "bob",
    author: "bob",
    device: "b1",
    stream: 7n,
    id: Number(stamp),
    name: `b ${stamp}`,
    draft: "",
  };
  const said = { stamp, kind: 1, text: "", file: undefined, revision: 0, editedMs: 0, erasedBy: "", note: "" };
  return { ...names, ...said, progress: "", ...more };
}

suite("addresses", () => {
  const group = `~${"a".repeat(24)}`;

  test("lead back to where they come from", () => {
    const routes = [
      { at: "list" },
      { at: "chat", peer: "bob" },
      { at: "about", peer: group },
      { at: "people" },
      { at: "settings" },
      { at: "search", peer: "" },
    ] as const;
    for (const route of routes) {
      assert.deepEqual(parseRoute(addressOf(route)), route);
    }
  });

  test("of nothing lead to the list", () => {
    for (const hash of ["", "#", "#/chat/", "#/chat/<b>", "#/chat/%E0%A4%A", "#/chat/a/b", "#/nowhere", "#/about/~x"]) {
      assert.deepEqual(parseRoute(hash), { at: "list" });
    }
  });
});

suite("codes in an address", () => {
  test("are an invitation, or for a new password", () => {
    const code = "abcd-2345";
    assert.deepEqual(parseHanded(`#invite=${code}`), { kind: "invite", code });
    assert.deepEqual(parseHanded(`#reset=al.i-ce_1:${code}`), { kind: "reset", user: "al.i-ce_1", code });
  });

  test("of nothing are none", () => {
    const long = "a".repeat(65);
    for (const hash of ["", "#/chat/invite=a", "#invite=", "#invite=<b>", `#invite=${long}`, "#reset=a", "#reset=:a"]) {
      assert.equal(parseHanded(hash), undefined, hash);
    }
    for (const hash of [
      "#reset=A b:a",
      "#reset=a:b:c",
      `#reset=${long}:a`,
      "#reset=a%2F:a",
      "#invite=a:b",
      "#other=a",
    ]) {
      assert.equal(parseHanded(hash), undefined, hash);
    }
  });
});

suite("the list", () => {
  test("has what is not sent first, then the newest", () => {
    const rows = new Rows();
    rows.set([{ ...emptyRow("bob"), newest: line(5n) }, { ...emptyRow("carol"), newest: line(9n) }, emptyRow("dave")]);
    assert.deepEqual(
      rows.sorted.value.map(({ peer }) => peer),
      ["carol", "bob", "dave"],
    );
    rows.noticed(line(0n, { peer: "dave", draft: "run 1", progress: "queued" }), false);
    assert.deepEqual(
      rows.sorted.value.map(({ peer }) => peer),
      ["dave", "carol", "bob"],
    );
  });

  test("keeps what has just begun, until the server has had time to list it", () => {
    const rows = new Rows();
    rows.set([]);
    rows.noticed(line(5n), true);
    const now = performance.now();
    rows.set([emptyRow("carol")], now);
    assert.deepEqual([...rows.all.value.keys()].sort(), ["bob", "carol"]);
    rows.set([emptyRow("carol")], now + 60_000);
    assert.deepEqual([...rows.all.value.keys()], ["carol"]);
    rows.noticed(line(6n), true);
    rows.remove("bob");
    rows.set([], now);
    assert.deepEqual([...rows.all.value.keys()], []);
  });

  test("counts what is unread, but for what is muted, and believes no server that is behind", () => {
    const rows = new Rows();
    rows.set([{ ...emptyRow("bob"), newest: line(5n), unread: 2, mark: 3n }]);
    rows.noticed(line(6n), true);
    assert.equal(rows.unread.value, 3);
    rows.read("bob", 6n);
    rows.set([{ ...emptyRow("bob"), newest: line(5n), unread: 2, mark: 3n }]);
    assert.equal(rows.unread.value, 0);
    assert.equal(rows.get("bob")?.newest?.stamp, 6n);
    rows.set([{ ...emptyRow("bob"), newest: line(8n), unread: 2, mark: 6n, mutedUntilMs: Date.now() + 60_000 }]);
    assert.equal(rows.unread.value, 0);
    const muted = { ...emptyRow("bob"), mutedUntilMs: Date.now() + 60_000 };
    setOffset(120_000); // by the server's clock it is over
    assert.ok(!isMuted(muted));
    setOffset(0);
    assert.ok(isMuted(muted));
  });

  test("counts a message once, whichever way it is heard of first", () => {
    const rows = new Rows();
    rows.noticed(line(4n), true);
    rows.set([{ ...emptyRow("bob"), newest: line(6n), unread: 3 }]);
    rows.noticed(line(5n), true);
    rows.noticed(line(6n), true);
    assert.equal(rows.unread.value, 3);
    rows.noticed(line(7n), true);
    assert.equal(rows.unread.value, 4);
    rows.set([{ ...emptyRow("bob"), newest: line(6n), unread: 3 }]);
    assert.equal(rows.unread.value, 4);
  });
});

suite("unread", () => {
  test("is told once, and what comes late is told, too", () => {
    const unread = new Unread();
    unread.marked([{ ...emptyRow("bob"), mark: 10n }]);
    const lines = [line(8n), line(12n), line(13n, { author: "alice", progress: "sent" }), line(20n)];
    assert.deepEqual(
      unread.take("bob", lines, 15n).map(({ stamp }) => stamp),
      [12n],
    );
    assert.deepEqual(unread.take("bob", lines, 15n), []);
    const late = line(9n);
    unread.came(late);
    assert.deepEqual(unread.take("bob", [...lines, late], 15n), [late]);
    assert.deepEqual(
      unread.take("bob", lines, 20n).map(({ stamp }) => stamp),
      [20n],
    );
  });
});

test("sizes", () => {
  const shown = [0, 1023, 1024, 150 * 1024, 5 * 1024 ** 3].map(sizeText);
  assert.deepEqual(shown, ["0 bytes", "1023 bytes", "1.0 KiB", "150 KiB", "5.0 GiB"]);
});
