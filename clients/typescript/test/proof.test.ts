/** Logins that are bound to a key which cannot be read out. */

import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { openDB } from "idb";

import { Goodbye_Code } from "../src/gen/sparrow_pb.js";
import { newKeyPair, Prover, proverOf } from "../src/api/proof.ts";
import { IndexedDbBackend } from "../src/browser.ts";
import { Client, MemoryBackend, StateError, TokenRejectedError } from "../src/index.ts";
import { FileBackend, tcp } from "../src/node.ts";
import { FakeServer, polite } from "./fake_server.ts";

const URL_OF_TOKENS = "http://127.0.0.1:7480/v1/token";
const TIMING = { firstRetryMs: 20, lastRetryMs: 100 };

interface Proof {
  readonly header: { readonly typ: string; readonly alg: string; readonly jwk: JsonWebKey };
  readonly claims: Readonly<Record<string, unknown>>;
}

/** What a proof says, if its signature is by the key that it holds. */
async function read(proof: string): Promise<Proof> {
  const [head = "", body = "", signature = ""] = proof.split(".");
  const [header, claims] = [head, body].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()) as unknown);
  const found = { header, claims } as Proof;
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("jwk", found.header.jwk, algorithm, true, ["verify"]);
  const bytes = [Buffer.from(signature, "base64url"), Buffer.from(`${head}.${body}`)] as const;
  assert.ok(await crypto.subtle.verify(algorithm, key, ...bytes));
  return found;
}

test("a proof names its request, its token and the nonce that was given", async () => {
  const pair = await newKeyPair();
  const prover = new Prover(pair);
  const { header, claims } = await read(await prover.prove(URL_OF_TOKENS, "a token", "a nonce"));
  assert.deepEqual([header.typ, header.alg, Object.keys(header)], ["dpop+jwt", "ES256", ["typ", "alg", "jwk"]]);
  assert.deepEqual(Object.keys(header.jwk), ["kty", "crv", "x", "y"]);
  const ath = createHash("sha256").update("a token").digest("base64url");
  const { jti, iat, ...others } = claims;
  assert.deepEqual(others, { htm: "POST", htu: URL_OF_TOKENS, ath, nonce: "a nonce" });
  assert.match(String(jti), /^[\w-]{22}$/);
  assert.ok(Number.isInteger(iat));
  const login = await read(await prover.prove(URL_OF_TOKENS));
  assert.deepEqual(Object.keys(login.claims), ["htm", "htu", "jti", "iat"]);
  assert.notEqual(login.claims["jti"], jti);
});

test("the key cannot be read out, nor used for anything else", async () => {
  const { privateKey } = await newKeyPair();
  assert.deepEqual([privateKey.extractable, privateKey.usages], [false, ["sign"]]);
  for (const format of ["jwk", "pkcs8", "raw"] as const) {
    await assert.rejects(crypto.subtle.exportKey(format as "pkcs8", privateKey));
  }
});

test("IndexedDB keeps one key, beside the journal", async () => {
  const first = await IndexedDbBackend.open("key");
  const made = await first.keyPair(newKeyPair);
  assert.ok(made !== undefined);
  await first.close();
  const next = await IndexedDbBackend.open("key");
  const kept = await next.keyPair(() => assert.fail("there is one"));
  assert.ok(kept !== undefined);
  assert.equal(kept.privateKey.extractable, false);
  const jwks = await Promise.all([made, kept].map(({ publicKey }) => crypto.subtle.exportKey("jwk", publicKey)));
  assert.deepEqual(jwks[0], jwks[1]);
  assert.deepEqual(await next.load(), []);
  await next.close();
});

test("a database of before keeps what it has, and a key from now on", async () => {
  const old = await openDB("of before", 1, {
    upgrade(database) {
      database.createObjectStore("entries");
      database.createObjectStore("epoch");
    },
  });
  await old.put("entries", { value: "1" }, ["meta", "a"]);
  old.close();
  const backend = await IndexedDbBackend.open("of before");
  assert.deepEqual(
    (await backend.load()).map(({ key }) => key),
    ["a"],
  );
  assert.ok(await backend.keyPair(newKeyPair));
  await backend.close();
});

test("a tab that was replaced keeps no key", async () => {
  const frozen = await IndexedDbBackend.open("key of two tabs");
  const next = await IndexedDbBackend.open("key of two tabs");
  await assert.rejects(
    proverOf((make) => frozen.keyPair(make)),
    (error) => {
      return error instanceof StateError && error.trouble === "taken_over";
    },
  );
  assert.ok(await proverOf((make) => next.keyPair(make)));
  await next.close();
  await frozen.close();
});

