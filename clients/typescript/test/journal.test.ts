/** The three places of a journal: what was committed is there, what was not is not, and one at a time. */

import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";

import { ConfigError, StateError } from "../src/errors.ts";
import type { Backend, Entry } from "../src/journal/backend.ts";
import { MemoryBackend } from "../src/journal/backend.ts";
import { FileBackend } from "../src/journal/file.ts";
import { IndexedDbBackend } from "../src/journal/indexeddb.ts";
import { DeviceJournal } from "../src/journal/journal.ts";
import { bytes } from "./bench.ts";
import { fillable } from "./full_disk.ts";

const folder = mkdtempSync(join(tmpdir(), "sparrow-"));
let count = 0;

/** Opens one, and again; memory is the same object. */
function places(): Record<string, () => Promise<Backend>> {
  const name = `state-${++count}`;
  const memory = new MemoryBackend();
  return {
    memory: () => Promise.resolve(memory),
    file: () => Promise.resolve(new FileBackend(join(folder, name))),
    IndexedDB: () => IndexedDbBackend.open(name),
  };
}

const FIELDS = {
  text: "é👋",
  number: 2 ** 53 - 1,
  flag: true,
  list: [1, 2],
  bytes: bytes("b\0"),
  none: undefined,
  more: new Uint8Array(),
};

for (const place of ["memory", "file", "IndexedDB"]) {
  test(`${place}: what was committed is there, together and as it was last`, async () => {
    const open = places()[place];
    assert.ok(open !== undefined);
    const first = await open();
    assert.deepEqual(await first.load(), []);
    await first.commit([
      { store: "meta", key: "a", fields: FIELDS },
      { store: "groups", key: "a", fields: { n: 1 } },
      { store: "meta", key: "gone", fields: { n: 2 } },
    ]);
    await first.commit([
      { store: "groups", key: "a", fields: { n: 3 } },
      { store: "groups", key: "a", fields: { n: 4 } },
      { store: "meta", key: "gone", fields: undefined },
      { store: "meta", key: "never", fields: undefined },
      { store: "drafts", key: "1", fields: { n: 5 } },
      { store: "drafts", key: "1", fields: undefined },
    ]);
    await first.close();
    const again = await open();
    const found = (await again.load()).sort((a: Entry, b: Entry) => (a.store < b.store ? -1 : 1));
    assert.deepEqual(
      found.map(({ store, key, fields }) => [store, key, JSON.stringify({ ...fields })]),
      [
        ["groups", "a", JSON.stringify({ n: 4 })],
        ["meta", "a", JSON.stringify(FIELDS)],
      ],
    );
    assert.deepEqual(found[1]?.fields?.["bytes"], FIELDS.bytes);
    await again.close();
  });

  test(`${place}: damaged entries are no state`, async () => {
    const open = places()[place];
    assert.ok(open !== undefined);
    for (const fields of [{}, { next: "1", settled: 1, gaps: [] }, { next: 1, settled: 1, gaps: [0.5] }]) {
      const backend = await open();
      await backend.commit([{ store: "inbound", key: "bob/b1/5", fields: fields }]);
      await assert.rejects(
        DeviceJournal.open(backend),
        (error) => error instanceof ConfigError && error.message.includes("damaged"),
      );
      await backend.close();
    }
  });
}

// Files.

test("a file is one client's at a time", async () => {
  const path = join(folder, "one");
  const first = new FileBackend(path);
  assert.throws(() => new FileBackend(path), /in use by another client/);
  await first.close();
  await new FileBackend(path).close();
});

test("a file is one process's at a time, and free when that is killed", () => {
  const path = join(folder, "killed");
  const module = new URL("../src/journal/file.ts", import.meta.url).href;
  const script = `const { FileBackend } = await import(${JSON.stringify(module)});
    const file = new FileBackend(${JSON.stringify(path)});
    await file.commit([{ store: "meta", key: "a", fields: { value: "kept" } }]);
    process.kill(process.pid, "SIGKILL");`;
  const done = spawnSync(process.execPath, [
    "--disable-warning=ExperimentalWarning",
    "--input-type=module",
    "-e",
    script,
  ]);
  assert.equal(done.signal, "SIGKILL", done.stderr.toString());
  const again = new FileBackend(path);
  return again.load().then(async (entries) => {
    assert.deepEqual(
      entries.map(({ key }) => key),
      ["a"],
    );
    await again.close();
  });
});

