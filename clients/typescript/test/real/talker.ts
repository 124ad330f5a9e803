/**
 * A client that is killed: sends numbers from FROM up to below TO, and says "kept N" for each that is kept; says "got N"
 * for each that it is given; "done" when the last one is SENT. What may have been kept without its line having come
 * out, it says first: "next N".
 *
 * node talker.ts USER API STATE OTHER FROM TO [websocket]
 */

import { writeSync } from "node:fs";

import { Client, type Sending, websocket } from "../../src/index.ts";
import { FileBackend, tcp } from "../../src/node.ts";
import { DeviceJournal } from "../../src/journal/journal.ts";

const [user = "", api = "", state = "", other = "", from = "0", to = "0", over = "tcp"] = process.argv.slice(2);

function say(line: string): void {
  writeSync(1, `${line}\n`); // at once: a kill comes at any time
}

const backend = new FileBackend(state);
const { kept } = await DeviceJournal.open(backend);
const unsettled = [...kept.outbound.flatMap((stream) => [...stream.messages.values()]), ...kept.drafts];
const next = unsettled.reduce(
  (most, { body }) => Math.max(most, Number(Buffer.from(body).toString()) + 1),
  Number(from),
);
say(`next ${next}`);
const timing = { firstRetryMs: 50, lastRetryMs: 500 };
const client = await Client.open(user, {
  api,
  password: "correct horse",
  state: backend,
  transports: [over === "websocket" ? websocket : tcp()],
  timing,
});

async function receive(): Promise<void> {
  for await (const message of client.messages()) {
    say(`got ${message.text}`);
  }
}

async function send(): Promise<void> {
  let last: Sending | undefined;
  for (let number = next; number < Number(to); number++) {
    last = await client.send(other, String(number));
    say(`kept ${number}`);
  }
  if (last !== undefined) {
    await last.sent();
    say("done");
  }
}

await Promise.all([receive(), send()]);
