/** The whole client against a scripted connector: what it says, what it tells, and what ends it. */

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { Goodbye_Code, Kind } from "../src/gen/sparrow_pb.js";
import { Client, type ClientOptions, type Message } from "../src/index.ts";
import * as errors from "../src/index.ts";
import { FileBackend, tcp } from "../src/node.ts";
import { bytes } from "./bench.ts";
import { FakeServer, polite, type Script } from "./fake_server.ts";
import { fillable } from "./full_disk.ts";

const TIMING = {
  firstRetryMs: 20,
  lastRetryMs: 100,
  pongTimeoutMs: 100,
  loginTimeoutMs: 150,
  goodSessionMs: 5_000,
  logoutTimeoutMs: 50,
};
const folder = mkdtempSync(join(tmpdir(), "sparrow-"));
let count = 0;

function newState(): string {
  return join(folder, `state-${++count}`);
}

interface Stage {
  readonly server: FakeServer;
  /** Events, by name, as they came. */
  readonly told: [string, unknown][];
  readonly open: (options?: Partial<ClientOptions>) => Promise<Client>;
}

async function stage(context: TestContext, script?: Script): Promise<Stage> {
  const server = await FakeServer.start(script);
  const clients: Client[] = [];
  const told: [string, unknown][] = [];
  context.after(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await server.stop();
  });
  const names = [
    "connected",
    "disconnected",
    "closed",
    "sending",
    "progress",
    "ownMessage",
    "readElsewhere",
    "edited",
  ] as const;
  const more = ["erased", "markRaised", "missed", "doubtful", "unreadable", "hint"] as const;
  return {
    server,
    told,
    async open(options = {}) {
      const all = {
        api: server.api,
        password: "x",
        transports: [tcp()],
        timing: TIMING,
        closeTimeoutMs: 200,
        ...options,
      };
      const client = await Client.open("alice", all, (opening) => {
        for (const name of [...names, ...more]) {
          opening.on(name, (event) => told.push([name, event]));
        }
      });
      clients.push(client);
      return client;
    },
  };
}

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !isSo(); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(isSo());
}

const FROM_BOB = { fromId: "bob", fromDevice: "b1", destId: "alice", stream: 9n, settled: 1n, kind: Kind.TEXT };

async function next(client: Client): Promise<Message> {
  for await (const message of client.messages()) {
    return message;
  }
  throw new Error("there are no more");
}

test("send, SENT, DELIVERED, READ", async (context) => {
  const { server, open, told } = await stage(context);
  const alice = await open();
  assert.ok(alice.isConnected);
  const sending = await alice.send("bob", "hé 👋");
  assert.equal(await sending.sent(), sending);
  assert.deepEqual(
    [sending.state, sending.safe, sending.id, sending.stamp >> 40n],
    ["sent", true, 1, (1n << 60n) >> 40n],
  );
  const { stream } = sending;
  server.latest.say({ case: "receipt", value: { stream, ids: [1n], delivered: true, fromDevice: "a1" } });
  await sending.delivered();
  const about = { fromDevice: "a1", stream, ids: [1n] };
  server.latest.say({ case: "message", value: { ...FROM_BOB, id: 1n, kind: Kind.READ, about } });
  await sending.read();
  await until(() => server.latest.acked === 2);
  assert.deepEqual(
    told.map(([name]) => name),
    ["connected", "sending", "sending", "sending"],
  );
  const [message] = server.latest.messages;
  assert.equal(Buffer.from(message?.body ?? []).toString(), "hé 👋");
});

test("messages come in order, are read, and READ is told together", async (context) => {
  const { server, open } = await stage(context);
  const alice = await open();
  for (const id of [2n, 1n, 3n]) {
    server.latest.say({ case: "message", value: { ...FROM_BOB, id, stamp: 100n + id, body: bytes(`text ${id}`) } });
  }
  const found: Message[] = [];
  for await (const message of alice.messages()) {
    found.push(message);
    if (found.length === 3) {
      break;
    }
  }
  assert.deepEqual(
    found.map(({ text, sender, peer, late }) => [text, sender, peer, late].join()),
    ["text 1,bob,bob,false", "text 2,bob,bob,false", "text 3,bob,bob,false"],
  );
  await Promise.all(found.map((message) => message.markRead()));
  await until(() => server.latest.messages.length === 1);
  const [read] = server.latest.messages;
  assert.deepEqual(
    [read?.kind, read?.about?.ids, read?.about?.stream, read?.mark],
    [Kind.READ, [1n, 2n, 3n], 9n, 103n],
  );
});

