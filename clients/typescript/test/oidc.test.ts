/** Logging in with an OpenID provider: what is asked, what is believed, and what a ticket is good for. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, suite, test } from "node:test";

import { tcp } from "../src/node.ts";
import { FakeServer } from "./fake_server.ts";
import { Logins } from "../src/api/logins.ts";
import { Web } from "../src/api/web.ts";
import {
  ApiError,
  beginOidc,
  Client,
  MemoryBackend,
  MisuseError,
  type OidcBegun,
  OidcError,
  parseOidcAnswer,
  redeemOidc,
  waysToLogIn,
} from "../src/index.ts";

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

suite("an OpenID provider", () => {
  const asked: [string, Record<string, string>][] = [];
  const replies = new Map<string, Reply>();
  let server: Server;
  let api = "";

  before(async () => {
    server = createServer((request, response) => {
      let text = "";
      request.on("data", (piece: Buffer) => (text += piece.toString()));
      request.on("end", () => {
        const path = request.url ?? "";
        asked.push([path, text === "" ? {} : (JSON.parse(text) as Record<string, string>)]);
        const { status, body } = replies.get(path) ?? { status: 404, body: { code: "not_found", detail: "no" } };
        response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    api = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  const begun: OidcBegun = { url: "https://id.example.net/", state: "a state", verifier: "v".repeat(43) };
  const vouched = { ticket: "t", user: null, is_new: true, proposed: "alice", expires_in: 300, later: 1 };

  test("is one way to log in of those that there are", async () => {
    replies.set("/v1/login", { status: 200, body: { passwords: false, registration: "open", oidc_name: "Example" } });
    assert.deepEqual(await waysToLogIn(api), { passwords: false, registration: "open", oidcName: "Example" });
    replies.set("/v1/login", { status: 200, body: { passwords: true, registration: "admin", oidc_name: null } });
    assert.equal((await waysToLogIn(api)).oidcName, "");
    // Of before 0.2.
    replies.set("/v1/login", { status: 405, body: { code: "method_not_allowed", detail: "no" } });
    assert.deepEqual(await waysToLogIn(api), { passwords: true, registration: "open", oidcName: "" });
  });

  test("is gone to with a challenge whose verifier stays here", async () => {
    const url = "https://id.example.net/authorize?state=s";
    replies.set("/v1/oidc/start", { status: 200, body: { authorization_url: url, state: "s", expires_in: 600 } });
    const [one, other] = [await beginOidc(api, "https://c/"), await beginOidc(api, "https://c/")];
    assert.deepEqual([one.url, one.state], [url, "s"]);
    assert.notEqual(one.verifier, other.verifier);
    assert.match(one.verifier, /^[\w-]{43}$/);
    const sent = asked.filter(([path]) => path === "/v1/oidc/start").map(([, body]) => body);
    assert.deepEqual(sent[0], {
      redirect_uri: "https://c/",
      code_challenge: createHash("sha256").update(one.verifier).digest("base64url"),
    });
    assert.ok(!JSON.stringify(sent).includes(one.verifier));
  });

  test("is not gone to where a script would run", async () => {
    for (const wrong of ["javascript:alert(1)", "data:text/html,x", "x", ""]) {
      replies.set("/v1/oidc/start", { status: 200, body: { authorization_url: wrong, state: "s" } });
      await assert.rejects(beginOidc(api, "https://c/"), ApiError);
    }
    replies.set("/v1/oidc/start", { status: 403, body: { code: "redirect_not_allowed", detail: "not there" } });
    await assert.rejects(beginOidc(api, "https://c/"), MisuseError);
  });

  test("vouches for somebody by a ticket", async () => {
    replies.set("/v1/oidc/ticket", { status: 200, body: vouched });
    const answer = parseOidcAnswer("#state=a+state&code=c&iss=https%3A%2F%2Fid.example.net");
    assert.ok(answer !== undefined);
    assert.deepEqual(await redeemOidc(api, begun, answer), { ticket: "t", user: "", isNew: true, proposed: "alice" });
    assert.deepEqual(asked.at(-1)?.[1], {
      state: "a state",
      code: "c",
      code_verifier: begun.verifier,
      iss: "https://id.example.net",
    });
  });

  test("of another login is shown to nobody", async () => {
    const count = asked.length;
    for (const part of ["#state=another&code=c", "#state=a+state&error=access_denied"]) {
      const answer = parseOidcAnswer(part);
      assert.ok(answer !== undefined);
      await assert.rejects(redeemOidc(api, begun, answer), OidcError);
    }
    assert.equal(asked.length, count);
    for (const code of ["oidc_expired", "oidc_refused", "oidc_not_allowed", "oidc_name_unusable"]) {
      replies.set("/v1/oidc/ticket", { status: 403, body: { code, detail: "why" } });
      const answer = { state: "a state", code: "c", error: "", issuer: "" };
      await assert.rejects(redeemOidc(api, begun, answer), { name: "OidcError", message: "why" });
    }
  });

  test("gives a login like any other", async () => {
    const login = { access_token: "a", refresh_token: "r", user: "alice", device: "d", connectors: ["h:1"] };
    replies.set("/v1/oidc/login", { status: 200, body: login });
    const web = new Web(api);
    const logins = new Logins(web);
    assert.equal((await logins.enter("alice", "t", { label: "here", replaces: "silent_longest" })).device, "d");
    assert.deepEqual(asked.at(-1)?.[1], { ticket: "t", user: "alice", label: "here", replaces: "silent_longest" });
    await logins.enter("alice", "t", { device: "d", label: "here" });
    assert.deepEqual(asked.at(-1)?.[1], { ticket: "t", user: "alice", device: "d" });
    replies.set("/v1/oidc/login", { status: 404, body: { code: "no_such_device", detail: "gone" } });
    await assert.rejects(logins.enter("alice", "t", { device: "d" }), { name: "DeviceRemovedError" });
    web.close();
  });
});

test("a client logs in with a ticket once, and goes on without it", async () => {
  const server = await FakeServer.start();
  const state = new MemoryBackend();
  const options = { api: server.api, transports: [tcp()], timing: { firstRetryMs: 20, lastRetryMs: 100 } };
  const client = await Client.open("alice", { ...options, ticket: "t", state });
  assert.deepEqual(
    server.asked.map(([path, body]) => [path, body["ticket"]]),
    [["/v1/oidc/login", "t"]],
  );
  await client.close();
  await server.stop();
});