test("where no key can be made or kept, logins are bound to none", async (context) => {
  assert.equal(await proverOf(undefined), undefined);
  assert.equal(await proverOf(() => Promise.resolve(undefined)), undefined);
  assert.equal(await proverOf(() => Promise.reject(new DOMException("no", "NotSupportedError"))), undefined);
  const file = new FileBackend(join(mkdtempSync(join(tmpdir(), "sparrow-")), "state"));
  for (const backend of [new MemoryBackend(), file]) {
    assert.ok(!("keyPair" in backend));
  }
  await file.close();
  // A private window of some browsers.
  const backend = await IndexedDbBackend.open("no keys");
  context.mock.method(IDBObjectStore.prototype, "put", () => {
    throw new DOMException("no keys", "DataCloneError");
  });
  assert.equal(await proverOf((make) => backend.keyPair(make)), undefined);
  context.mock.restoreAll();
  assert.deepEqual(await backend.load(), []);
  await backend.close();
  // A page that came over plain http from elsewhere.
  context.mock.getter(globalThis.crypto, "subtle", () => undefined);
  assert.equal(await proverOf(() => assert.fail("not asked")), undefined);
});

// The client.

/** A user API that asks for a nonce, as ours does; and what it was shown. */
class Binding {
  readonly server: FakeServer;
  readonly proofs: [path: string, proof: string | undefined, body: Readonly<Record<string, unknown>>][] = [];
  nonce = 0;

  constructor(server: FakeServer) {
    this.server = server;
    server.answer = (request, body) => this.#answer(request, body);
  }

  #answer(request: IncomingMessage, body: Record<string, unknown>): ReturnType<FakeServer["answer"]> {
    const proof = request.headers["dpop"] as string | undefined;
    this.proofs.push([request.url ?? "", proof, body]);
    const claims = JSON.parse(Buffer.from(proof?.split(".")[1] ?? "e30", "base64url").toString()) as object;
    if (request.url === "/v1/token") {
      if (proof === undefined) {
        return [400, { code: "invalid_dpop_proof", detail: "bound" }];
      }
      if (!("nonce" in claims) || claims.nonce !== `nonce ${this.nonce}`) {
        return [400, { code: "use_dpop_nonce", detail: "sign it" }, { "DPoP-Nonce": `nonce ${++this.nonce}` }];
      }
    }
    return [200, this.server.login("alice")];
  }

  /** How often it was asked for new tokens. */
  get renewals(): (typeof this.proofs)[number][] {
    return this.proofs.filter(([path]) => path === "/v1/token");
  }
}

async function stage(context: TestContext): Promise<[Binding, (options: object) => Promise<Client>]> {
  const server = await FakeServer.start();
  context.after(() => server.stop());
  const open = async (options: object): Promise<Client> => {
    const all = {
      api: server.api,
      password: "x",
      transports: [tcp()],
      timing: TIMING,
      closeTimeoutMs: 200,
      ...options,
    };
    const client = await Client.open("alice", all);
    context.after(() => client.close());
    return client;
  };
  return [new Binding(server), open];
}

test("a login is bound to the key, and renewed with it, over the nonce that is given", async (context) => {
  const [binding, open] = await stage(context);
  const { server } = binding;
  const alice = await open({ state: await IndexedDbBackend.open("bound") });
  const [path, proof] = binding.proofs[0] ?? [];
  assert.equal(path, "/v1/login");
  const login = await read(proof ?? "");
  assert.equal(login.claims["htu"], `${server.api}/v1/login`);
  server.latest.goodbye(Goodbye_Code.BAD_TOKEN);
  await until(() => binding.renewals.length === 2 && server.sessions.length === 2 && alice.isConnected);
  const renewals = await Promise.all(binding.renewals.map(([, each]) => read(each ?? "")));
  const ath = createHash("sha256").update("refresh 1").digest("base64url");
  assert.deepEqual(
    renewals.map(({ claims }) => [claims["htu"], claims["ath"], claims["nonce"]]),
    [undefined, "nonce 1"].map((nonce) => [`${server.api}/v1/token`, ath, nonce]),
  );
  for (const { header } of renewals) {
    assert.deepEqual(header.jwk, login.header.jwk);
  }
  // It is one renewal, for the service.
  assert.equal(new Set(binding.renewals.map(([, , body]) => body["nonce"])).size, 1);
  await alice.close();
  // The page is loaded anew, without the password.
  server.script = (session, frame) => {
    if (frame.case === "login" && frame.value.token === "token 2") {
      session.goodbye(Goodbye_Code.BAD_TOKEN);
    } else {
      polite(session, frame);
    }
  };
  const again = await open({ state: await IndexedDbBackend.open("bound"), password: undefined });
  assert.ok(again.isConnected);
  assert.equal(binding.renewals.length, 4);
  assert.deepEqual((await read(binding.renewals.at(-1)?.[1] ?? "")).header.jwk, login.header.jwk);
});

test("a copy of the state, without the key, is worth nothing", async (context) => {
  const [binding, open] = await stage(context);
  const original = await IndexedDbBackend.open("copied");
  const alice = await open({ state: original });
  const thief = new MemoryBackend();
  await thief.commit((await original.load()).filter(({ key }) => key !== "token"));
  await alice.close();
  await assert.rejects(open({ state: thief, password: undefined }), TokenRejectedError);
  assert.deepEqual(
    binding.renewals.map(([, proof]) => proof),
    [undefined],
  );
});

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !isSo(); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(isSo());
}