test("wrong arguments are refused at the call", async (context) => {
  const { open } = await stage(context);
  const alice = await open();
  const wrong: [() => Promise<unknown>, new (text: string) => Error][] = [
    [() => alice.send("Bob!", "x"), errors.InvalidIdError],
    [() => alice.send("~short", "x"), errors.InvalidIdError],
    [() => alice.send("bob", "x".repeat(64_512)), errors.MessageTooLargeError],
    [() => alice.send("bob", "\ud800"), errors.MisuseError],
    [() => alice.send("bob", Uint8Array.of(0xff)), errors.MisuseError],
    [() => alice.send("bob", "x", Kind.READ), errors.MisuseError],
    [() => alice.send("bob", "x", 999), errors.MisuseError],
    [() => alice.send("bob", "x", 2 ** 31), errors.MisuseError],
    [() => alice.send("bob", "x", Number.NaN), errors.MisuseError],
    [() => alice.erase({ peer: "bob", author: "bob", device: "b1", stream: 1n, id: 1 }), errors.MisuseError],
    [() => alice.erase({ peer: "bob", author: "alice", device: "b1", stream: 0n, id: 1 }), errors.MisuseError],
    [() => alice.erase({ peer: "bob", author: "alice", device: "B", stream: 1n, id: 1 }), errors.InvalidIdError],
    [() => alice.markRead({ peer: "bob", author: "bob", device: "b1", stream: 1n }, [1.5], 0n), errors.MisuseError],
  ];
  for (const [call, kind] of wrong) {
    await assert.rejects(call(), kind, call.toString());
  }
  await (await alice.send("bob", "x".repeat(64_000))).sent();
});

test("what fails for good is typed; what fails for now is sent again, with a note", async (context) => {
  let refusals = 0;
  const { open, server } = await stage(context, (session, frame) => {
    if (frame.case === "message" && frame.value.destId === "nobody") {
      session.say({
        case: "failed",
        value: { stream: frame.value.stream, id: frame.value.id, code: 1, text: "no such user" },
      });
    } else if (frame.case === "message" && refusals++ === 0) {
      session.say({
        case: "failed",
        value: { stream: frame.value.stream, id: frame.value.id, code: 8, retryAfterMs: 100 },
      });
    } else {
      polite(session, frame);
    }
  });
  const alice = await open();
  const failing = await alice.send("nobody", "x");
  await assert.rejects(failing.sent(), errors.NoSuchUserError);
  assert.equal(failing.state, "failed");
  const sending = await alice.send("bob", "x");
  await until(() => sending.note !== "");
  assert.match(sending.note, /inbox is full/);
  await sending.sent();
  assert.equal(sending.note, "");
  assert.equal(server.latest.messages.length, 3);
});

for (const code of [Goodbye_Code.MOVE, Goodbye_Code.TRY_AGAIN, Goodbye_Code.TIMED_OUT, Goodbye_Code.MALFORMED, 99]) {
  test(`it comes back after goodbye ${code}, and sends again`, async (context) => {
    const { server, open, told } = await stage(context, (session, frame) => {
      if (frame.case !== "message") {
        polite(session, frame);
      }
    });
    const alice = await open();
    const sending = await alice.send("bob", "hi");
    await until(() => server.latest.messages.length === 1);
    const [first] = server.latest.messages;
    server.script = polite;
    server.latest.goodbye(code);
    await sending.sent();
    assert.equal(server.sessions.length, 2);
    assert.deepEqual(server.latest.messages, [first]);
    const names = told.map(([name]) => name);
    assert.deepEqual(names, ["connected", "disconnected", "connected", "sending"]);
  });
}

