/** The page of tests/web/served.py: the TypeScript client as a page has it, which tests call as `tab`. */

import { Client } from "sparrow-client";
import { IndexedDbBackend, Leader, persist, workerTimers } from "sparrow-client/browser";

const policy = trustedTypes.createPolicy("sparrow", { createScriptURL: (url) => url });

export const tab = {
  /** What its client told: names, and what errors say. */
  told: [],
  client: undefined,
  leader: undefined,
  backend: undefined,
  timers: undefined,

  /** Be the device of `user`, at once. `report(text, name)` of the test is told of each message before it counts as taken. */
  async open(user, options = {}) {
    await persist();
    this.timers ??= workerTimers(policy.createScriptURL("/dist/worker/timer.js"));
    this.backend = await IndexedDbBackend.open(`sparrow-${user}`);
    const { timers } = this;
    const all = { state: this.backend, timers, closeTimeoutMs: 200, ...options };
    this.client = await Client.open(user, all, (client) => {
      for (const name of ["connected", "disconnected", "closed"]) {
        client.on(name, ({ error, reason }) => this.told.push([name, error?.trouble ?? error?.name ?? reason ?? ""]));
      }
    });
    void this.read(this.client);
  },

  async read(client) {
    try {
      for await (const message of client.messages()) {
        await report(message.text, message.name);
      }
    } catch (error) {
      this.told.push(["reading", error.trouble ?? error.name]);
    }
  },

  /** Wait for the turn of this tab. */
  lead(user, options) {
    this.leader = new Leader(`sparrow-${user}`, {
      onLead: () => {
        this.told.push(["lead", ""]);
        this.opening = this.open(user, { background: true, ...options });
        this.opening.catch((error) => this.told.push(["opening", error.trouble ?? String(error)]));
      },
      onLost: () => {
        this.told.push(["lost", ""]);
        void this.client?.close();
      },
    });
  },

  /** Send texts, each when the one before is kept, and tell the test of each. */
  async send(dest, texts) {
    await this.opening;
    for (const text of texts) {
      await this.client.send(dest, text);
      await report(text, "kept");
    }
  },

  /** Let nothing else run in this tab until the test says so; then send something. */
  async hang(dest) {
    await new Promise((resolve) => setTimeout(resolve));
    const request = new XMLHttpRequest();
    do {
      request.open("GET", `/hangs?${Math.random()}`, false);
      request.send();
    } while (request.responseText === "True");
    return this.sent(dest, "of a tab that hung");
  },

  /** Count how often both timers ring that are set every 50 ms. */
  count() {
    const own = () => setTimeout(() => (this.own++, own()), 50);
    const rung = () => this.timers.start(() => (this.rung++, rung()), 50);
    own();
    rung();
  },

  /** Write to another database until the browser takes no more. */
  async fill() {
    const opening = indexedDB.open("filling");
    opening.onupgradeneeded = () => opening.result.createObjectStore("bytes", { autoIncrement: true });
    await new Promise((resolve) => (opening.onsuccess = resolve));
    for (const size of [60_000, 10_000]) {
      for (let isFull = false; !isFull; ) {
        const transaction = opening.result.transaction("bytes", "readwrite");
        transaction.objectStore("bytes").put(crypto.getRandomValues(new Uint8Array(60_000)).slice(0, size));
        isFull = await new Promise((resolve) => {
          transaction.oncomplete = () => resolve(false);
          transaction.onabort = () => resolve(true);
        });
      }
    }
  },

  /** Send a text until it is safe; `SENT`, or what went wrong. */
  async sent(dest, text) {
    try {
      const sending = await this.client.send(dest, text);
      await sending.sent();
      return "SENT";
    } catch (error) {
      return error.trouble ?? error.name;
    }
  },
};

globalThis.tab = tab;
globalThis.IndexedDbBackend = IndexedDbBackend;
