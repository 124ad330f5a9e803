/**
 * The client against a real node, which SPARROW_API names; SPARROW_CA, if its certificates are of a CA of the tests.
 * Run by tests/typescript.
 */

import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test, type TestContext } from "node:test";

import { Logins } from "../../src/api/logins.ts";
import { newKeyPair, Prover } from "../../src/api/proof.ts";
import { Web } from "../../src/api/web.ts";
import { IndexedDbBackend } from "../../src/browser.ts";
import {
  Client,
  type ClientEvents,
  type ClientOptions,
  FILE,
  type HistoryLine,
  type Message,
  websocket,
} from "../../src/index.ts";
import * as errors from "../../src/index.ts";
import { tcp } from "../../src/node.ts";
import { WebSocketBridge } from "../websocket_bridge.ts";

const API = process.env["SPARROW_API"] ?? "http://127.0.0.1:7480";
const CA = process.env["SPARROW_CA"];
const TIMING = { firstRetryMs: 50, lastRetryMs: 500 };
const PASSWORD = "correct horse";
let count = 0;

function newUser(name: string): string {
  return `${name}-${process.pid}-${++count}`;
}

function opener(context: TestContext): (user: string, options?: Partial<ClientOptions>) => Promise<Client> {
  return async (user, options = {}) => {
    const transports = [tcp(CA === undefined ? {} : { ca: readFileSync(CA) })];
    const all = { api: API, password: PASSWORD, register: true, transports, timing: TIMING, ...options };
    const client = await Client.open(user, all);
    context.after(() => client.close());
    return client;
  };
}

async function take(client: Client, number: number): Promise<Message[]> {
  const found: Message[] = [];
  for await (const message of client.messages()) {
    found.push(message);
    if (found.length === number) {
      return found;
    }
  }
  throw new Error("there are no more");
}

function once<K extends keyof ClientEvents>(
  client: Client,
  name: K,
  isIt: (event: ClientEvents[K]) => boolean = () => true,
): Promise<ClientEvents[K]> {
  return new Promise((resolve) => {
    const stop = client.on(name, (event) => {
      if (isIt(event)) {
        stop();
        resolve(event);
      }
    });
  });
}