for (const [code, kind] of [
  [Goodbye_Code.REPLACED, errors.ReplacedError],
  [Goodbye_Code.DEVICE_REMOVED, errors.DeviceRemovedError],
  [Goodbye_Code.ACCOUNT_DISABLED, errors.AccountDisabledError],
  [Goodbye_Code.LOGGED_OUT, errors.TokenRejectedError],
] as const) {
  test(`goodbye ${Goodbye_Code[code]} ends it: everything that waits hears why`, async (context) => {
    const { server, open, told } = await stage(context, (session, frame) => {
      if (frame.case !== "message") {
        polite(session, frame);
      }
    });
    const alice = await open();
    const sending = await alice.send("bob", "hi");
    const waiting = [sending.sent(), next(alice)].map((each) => assert.rejects(each, kind));
    server.latest.goodbye(code);
    await Promise.all(waiting);
    await assert.rejects(alice.send("bob", "more"), kind);
    assert.equal(server.sessions.length, 1);
    assert.ok((told.at(-1)?.[1] as { error: Error }).error instanceof kind);
  });
}

test("a token that is refused is renewed, one renewal at a time", async (context) => {
  const { server, open } = await stage(context);
  const alice = await open();
  const before = server.asked.length;
  server.answer = (request, body) => {
    if (request.url === "/v1/token") {
      return [200, server.login("alice")];
    }
    const isOld = request.headers.authorization !== "Bearer token 2";
    assert.deepEqual(body, {});
    return isOld
      ? [401, { code: "invalid_token", detail: "expired" }]
      : [200, { user: "bob", display_name: "Bob", and: "more of a later version" }];
  };
  const profiles = await Promise.all([1, 2, 3].map(() => alice.people.profile("bob")));
  assert.deepEqual(profiles, Array(3).fill({ user: "bob", display_name: "Bob" }));
  const renewals = server.asked.slice(before).filter(([path]) => path === "/v1/token");
  assert.equal(renewals.length, 1);
  assert.equal(renewals[0]?.[1]["refresh_token"], "refresh 1");
  assert.match(String(renewals[0][1]["nonce"]), /^[0-9a-f]{48}$/);
});

test("a renewal whose answer was lost is repeated with its nonce, by the next process too", async (context) => {
  const { server, open } = await stage(context);
  const path = newState();
  const alice = await open({ state: new FileBackend(path) });
  server.script = (session, frame) => {
    if (frame.case === "login" && frame.value.token === "token 1") {
      session.goodbye(Goodbye_Code.BAD_TOKEN);
    } else {
      polite(session, frame);
    }
  };
  server.answer = () => [503, { code: "unavailable", detail: "not now" }];
  server.latest.goodbye(Goodbye_Code.BAD_TOKEN);
  await until(() => server.asked.filter(([asked]) => asked === "/v1/token").length >= 2);
  await alice.close();
  const again = open({ state: new FileBackend(path) });
  await until(() => server.asked.filter(([asked]) => asked === "/v1/token").length >= 4);
  server.answer = () => [200, server.login("alice")];
  await again;
  const nonces = new Set(server.asked.filter(([asked]) => asked === "/v1/token").map(([, body]) => body["nonce"]));
  assert.equal(nonces.size, 1);
  assert.equal(server.asked.filter(([asked]) => asked === "/v1/login").length, 1);
});

test("a login whose answer was lost is repeated with its key", async (context) => {
  const { server, open } = await stage(context);
  server.answer = () => [503, {}];
  const keys: unknown[] = [];
  server.answer = (request) => {
    keys.push(request.headers["idempotency-key"]);
    return [503, {}];
  };
  const path = newState();
  await assert.rejects(open({ openTimeoutMs: 150, state: new FileBackend(path) }), errors.UnreachableError);
  const opening = open({ openTimeoutMs: 10_000, state: new FileBackend(path) });
  const before = keys.length;
  await until(() => keys.length > before);
  server.answer = () => [200, server.login("alice")];
  await opening;
  assert.match(String(keys[0]), /^[0-9a-f]{48}$/);
  assert.equal(new Set(keys).size, 1);
});

