import assert from "node:assert/strict";
import { suite, test } from "node:test";

import "fake-indexeddb/auto";

import { erased, type Line } from "../src/model/line.ts";
import { LineStore } from "../src/model/lines.ts";

function line(peer: string, id: number, more: Partial<Line> = {}): Line {
  const names = { peer, author: peer, device: "d1", stream: 7n, id, name: `${peer} d1 7/${id}`, draft: "" };
  const said = { stamp: BigInt(id) << 20n, kind: 1, text: `text ${id}`, file: undefined, revision: 0, editedMs: 0 };
  return { ...names, ...said, erasedBy: "", progress: "", note: "", ...more };
}

const ids = (lines: readonly Line[]): number[] => lines.map(({ id }) => id);

suite("lines that a browser keeps", () => {
  test("are there again, newest first, each once", async () => {
    const name = crypto.randomUUID();
    let store = await LineStore.open(name);
    await store.put([line("bob", 1), line("bob", 300), line("bob", 2), line("bobby", 9), line("~group", 5)]);
    await store.put([line("bob", 2), line("bob", 0, { name: "", stamp: 0n })]);
    store.close();
    store = await LineStore.open(name);
    assert.deepEqual(ids(await store.range("bob", 0n, 0n)), [300, 2, 1]);
    assert.deepEqual(ids(await store.range("bob", 0n, 300n << 20n, 1)), [2]);
    assert.deepEqual(ids(await store.range("bob", 2n << 20n, 0n)), [300, 2]);
    assert.deepEqual((await store.newest()).map(({ peer, id }) => `${peer} ${id}`).sort(), [
      "bob 300",
      "bobby 9",
      "~group 5",
    ]);
    store.close();
  });

  test("move to their place with a lower stamp, and are changed by name", async () => {
    const store = await LineStore.open(crypto.randomUUID());
    await store.put([line("bob", 1, { stamp: 90n << 20n }), line("bob", 2, { progress: "sent" })]);
    assert.deepEqual(ids(await store.range("bob", 0n, 0n)), [1, 2]);
    // Of several copies the lowest stamp counts.
    await store.put([line("bob", 1, { stamp: 1n << 20n, progress: "delivered" })]);
    await store.put([line("bob", 1, { stamp: 95n << 20n })]);
    assert.deepEqual(ids(await store.range("bob", 0n, 0n)), [2, 1]);
    assert.equal((await store.progress(line("bob", 2).name, "read"))?.progress, "read");
    assert.equal((await store.progress(line("bob", 2).name, "sent"))?.progress, "read");
    const gone = await store.change(line("bob", 1).name, (known) => erased(known, "bob"));
    assert.equal(gone?.text, "");
    await store.put([line("bob", 1, { stamp: 50n << 20n })]);
    assert.equal((await store.range("bob", 0n, 0n))[1]?.erasedBy, "bob");
    assert.equal(await store.change("nobody", (known) => known), undefined);
    store.close();
  });

  test("are no more than are needed, and marks only rise", async () => {
    const store = await LineStore.open(crypto.randomUUID());
    await store.put(Array.from({ length: 230 }, (_, at) => line("bob", at + 1)));
    await store.put([line("carol", 1)]);
    await store.prune("bob");
    assert.deepEqual(
      [(await store.range("bob", 0n, 0n)).length, (await store.range("carol", 0n, 0n)).length],
      [200, 1],
    );
    await store.putMark("bob", 9n);
    await store.putMark("bob", 4n);
    assert.deepEqual([await store.mark("bob"), await store.mark("carol")], [9n, 0n]);
    store.close();
  });
});
