/** Bodies of FILE messages, and transfers that break. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test, type TestContext } from "node:test";

import { Files, referenceTo } from "../src/api/files.ts";
import { SignedApi } from "../src/api/signed.ts";
import { Web } from "../src/api/web.ts";
import { ChecksumError, FileReferenceError, MisuseError } from "../src/errors.ts";
import { encodeFileReference, parseFileReference } from "../src/protocol/files.ts";
import { bytes } from "./bench.ts";

const GOOD = {
  file: "6f1d5a0c3b9e4f7288d0c1a2b3e4f506",
  name: 'holiday "1" 👋.jpg',
  media_type: "image/jpeg",
  size: 482_113,
  sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
};

test("a body that is one, with more of a later version", () => {
  assert.deepEqual(parseFileReference(encodeFileReference(GOOD)), GOOD);
  const more = bytes(JSON.stringify({ ...GOOD, more: { file: [{ file: 1 }, '{"file":'], name: null } }));
  assert.deepEqual(parseFileReference(more), GOOD);
});

test("bodies that are none", () => {
  const text = JSON.stringify(GOOD);
  const wrong = [
    "",
    "[]",
    "7",
    "null",
    text.slice(0, -1),
    `\ufeff${text}`,
    text.replace('"size":482113', '"size":482113,"size":1'),
    text.replace('"size":482113', '"size":482113,"s\\u0069ze":482113'),
    text.replace('"size":482113', '"more":{"a":1,"a":2},"size":482113'),
    `${" ".repeat(8192)}${text}`,
    ...Object.entries({ file: "x", name: "x".repeat(256), media_type: "jpeg", size: -1, sha256: "9F" }).map(
      ([field, value]) => JSON.stringify({ ...GOOD, [field]: value }),
    ),
    ...Object.keys(GOOD).map((field) => JSON.stringify({ ...GOOD, [field]: undefined })),
    JSON.stringify({ ...GOOD, size: 1.5 }),
    JSON.stringify({ ...GOOD, size: 2 ** 53 }),
    text.replace("holiday", "\\ud800"),
  ];
  for (const body of wrong) {
    assert.throws(() => parseFileReference(bytes(body)), FileReferenceError, body.slice(0, 200));
  }
  assert.throws(() => parseFileReference(Uint8Array.of(0xff)), FileReferenceError);
});

/** A user API with one file, each of whose transfers breaks where the test says so. */
class Stage {
  readonly asked: string[] = [];
  content = new Uint8Array();
  length = 0;
  breaks: ((method: string, offset: number) => boolean)[] = [];
  readonly files: Files;

  constructor() {
    const web = new Web("http://api.test/", (url, asked = {}) => this.#answer(new URL(url as string), asked));
    const credentials = { get: () => Promise.resolve({ token: "t", connectors: [] }) } as never;
    this.files = new Files(new SignedApi(web, credentials));
  }

  async #answer(url: URL, asked: RequestInit): Promise<Response> {
    const method = asked.method ?? "GET";
    const headers = new Headers(asked.headers);
    const from = Number(headers.get("Upload-Offset") ?? /bytes=(\d+)/.exec(headers.get("Range") ?? "")?.[1] ?? 0);
    this.asked.push(`${method} ${from}`);
    const broken = this.breaks[0]?.(method, from) === true;
    if (broken) {
      this.breaks.shift();
    }
    if (method === "POST") {
      this.length = Number(headers.get("Upload-Length"));
      return new Response(null, { status: 201, headers: { Location: `/v1/files/${GOOD.file}` } });
    }
    if (method === "PATCH") {
      assert.equal(from, this.content.length);
      const part = new Uint8Array(await (asked.body as Blob).arrayBuffer());
      const taken = broken ? part.subarray(0, part.length / 2) : part;
      this.content = Uint8Array.from([...this.content, ...taken]);
    }
    if (broken) {
      throw new TypeError("fetch failed");
    }
    if (method === "HEAD" || method === "PATCH") {
      return new Response(null, { headers: { "Upload-Offset": String(this.content.length) } });
    }
    if (url.pathname.endsWith("/content")) {
      const last = Number(/-(\d+)/.exec(headers.get("Range") ?? "")?.[1]);
      return new Response(this.content.subarray(from, last + 1), { status: 206 });
    }
    const complete = this.content.length === this.length;
    const file = { ...GOOD, size: this.length, sha256: digest(this.content), owner: "alice", complete, expires_ms: 1 };
    return Response.json(file);
  }
}

function digest(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function quickly(context: TestContext): void {
  context.mock.method(Math, "random", () => 0);
}

test("an upload goes on where it has broken, and a download does", async (context) => {
  quickly(context);
  const stage = new Stage();
  const content = Uint8Array.from({ length: 2_500_000 }, (_, at) => (at * 7) % 251);
  const isPatch = (method: string): boolean => method === "PATCH";
  stage.breaks = [(method, at) => isPatch(method) && at === 0, isPatch, (method) => method === "HEAD"];
  const steps: number[] = [];
  const file = await stage.files.upload(new Blob([content]), {
    name: "numbers",
    readers: ["bob"],
    progress: (done) => steps.push(done),
  });
  assert.ok(file.complete);
  assert.deepEqual(stage.content, content);
  assert.deepEqual(
    [steps[0], steps.at(-1), steps.every((each, at) => at === 0 || each >= (steps[at - 1] ?? 0))],
    [0, 2_500_000, true],
  );
  stage.breaks = [(_method, at) => at > 0, (_method, at) => at > 0];
  const blob = await stage.files.download(referenceTo(file));
  assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), content);
});

test("a file that is not what its sender has said is not kept", async () => {
  const stage = new Stage();
  stage.content = Uint8Array.from(bytes("four"));
  const said = { ...GOOD, size: 4 };
  await assert.rejects(stage.files.download({ ...said, sha256: digest(bytes("ours")) }), ChecksumError);
  await assert.rejects(stage.files.download({ ...said, size: 5, sha256: digest(bytes("four")) }), ChecksumError);
  assert.equal((await stage.files.download({ ...said, sha256: digest(bytes("four")) })).size, 4);
});

test("an upload that brings nothing further is given up", async (context) => {
  quickly(context);
  const stage = new Stage();
  stage.breaks = Array.from({ length: 30 }, () => (method) => method === "PATCH" || method === "HEAD");
  await assert.rejects(stage.files.upload(new Blob(["four"]), { name: "four" }), /cannot reach/);
  assert.equal(stage.asked.at(-1), "DELETE 0");
  await assert.rejects(stage.files.upload(new Blob(["four"]), { name: "\ud800" }), MisuseError);
});