for (const [status, answer, kind] of [
  [401, { code: "wrong_credentials", detail: "no" }, errors.WrongPasswordError],
  [409, { code: "too_many_devices", detail: "no", devices: [{ device: "a1" }, 7] }, errors.TooManyDevicesError],
  [403, { code: "account_disabled", detail: "no" }, errors.AccountDisabledError],
  [404, { code: "no_such_device", detail: "no" }, errors.DeviceRemovedError],
  [400, { code: "strange", detail: "that is strange" }, errors.MisuseError],
  [200, { access_token: "x" }, errors.ApiError],
  [200, { access_token: "x", refresh_token: "y", user: "alice", device: "a1", connectors: [] }, errors.ApiError],
  [200, { access_token: "x", refresh_token: "y", user: "al", device: "a1", connectors: ["h:1"] }, errors.ConfigError],
  [418, {}, errors.ApiError],
] as const) {
  test(`a login that is answered ${status} ${JSON.stringify(answer)}`, async (context) => {
    const { server, open } = await stage(context);
    server.answer = () => [status, answer];
    await assert.rejects(open(), (error) => error instanceof kind);
  });
}

test("what cannot be reached", async (context) => {
  const { open } = await stage(context);
  await assert.rejects(open({ api: "http://127.0.0.1:1", openTimeoutMs: 200 }), errors.UnreachableError);
  await assert.rejects(open({ api: "127.0.0.1:7480" }), errors.ConfigError);
  await assert.rejects(open({ connectors: ["127.0.0.1:1"], openTimeoutMs: 200 }), /cannot reach 127.0.0.1:1/);
  await assert.rejects(open({ transports: [], openTimeoutMs: 200 }), /none of the connectors/);
});

test("addresses that are of no use here are asked for again before anything else", async (context) => {
  const { server, open } = await stage(context);
  const login = server.login.bind(server);
  const withNone = (): object => ({ ...login("alice"), connectors: ["gopher://of.a.later:1"] });
  server.answer = () => [200, withNone()];
  const state = newState();
  const timing = { ...TIMING, firstRetryMs: 60_000, lastRetryMs: 60_000 };
  const options = { state: new FileBackend(state), timing, openTimeoutMs: 300 };
  await assert.rejects(open(options), /none of the connectors/);
  assert.deepEqual(
    server.asked.map(([path]) => path),
    ["/v1/login", "/v1/token"],
  );
  server.answer = () => [200, login("alice")];
  const client = await open({ ...options, state: new FileBackend(state), openTimeoutMs: 10_000 });
  assert.ok(client.isConnected);
});

test("a server that does not answer the login, falls silent, or breaks the protocol", async (context) => {
  let connections = 0;
  const { server, open, told } = await stage(context, (session, frame) => {
    if (frame.case === "login") {
      connections++;
    }
    if (connections === 2 && frame.case === "login") {
      session.welcome({ heartbeatMs: 150 });
    } else if (connections === 3 && frame.case === "login") {
      session.welcome();
      session.socket.write(Uint8Array.of(2, 0xff, 0xff));
    } else if (connections > 3) {
      polite(session, frame);
    }
  });
  await open();
  await until(() => server.sessions.length === 4);
  const reasons = told.flatMap(([name, event]) =>
    name === "disconnected" ? [(event as { reason: string }).reason] : [],
  );
  assert.match(
    reasons.join("; "),
    /^the server does not answer; the server does not answer; the server broke the protocol: /,
  );
});

test("state over a restart: unsettled messages, drafts, and what was not taken", async (context) => {
  const { server, open } = await stage(context, (session, frame) => {
    if (frame.case !== "message") {
      polite(session, frame);
    }
  });
  const path = newState();
  const first = await open({ state: new FileBackend(path) });
  await first.send("bob", "one");
  server.latest.say({ case: "message", value: { ...FROM_BOB, id: 1n, body: bytes("taken") } });
  server.latest.say({ case: "message", value: { ...FROM_BOB, id: 2n, body: bytes("not taken") } });
  assert.equal((await next(first)).text, "taken");
  await until(() => server.latest.acked === 2);
  const [one] = server.latest.messages;
  await first.close();
  server.script = polite;
  const again = await open({ state: new FileBackend(path) });
  await until(() => server.latest.messages.length === 1);
  assert.deepEqual(server.latest.messages, [one]);
  assert.equal((await next(again)).text, "not taken");
  const two = await again.send("bob", "two");
  await two.sent();
  assert.deepEqual([two.stream, two.id], [one?.stream, 2]);
  assert.equal(server.asked.length, 1); // the token was kept
  await again.close();
  await assert.rejects(open({ state: new FileBackend(path), device: "b2" }), errors.ConfigError);
});

