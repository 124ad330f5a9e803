import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { UnavailableError } from "sparrow-client";

import { Channel } from "../src/model/channel.ts";
import type { Told } from "../src/model/told.ts";

interface Tab {
  readonly channel: Channel;
  readonly told: Told[];
  led: number;
  over: number;
}

function tab(name: string): Tab {
  const made: Omit<Tab, "channel"> = { told: [], led: 0, over: 0 };
  const channel = new Channel(
    name,
    (told) => made.told.push(told),
    () => made.led++,
    () => made.over++,
    100,
  );
  return Object.assign(made, { channel });
}

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

suite("tabs", () => {
  test("ask the one that leads, which answers and tells", async () => {
    const name = crypto.randomUUID();
    const [leader, other] = [tab(name), tab(name)];
    leader.channel.lead((path, args) => Promise.resolve(`${path} ${JSON.stringify(args)}`));
    assert.equal(await other.channel.ask("chat.send", ["bob", 1]), 'chat.send ["bob",1]');
    leader.channel.tell({ type: "stale", peer: "bob" });
    await soon();
    assert.deepEqual([other.told, other.led, leader.told], [[{ type: "stale", peer: "bob" }], 1, []]);
    other.channel.end();
    await soon();
    assert.deepEqual([leader.over, other.over], [1, 0]);
    [leader, other].forEach(({ channel }) => channel.close());
  });

  test("hear of errors by their names", async () => {
    const name = crypto.randomUUID();
    const [leader, other] = [tab(name), tab(name)];
    leader.channel.lead(() => Promise.reject(new UnavailableError("not now")));
    await assert.rejects(other.channel.ask("chat.send", []), { name: "UnavailableError", message: "not now" });
    [leader, other].forEach(({ channel }) => channel.close());
  });

  test("wait for nobody who has gone", async () => {
    const name = crypto.randomUUID();
    const [first, second, third] = [tab(name), tab(name), tab(name)];
    const heard = Promise.withResolvers<unknown>();
    first.channel.lead(() => {
      heard.resolve(undefined);
      return new Promise(() => undefined);
    });
    const asked = third.channel.ask("chat.send", []);
    const refused = assert.rejects(asked, { name: "UnavailableError" });
    await heard.promise;
    third.channel.tell({ type: "stale", peer: "bob" });
    while (second.told.length === 0) {
      await soon(); // then it has heard the question, too, while it did not lead
    }
    first.channel.follow();
    first.channel.close();
    first.channel.tell({ type: "stale", peer: "" }); // too late, and no harm
    second.channel.lead(() => Promise.resolve("here"));
    await refused;
    assert.equal(await third.channel.ask("chat.send", []), "here");
    [second, third].forEach(({ channel }) => channel.close());
  });
});
