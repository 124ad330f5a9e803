/**
 * A small chat for a terminal: node examples/chat.ts USER OTHER [API]
 *
 * Asks for the password, keeps its state in USER.sparrow, and makes the account if there is none. OTHER is a user, or a
 * group's id. What you type is sent; /edit TEXT changes your last message, /erase takes it back, /quit leaves.
 */

import process from "node:process";
import { createInterface } from "node:readline/promises";

import { Client, type Sending, SparrowError } from "sparrow-client";
import { FileBackend, tcp } from "sparrow-client/node";

const [user = "", other = "", api = "http://127.0.0.1:7480"] = process.argv.slice(2);
if (user === "" || other === "") {
  console.error("usage: node examples/chat.ts USER OTHER [API]");
  process.exit(2);
}

const terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: "password: " });
/** From the beginning: lines that nobody waits for get lost. */
const lines = terminal[Symbol.asyncIterator]();
const TICKS = { failed: "✗", queued: "…", sent: "✓", delivered: "✓✓", read: "✓✓ read" };

/** What strangers write may have codes that a terminal acts on. */
function clean(text: string): string {
  return text.replace(/\p{Cc}/gu, " ");
}

async function show(client: Client): Promise<void> {
  for await (const message of client.messages()) {
    console.log(`${message.sender}${message.late ? " (late)" : ""}: ${clean(message.text)}`);
    await message.markRead();
  }
}

async function chat(): Promise<void> {
  terminal.prompt();
  const { value: password } = (await lines.next()) as { value?: string };
  if (password === undefined) {
    return;
  }
  const state = new FileBackend(`${user}.sparrow`);
  const options = { api, password, register: true, state, transports: [tcp()], name: "sparrow-example" };
  const client = await Client.open(user, options, (opening) => {
    opening.on("disconnected", ({ reason }) => console.log(`-- ${reason}`));
    opening.on("connected", ({ device }) => console.log(`-- connected, device ${device}`));
    opening.on("sending", ({ text, state: how, note }) => console.log(`   ${TICKS[how]} ${clean(text)} ${note}`));
    opening.on("edited", ({ sender, text }) => console.log(`-- ${sender} has changed a message: ${clean(text)}`));
    opening.on("erased", ({ by }) => console.log(`-- ${by} has erased a message`));
    opening.on("groupChanged", ({ change }) => console.log(`-- ${change.actor}: ${change.kind} ${change.user ?? ""}`));
  });
  const showing = show(client);
  let last: Sending | undefined;
  for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
    const line = next.value;
    try {
      if (line === "/quit") {
        break;
      } else if (line === "/erase") {
        await last?.erase();
      } else if (line.startsWith("/edit ")) {
        await last?.edit(line.slice("/edit ".length));
      } else if (line !== "") {
        last = await client.send(other, line);
      }
    } catch (error) {
      if (!(error instanceof SparrowError)) {
        throw error;
      }
      console.log(`-- ${error.message}`);
    }
  }
  await client.close();
  await showing;
}

try {
  await chat();
} catch (error) {
  console.error(error instanceof SparrowError ? error.message : error);
  process.exitCode = 1;
} finally {
  terminal.close();
}