test("a state restored from a backup draws new streams, and asks about drafts", async (context) => {
  const { server, open, told } = await stage(context);
  const path = newState();
  const first = await open({ state: new FileBackend(path) });
  const one = await first.send("bob", "one");
  await one.sent();
  await first.close();
  server.script = () => undefined;
  const offline = await open({ state: new FileBackend(path), background: true });
  await offline.send("bob", "perhaps");
  await offline.close();
  server.session += 5n; // somebody else was this device
  server.script = polite;
  const again = await open({ state: new FileBackend(path) });
  await until(() => told.some(([name]) => name === "doubtful"));
  const [doubtful] = again.doubtful;
  assert.ok(doubtful?.text === "perhaps" && doubtful.doubtful);
  const two = await again.send("bob", "two");
  await two.sent();
  assert.notEqual(two.stream, one.stream);
  await again.sendAgain(doubtful);
  await doubtful.sent();
  assert.equal(doubtful.stream, two.stream);
  assert.deepEqual(again.doubtful, []);
});

test("edits and erasures: sent, and heard", async (context) => {
  const { server, open, told } = await stage(context);
  const alice = await open();
  const sending = await alice.send("bob", "old");
  await sending.sent();
  await (await sending.edit("new")).sent();
  await (await sending.edit("newer")).sent();
  await (await sending.erase()).sent();
  await assert.rejects(sending.edit("once more"), /erased/);
  const changes = server.latest.messages.slice(1);
  assert.deepEqual(
    changes.map(({ kind, revision, about }) => [kind, revision, about?.ids, about?.fromDevice]),
    [
      [Kind.EDIT, 1, [1n], "a1"],
      [Kind.EDIT, 2, [1n], "a1"],
      [Kind.ERASE, 0, [1n], "a1"],
    ],
  );
  const say = (id: bigint, more: object): void =>
    server.latest.say({ case: "message", value: { ...FROM_BOB, id, body: bytes("b"), ...more } });
  const about = (id: bigint): object => ({ about: { fromDevice: "b1", stream: 9n, ids: [id] } });
  say(1n, { body: bytes("first") });
  say(2n, { body: bytes("second") });
  say(3n, { kind: Kind.EDIT, revision: 1, ...about(2n), body: bytes("second, edited") });
  say(4n, { kind: Kind.ERASE, ...about(1n), body: bytes("") });
  await until(() => told.filter(([name]) => name === "erased").length === 2);
  const message = await next(alice);
  assert.deepEqual([message.text, message.revision, alice.isConnected], ["second, edited", 1, true]);
  const edited = told.filter(([name]) => name === "edited").map(([, event]) => (event as { text: string }).text);
  assert.deepEqual(edited, ["new", "newer", "second, edited"]);
});