test("files that are no state files", () => {
  const rubbish = join(folder, "rubbish");
  writeFileSync(rubbish, "x".repeat(5000));
  assert.throws(
    () => new FileBackend(rubbish),
    (error) => error instanceof ConfigError && error.message.includes("cannot be used"),
  );
  assert.equal(readFileSync(rubbish).length, 5000);
  const other = join(folder, "other");
  new DatabaseSync(other).exec("CREATE TABLE t (a)");
  assert.throws(() => new FileBackend(other), /no state file of this package/);
  const newer = join(folder, "newer");
  void new FileBackend(newer).close();
  const database = new DatabaseSync(newer);
  database.exec("PRAGMA user_version = 99");
  database.close();
  assert.throws(() => new FileBackend(newer), /newer version/);
  assert.throws(() => new FileBackend(join(folder, "no", "such", "folder")), ConfigError);
});

test("a file for which there is no room", async (context) => {
  const [backend, fill] = fillable(context, join(folder, "full"));
  await backend.commit([{ store: "meta", key: "a", fields: { value: "1" } }]);
  fill();
  const large: Entry = { store: "meta", key: "a", fields: { value: "2", bytes: new Uint8Array(100_000) } };
  await assert.rejects(backend.commit([{ store: "meta", key: "b", fields: { value: "2" } }, large]), (error) => {
    return error instanceof StateError && error.trouble === "full";
  });
  assert.deepEqual(
    (await backend.load()).map(({ key, fields }) => [key, fields?.["value"]]),
    [["a", "1"]],
  );
  await backend.close();
});

// Browsers.

test("IndexedDB: who has opened it last is the only one that writes", async () => {
  const frozen = await IndexedDbBackend.open("two tabs");
  await frozen.commit([{ store: "meta", key: "a", fields: { value: "1" } }]);
  const next = await IndexedDbBackend.open("two tabs");
  const commit: Entry[] = [{ store: "meta", key: "a", fields: { value: "2" } }];
  for (const attempt of [frozen.commit(commit), frozen.load(), frozen.commit(commit)]) {
    await assert.rejects(attempt, (error) => error instanceof StateError && error.trouble === "taken_over");
  }
  await next.commit([{ store: "meta", key: "b", fields: { value: "3" } }]);
  assert.deepEqual(
    (await next.load()).map(({ fields }) => fields?.["value"]),
    ["1", "3"],
  );
  await next.close();
  await frozen.close();
});

test("IndexedDB: what the browser has removed is said to be gone", async () => {
  const backend = await IndexedDbBackend.open("evicted");
  await new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase("evicted");
    request.onsuccess = resolve;
    request.onerror = reject;
  });
  await assert.rejects(backend.commit([{ store: "meta", key: "a", fields: {} }]), (error) => {
    return error instanceof StateError && error.trouble === "evicted" && error.message.includes("as a new device");
  });
});

test("IndexedDB: no room", async (context) => {
  const backend = await IndexedDbBackend.open("full");
  context.mock.method(IDBObjectStore.prototype, "put", () => {
    throw new DOMException("no room", "QuotaExceededError");
  });
  await assert.rejects(backend.commit([{ store: "meta", key: "a", fields: {} }]), (error) => {
    return error instanceof StateError && error.trouble === "full";
  });
  context.mock.restoreAll();
  assert.deepEqual(await backend.load(), []);
  await backend.close();
});

test("IndexedDB: a private window", async (context) => {
  context.mock.method(IDBFactory.prototype, "open", () => {
    throw new DOMException("not here", "SecurityError");
  });
  await assert.rejects(IndexedDbBackend.open("private"), (error) => {
    return error instanceof StateError && error.trouble === "unavailable";
  });
});

test("IndexedDB: every commit is asked to be durable", async (context) => {
  const backend = await IndexedDbBackend.open("durable");
  const asked = context.mock.method(IDBDatabase.prototype, "transaction");
  await backend.commit([{ store: "meta", key: "a", fields: {} }]);
  assert.deepEqual(
    asked.mock.calls.map((call) => call.arguments[2]),
    [{ durability: "strict" }],
  );
  await backend.close();
});