async function waitFor<T>(look: () => Promise<T>, isIt: (found: T) => boolean): Promise<T> {
  for (;;) {
    const found = await look();
    if (isIt(found)) {
      return found;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

suite("a real node", { concurrency: true, timeout: 60_000 }, () => {
  test("a conversation: many, both ways, in order, with receipts", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const transports = process.env["SPARROW_BOB"] === "wss" ? { transports: [websocket] } : {};
    const [alice, bob] = await Promise.all([open(a), open(b, transports)]);
    const numbers = Array.from({ length: 300 }, (_, at) => String(at));
    const talk = async (client: Client, to: string): Promise<void> => {
      const sendings = await Promise.all(numbers.map((text) => client.send(to, text)));
      await Promise.all(sendings.map((sending) => sending.delivered()));
    };
    const [heardByBob, heardByAlice] = await Promise.all([
      take(bob, 300),
      take(alice, 300),
      talk(alice, b),
      talk(bob, a),
    ]);
    for (const heard of [heardByBob, heardByAlice]) {
      assert.deepEqual(
        heard.map(({ text }) => text),
        numbers,
      );
    }
    const typing = once(bob, "signal");
    assert.ok(await alice.typing(b));
    const { peer, sender, kind } = await typing;
    assert.deepEqual([peer, sender, kind], [a, a, errors.SignalKind.TYPING]);
    const last = await alice.send(b, "hé 👋\n".repeat(5000));
    const [message] = await take(bob, 1);
    assert.equal(message?.text, "hé 👋\n".repeat(5000));
    await message.markRead();
    await Promise.all([last.sent(), last.read()]);
    assert.equal(message.stamp, last.stamp);
    await assert.rejects((await alice.send("nobody-at-all", "x")).sent(), errors.NoSuchUserError);
  });

  test("another device of mine hears what I write, and what I read", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const phone = await open(a);
    const pad = await open(a);
    const bob = await open(b);
    assert.notEqual(phone.device, pad.device);
    const own = once(pad, "ownMessage");
    await (await phone.send(b, "from the phone")).sent();
    const { text, peer, device } = await own;
    assert.deepEqual([text, peer, device], ["from the phone", b, phone.device]);
    await bob.send(a, "to both");
    const [onPhone, onPad] = (await Promise.all([take(phone, 1), take(pad, 1)])).flat();
    assert.equal(onPad?.name, onPhone?.name);
    const elsewhere = once(pad, "readElsewhere");
    await onPhone?.markRead();
    assert.deepEqual((await elsewhere).ids, [1]);
    const devices = await phone.account.devices();
    assert.deepEqual(
      devices.map((each) => [each.device, each.current]),
      [
        [phone.device, true],
        [pad.device, false],
      ],
    );
    const closed = once(pad, "closed");
    await phone.account.removeDevice(pad.device);
    assert.ok((await closed).error instanceof errors.DeviceRemovedError);
  });

  test("friends, blocks and profiles", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const [alice, bob] = await Promise.all([open(a), open(b)]);
    assert.equal((await alice.account.change({ display_name: "Alice 👋" })).display_name, "Alice 👋");
    assert.deepEqual(await bob.people.profile(a), { user: a, display_name: "Alice 👋" });
    assert.deepEqual(
      (await bob.people.search(a)).map(({ user }) => user),
      [a],
    );
    const asked = once(bob, "hint", ({ kind }) => kind === errors.HintKind.FRIEND_ASKED);
    assert.ok((await alice.people.ask(b)).asked);
    assert.equal((await asked).user, a);
    assert.deepEqual(
      (await bob.people.requests()).map(({ user, asks }) => [user, asks]),
      [[a, true]],
    );
    assert.ok((await bob.people.accept(a)).friend);
    assert.deepEqual(
      (await alice.people.friends()).map(({ user, online }) => [user, online]),
      [[b, true]],
    );
    assert.ok((await bob.people.block(a)).blocked);
    await assert.rejects((await alice.send(b, "x")).sent(), errors.BlockedError);
    assert.ok(!(await bob.people.unblock(a)).blocked);
    await (await alice.send(b, "y")).sent();
    await assert.rejects(alice.people.profile("nobody-at-all"), errors.NotFoundError);
  });

  test("a group: its changes come before its messages", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const [alice, bob] = await Promise.all([open(a), open(b)]);
    const { group } = await alice.groups.make("Lunch");
    assert.equal(await alice.groups.add(group, b), undefined);
    const [invitation] = await bob.groups.invitations();
    assert.deepEqual([invitation?.group, invitation?.name, invitation?.by], [group, "Lunch", a]);
    const told: string[] = [];
    bob.on("groupChanged", ({ change }) => told.push(`${change.version} ${change.kind}`));
    const { members } = await bob.groups.accept(group);
    assert.deepEqual(members.map(({ user }) => user).sort(), [a, b].sort());
    await alice.groups.change(group, { name: "Lunch at noon" });
    const sending = await alice.send(group, "who comes?");
    const [message] = await take(bob, 1);
    told.push(message?.text ?? "");
    await sending.sent();
    await assert.rejects(sending.read(), errors.MisuseError);
    assert.deepEqual([message?.peer, message?.group, message?.sender], [group, group, a]);
    assert.ok(told.includes("3 renamed") && told.indexOf("3 renamed") < told.indexOf("who comes?"), told.join("; "));
    assert.equal(bob.groupName(group), "Lunch at noon");
    await message?.markRead();
    const marked = await waitFor(
      () => alice.groups.readBy(group, alice.device, sending.stream, sending.id),
      (by) => by.read_by.includes(b),
    );
    assert.deepEqual(marked.read_by, [b]);
    const left = once(bob, "groupLeft");
    await alice.groups.remove(group, b);
    assert.equal((await left).group, group);
    await assert.rejects((await bob.send(group, "still there?")).sent(), errors.NotMemberError);
  });

  test("history: pages, edits, erasures, marks", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const [alice, bob] = await Promise.all([open(a), open(b)]);
    for (let at = 0; at < 5; at++) {
      await (await alice.send(b, `text ${at}`)).sent();
    }
    const sending = await alice.send(b, "old");
    await (await sending.edit("new")).sent();
    const gone = await alice.send(b, "gone");
    await (await gone.erase()).sent();
    const lines: HistoryLine[] = [];
    for (let before: string | undefined = ""; before !== undefined;) {
      const page: Awaited<ReturnType<typeof bob.conversations.messages>> = await bob.conversations.messages(
        a,
        before,
        3,
      );
      lines.push(...page.messages);
      before = page.next;
    }
    const texts = lines.map(({ body, erasedBy }) => `${Buffer.from(body).toString()}${erasedBy && ` (erased)`}`);
    assert.deepEqual(texts, [" (erased)", "new", "text 4", "text 3", "text 2", "text 1", "text 0"]);
    assert.deepEqual([lines[1]?.revision, lines[1]?.stream, lines[1]?.id], [1, sending.stream, 6]);
    const [listed] = await bob.conversations.list();
    assert.deepEqual([listed?.peer, listed?.unread], [a, 6]);
    await bob.markRead(
      { peer: a, author: a, device: alice.device, stream: sending.stream },
      [1, 2, 6],
      lines[1]?.stamp ?? 0n,
    );
    await waitFor(
      () => alice.conversations.one(b),
      ({ readByOther }) => readByOther === lines[1]?.stamp,
    );
    await bob.conversations.mark(a, lines[0]?.stamp ?? 0n);
    assert.equal((await bob.conversations.one(a)).unread, 0);
    // Some seconds after it was SENT.
    const found = await waitFor(
      () => bob.conversations.search("new", a),
      (lines) => lines.length === 1,
    );
    assert.deepEqual([found[0]?.id, found[0]?.peer], [6, a]);
    const [line] = lines;
    assert.ok(line !== undefined);
    await bob.conversations.report({ ...line, id: 1 }, "too short");
    await mutes(alice, bob, a, b);
    await bob.conversations.hide(a);
    assert.deepEqual(await bob.conversations.list(), []);
    assert.equal((await bob.conversations.one(newUser("nobody"))).newest, undefined);
    // From a page of history, on another device.
    const pad = await open(a);
    await (await pad.erase({ ...line, peer: b, id: 6 })).sent();
    const page = await bob.conversations.messages(a);
    assert.equal(page.messages.find(({ id }) => id === 6)?.erasedBy, a);
  });

  /** Bob mutes Alice, and nobody else hears of it. */
  async function mutes(alice: Client, bob: Client, a: string, b: string): Promise<void> {
    const { conversations } = bob;
    const until = Date.now() + 8 * 3_600_000;
    const told = await conversations.mute(a, until);
    assert.ok(Math.abs(told - until) < 60_000);
    assert.deepEqual(
      [(await conversations.list())[0]?.mutedUntilMs, (await conversations.one(a)).mutedUntilMs],
      [told, told],
    );
    assert.equal((await alice.conversations.one(b)).mutedUntilMs, 0);
    // Of a clock that is behind, or for ever, before anything was written.
    await conversations.mute(b, 0);
    const nobody = newUser("nobody");
    assert.equal(await conversations.mute(nobody), Number.MAX_SAFE_INTEGER);
    assert.equal((await conversations.one(nobody)).mutedUntilMs, Number.MAX_SAFE_INTEGER);
    assert.ok((await conversations.mutes()).size >= 2);
    for (const each of [a, b, nobody, nobody]) {
      await conversations.unmute(each);
    }
    assert.equal((await conversations.mutes()).size, 0);
  }

  test("a login that is bound to a key is renewed by nobody else", async (context) => {
    const open = opener(context);
    const user = newUser("alice");
    const [web, pair] = [new Web(API), await newKeyPair()];
    const [logins, own, other] = [new Logins(web), new Prover(pair), new Prover(await newKeyPair())];
    context.after(() => web.close());
    // The code says nothing where everybody may register.
    await logins.register(user, PASSWORD, "abcd-efgh");
    await assert.rejects(logins.resetPassword(user, "abcd-efgh", "battery staple"), errors.WrongCodeError);
    const first = await logins.login(user, PASSWORD, { label: "page", prover: own });
    const nonce = "n".repeat(20);
    for (const prover of [undefined, other]) {
      await assert.rejects(logins.refresh(first.refreshToken, nonce, prover), errors.TokenRejectedError);
    }
    const second = await logins.refresh(first.refreshToken, nonce, own);
    // Its answer was lost.
    assert.equal((await logins.refresh(first.refreshToken, nonce, own)).refreshToken, second.refreshToken);
    const third = await logins.refresh(second.refreshToken, "m".repeat(20), own);
    await assert.rejects(logins.refresh(third.refreshToken, "o".repeat(20)), errors.TokenRejectedError);
    // A whole client, which keeps its key.
    const state = `bound ${user}`;
    const client = await open(user, { state: await IndexedDbBackend.open(state) });
    const { device } = client;
    await client.close();
    const again = await open(user, { state: await IndexedDbBackend.open(state) });
    assert.equal(again.device, device);
    assert.equal((await again.account.devices()).length, 2);
  });

  test("files: sent, downloaded, checked, and not for others", async (context) => {
    const open = opener(context);
    const [a, b, c] = [newUser("alice"), newUser("bob"), newUser("carol")];
    const [alice, bob, carol] = await Promise.all([open(a), open(b), open(c)]);
    const content = Uint8Array.from({ length: 2_300_000 }, (_, at) => (at * 31) % 253);
    const steps: number[] = [];
    const options = { name: "täst 👋.bin", mediaType: "image/png", progress: (done: number) => steps.push(done) };
    await (await alice.sendFile(b, new Blob([content]), options)).sent();
    assert.equal(steps.at(-1), content.length);
    const [message] = await take(bob, 1);
    assert.equal(message?.kind, FILE);
    const { file } = message;
    assert.deepEqual([file.name, file.media_type, file.size], ["täst 👋.bin", "image/png", content.length]);
    const blob = await bob.files.download(file);
    assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), content);
    await assert.rejects(carol.files.download(file), errors.NotFoundError);
    await alice.files.allow(file.file, c);
    assert.equal((await carol.files.download(file)).type, "image/png");
    await assert.rejects(bob.files.download({ ...file, sha256: "0".repeat(64) }), errors.ChecksumError);
    await assert.rejects(bob.files.download(file, { most: 1000 }), errors.FileTooLargeError);
    assert.ok((await alice.files.info(file.file)).complete);
    await alice.files.remove(file.file);
    const empty = await alice.files.upload(new Blob([]), { name: "empty" });
    assert.equal((await alice.files.download(errors.referenceTo(empty))).size, 0);
  });

  test("over WebSockets, which break again and again, nothing is lost, twice, or out of order", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const bob = await open(b);
    const address = process.env["SPARROW_CONNECTOR"] ?? "127.0.0.1:7400";
    const bridge = await WebSocketBridge.start(address);
    context.after(() => bridge.stop());
    const alice = await Client.open(a, {
      api: API,
      password: PASSWORD,
      register: true,
      connectors: [bridge.address],
      timing: TIMING,
    });
    context.after(() => alice.close());
    const receiving = take(bob, 200);
    for (let at = 0; at < 200; at++) {
      const sending = await alice.send(b, String(at));
      if (at % 50 === 25) {
        bridge.cut();
      } else if (at % 20 === 0) {
        await sending.sent();
      }
    }
    assert.deepEqual(
      (await receiving).map(({ text }) => text),
      Array.from({ length: 200 }, (_, at) => String(at)),
    );
  });

  test("a new password, logging out and coming back, the end of the account", async (context) => {
    const open = opener(context);
    const [a, b] = [newUser("alice"), newUser("bob")];
    const [alice, bob] = await Promise.all([open(a), open(b)]);
    await assert.rejects(alice.account.changePassword("wrong horse", "battery staple"), errors.WrongPasswordError);
    await assert.rejects(alice.account.changePassword(PASSWORD, "short"), errors.MisuseError);
    await alice.account.changePassword(PASSWORD, "battery staple");
    const { device } = alice;
    const closed = once(alice, "closed");
    await alice.logOut();
    assert.equal((await closed).error, undefined);
    await bob.send(a, "while you were out");
    const again = await open(a, { password: "battery staple", device });
    assert.equal((await take(again, 1))[0]?.text, "while you were out");
    const ended = once(again, "closed");
    await again.account.delete("battery staple");
    assert.ok((await ended).error instanceof errors.SessionEndedError);
    await assert.rejects((await bob.send(a, "gone")).sent(), errors.NoSuchUserError);
  });

  test("wrong passwords, and the same device twice", async (context) => {
    const open = opener(context);
    const a = newUser("alice");
    const alice = await open(a);
    await assert.rejects(open(a, { password: "wrong horse" }), errors.WrongPasswordError);
    await assert.rejects(open(a, { register: false, device: "nosuchdevice" }), errors.DeviceRemovedError);
    const closed = once(alice, "closed");
    await open(a, { device: alice.device });
    assert.ok((await closed).error instanceof errors.SessionEndedError);
  });
});
