/**
 * A client in a page: one tab is the device, with its state in IndexedDB; the others wait for their turn.
 *
 * Bundle it with what you like, and `sparrow-client/worker/timer` into a file of its own, here /timer.js. The page gives
 * elements with the ids `state`, `messages`, `text` and `send`.
 */

import { Client, type ClientOptions, type Message, SparrowError, StateError } from "sparrow-client";
import { IndexedDbBackend, Leader, persist, workerTimers } from "sparrow-client/browser";

/** One for all clients of this tab. A policy with `require-trusted-types-for` wants a `TrustedScriptURL` here. */
const timers = workerTimers("/timer.js");

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) {
    throw new Error(`the page has no ${id}`);
  }
  return found;
}

function say(text: string): void {
  element("state").textContent = text;
}

function show(message: Message): void {
  const line = document.createElement("li");
  line.textContent = `${message.sender}: ${message.text}`; // as text: it is a stranger's
  element("messages").append(line);
}

/** Be the device of `user`, until another tab is, or the session ends. */
async function lead(user: string, options: Omit<ClientOptions, "state">): Promise<Client> {
  await persist();
  const state = await IndexedDbBackend.open(`sparrow-${user}`);
  const client = await Client.open(user, { ...options, state, timers, background: true }, (opening) => {
    opening.on("connected", () => say("connected"));
    opening.on("disconnected", ({ reason }) => say(`offline: ${reason}`));
    opening.on("closed", ({ error }) => say(error?.message ?? "closed"));
  });
  addEventListener("online", () => client.hurry());
  void read(client);
  return client;
}

async function read(client: Client): Promise<void> {
  try {
    for await (const message of client.messages()) {
      show(message);
      await message.markRead();
    }
  } catch (error) {
    say(error instanceof SparrowError ? error.message : String(error));
  }
}

/** Chat with `other`. The user API is the page's own origin. */
export function start(user: string, password: string, other: string): void {
  let client: Promise<Client> | undefined;
  const send = async (): Promise<void> => {
    const text = element("text") as HTMLInputElement;
    await (await client)?.send(other, text.value);
    text.value = "";
  };
  element("send").addEventListener("click", () => void send());

  const wait = (): Leader =>
    new Leader(`sparrow-${user}`, {
      onLead() {
        client = lead(user, { api: location.origin, password });
        client.catch((error: unknown) => {
          const trouble = error instanceof StateError ? ` (${error.trouble})` : "";
          say(`${error instanceof Error ? error.message : String(error)}${trouble}`);
        });
      },
      onLost() {
        say("another tab has gone on in this one's place; this one waits");
        void client?.then((each) => each.close());
        client = undefined;
        wait();
      },
    });
  say("another tab is open: this one waits");
  wait();
}
