/** Timers of a worker: the first to ring counts, once; and without a worker they are the platform's. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { Client } from "../src/index.ts";
import { tcp } from "../src/node.ts";
import { platformTimers, type TimerRequest, type Timers, type WorkerTimers, workerTimers } from "../src/timers.ts";

import { FakeServer, polite } from "./fake_server.ts";

/** In place of a browser's; it rings when a test says so. */
class FakeWorker {
  static latest: FakeWorker;
  readonly asked: TimerRequest[] = [];
  isTerminated = false;
  onmessage: (event: { data: number }) => void = () => undefined;
  onerror: () => void = () => undefined;

  readonly url: unknown;

  constructor(url: unknown) {
    this.url = url;
    FakeWorker.latest = this;
  }

  postMessage(request: TimerRequest): void {
    this.asked.push(request);
  }

  terminate(): void {
    this.isTerminated = true;
  }
}

function withWorker(context: TestContext, worker: unknown): void {
  Object.assign(globalThis, { Worker: worker });
  context.after(() => Reflect.deleteProperty(globalThis, "Worker"));
  context.mock.timers.enable({ apis: ["setTimeout"] });
}

test("the worker rings while the page's own timers are slow", (context) => {
  withWorker(context, FakeWorker);
  const url = { toString: () => "/timer.js" }; // such as a TrustedScriptURL: it is passed on as it is
  const timers = workerTimers(url);
  const worker = FakeWorker.latest;
  assert.equal(worker.url, url);
  let rung = 0;
  timers.start(() => rung++, 20_000);
  assert.deepEqual(worker.asked, [{ id: 1, ms: 20_000 }]);
  worker.onmessage({ data: 1 });
  worker.onmessage({ data: 1 });
  context.mock.timers.tick(60_000);
  assert.equal(rung, 1);
});

test("the page's own timers ring where the worker does not", (context) => {
  withWorker(context, FakeWorker);
  const timers = workerTimers("/timer.js");
  let rung = 0;
  timers.start(() => rung++, 1_000);
  const stop = timers.start(() => rung++, 1_000);
  stop();
  context.mock.timers.tick(1_000);
  FakeWorker.latest.onmessage({ data: 1 });
  FakeWorker.latest.onmessage({ data: 2 });
  assert.equal(rung, 1);
});

test("a worker that fails, or is closed, is not asked any more", (context) => {
  withWorker(context, FakeWorker);
  const ends = [(): void => FakeWorker.latest.onerror(), (timers: WorkerTimers): void => timers.close()];
  for (const end of ends) {
    const timers = workerTimers("/timer.js");
    const worker = FakeWorker.latest;
    let rung = 0;
    timers.start(() => rung++, 1_000);
    end(timers);
    timers.start(() => rung++, 2_000);
    context.mock.timers.tick(2_000);
    assert.deepEqual([rung, worker.isTerminated, worker.asked.length], [2, true, 1]);
  }
});

test("where no worker may be started, the platform's timers are used", (context) => {
  const refused = function (): never {
    throw new TypeError("This document requires 'TrustedScriptURL' assignment.");
  };
  for (const worker of [refused, undefined]) {
    context.mock.timers.reset();
    withWorker(context, worker);
    let rung = 0;
    workerTimers("/timer.js").start(() => rung++, 5);
    context.mock.timers.tick(5);
    assert.equal(rung, 1);
  }
});

test("a client's pings and retries come by the timers that it was given", async (context) => {
  let pings = 0;
  const server = await FakeServer.start((session, frame) => {
    if (frame.case === "login") {
      session.welcome({ heartbeatMs: 150 });
    } else if (frame.case === "ping") {
      pings++;
    } else {
      polite(session, frame);
    }
  });
  const waits: number[] = [];
  let rung = 0;
  const timers: Timers = {
    start(ring, ms) {
      waits.push(ms);
      const counted = (): void => {
        rung++;
        ring();
      };
      return platformTimers.start(counted, ms);
    },
  };
  const timing = { connectTimeoutMs: 4_321, firstRetryMs: 1 };
  const client = await Client.open("alice", { api: server.api, password: "x", transports: [tcp()], timers, timing });
  context.after(async () => {
    await client.close();
    await server.stop();
  });
  while (pings === 0) {
    await new Promise((resolve) => void setTimeout(resolve, 5));
  }
  assert.ok(rung > 0);
  assert.ok(waits.includes(4_321));
  const before = waits.length;
  const lost = new Promise((resolve) => client.on("disconnected", resolve));
  server.latest.socket.destroy();
  await lost;
  assert.ok(waits.length > before);
});