test("with enough to do, the application is not given more than a window", async (context) => {
  const { server, open } = await stage(context);
  const alice = await open({ maxWaiting: 4 });
  for (let id = 1n; id <= 4n; id++) {
    server.latest.say({ case: "message", value: { ...FROM_BOB, id, body: bytes("x") } });
  }
  await until(() => server.latest.acked >= 1 || server.latest.heard.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const acked = server.latest.acked;
  server.latest.say({ case: "message", value: { ...FROM_BOB, id: 5n, body: bytes("x") } });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(server.latest.acked, acked);
  for (let taken = 0; taken < 3; taken++) {
    await next(alice);
  }
  await until(() => server.latest.acked === 5);
});

test("what cannot be kept ends the client, and is neither acked nor sent", async (context) => {
  const { server, open } = await stage(context);
  const [state, fill] = fillable(context, newState());
  const alice = await open({ state });
  fill();
  server.latest.say({ case: "message", value: { ...FROM_BOB, id: 1n, body: new Uint8Array(60_000) } });
  await assert.rejects(next(alice), (error) => error instanceof errors.StateError && error.trouble === "full");
  await assert.rejects(alice.send("bob", "x"), errors.StateError);
  assert.equal(server.latest.acked, 0);
});

test("a token of somebody else sends nothing", async (context) => {
  const { server, open } = await stage(context, (session, frame) => {
    if (frame.case === "login") {
      session.welcome({ userId: "mallory" });
    }
  });
  const alice = await open({ background: true });
  const sending = await alice.send("bob", "secret");
  await assert.rejects(sending.sent(), /the token is mallory's/);
  assert.deepEqual(server.latest.messages, []);
});

test("what is not settled is told, also after a restart", async (context) => {
  const { server, open } = await stage(context, (session, frame) => {
    if (frame.case !== "message") {
      polite(session, frame);
    }
  });
  const path = newState();
  const first = await open({ state: new FileBackend(path) });
  await first.send("bob", "one");
  await first.send("carol", "two");
  await first.close();
  const second = await open({ state: new FileBackend(path) });
  await second.send("bob", "three");
  const shown = second.unsettled.map(({ dest, text, state }) => `${dest} ${text} ${state}`);
  assert.deepEqual(shown, ["bob one queued", "bob three queued", "carol two queued"]);
  await until(() => server.latest.messages.length === 3);
  for (const message of server.latest.messages) {
    server.latest.sent(message);
  }
  await until(() => second.unsettled.length === 0);
});

test("a login that ended while nobody was there: with a password it begins anew, at once", async (context) => {
  let isOver = false;
  const { server, open } = await stage(context, (session, frame) => {
    if (isOver && frame.case === "login") {
      isOver = false;
      session.goodbye(Goodbye_Code.LOGGED_OUT);
    } else {
      polite(session, frame);
    }
  });
  const path = newState();
  await (await open({ state: new FileBackend(path) })).close();
  isOver = true;
  const again = await open({ state: new FileBackend(path) });
  assert.ok(again.isConnected);
  assert.equal(server.asked.filter(([asked]) => asked === "/v1/login").length, 2);
  // One that ends while we look on has been ended by somebody; that is kept.
  server.latest.goodbye(Goodbye_Code.LOGGED_OUT);
  await assert.rejects(next(again), errors.TokenRejectedError);
  await again.close();
  await assert.rejects(
    Client.open("alice", { api: server.api, state: new FileBackend(path), transports: [tcp()] }),
    errors.ConfigError,
  );
});

test("a password that is given for once is forgotten", async (context) => {
  const { server, open } = await stage(context);
  const alice = await open({ isPasswordForOnce: true });
  const before = server.asked.length;
  server.answer = ({ url = "" }) =>
    url === "/v1/token"
      ? [401, { code: "invalid_refresh_token", detail: "it has ended" }]
      : [401, { code: "invalid_token", detail: "expired" }];
  await assert.rejects(alice.people.profile("bob"), errors.TokenRejectedError);
  assert.ok(server.asked.slice(before).every(([asked]) => asked !== "/v1/login"));
});

test("a new device takes the place of another one", async (context) => {
  const { server, open } = await stage(context);
  server.answer = (_request, body) =>
    (body as { replaces?: string }).replaces === "silent_longest"
      ? [200, server.login("alice")]
      : [409, { code: "too_many_devices", detail: "no", devices: [] }];
  await assert.rejects(open(), errors.TooManyDevicesError);
  assert.ok((await open({ replaces: "silent_longest" })).isConnected);
});

test("an account is made, or the name is taken", async (context) => {
  const { server } = await stage(context);
  server.answer = () => [201, { user: "alice" }];
  await Client.register(server.api, "alice", "correct horse");
  server.answer = () => [409, { code: "user_taken", detail: "the name is taken" }];
  await assert.rejects(Client.register(server.api, "alice", "another"), errors.AlreadyExistsError);
  await assert.rejects(Client.register(server.api, "Not a name", "x"), errors.InvalidIdError);
});
