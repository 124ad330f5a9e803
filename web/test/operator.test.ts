import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { viewOf } from "../src/operator/route.ts";
import type { Sample } from "../src/operator/told.ts";
import { amount, duration } from "../src/operator/words.ts";

// What keeps the session asks for it as soon as it is loaded.
Object.assign(globalThis, { sessionStorage: { getItem: () => null, setItem: () => 0, removeItem: () => 0 } });
const { joined } = await import("../src/operator/state.ts");

const samples = (...numbers: number[]): Sample[] => numbers.map((each) => [each, each * 1000, 1]);

suite("the operator's page", () => {
  test("joins what is new to what it has", () => {
    assert.deepEqual(joined([], 2, samples(1, 2)), samples(1, 2));
    assert.deepEqual(joined(samples(1, 2), 3, samples(2, 3)), samples(1, 2, 3));
    assert.deepEqual(joined(samples(1, 2), 2, []), samples(1, 2));
  });

  test("begins anew with a server that did", () => {
    assert.deepEqual(joined(samples(7, 8), 2, samples(1, 2)), samples(1, 2));
  });

  test("keeps an hour", () => {
    const many = samples(...Array.from({ length: 800 }, (_, index) => index + 1));
    assert.equal(joined(many, 801, samples(801)).length, 720);
    assert.equal(joined(many, 801, samples(801)).at(-1)?.[0], 801);
  });

  test("says how long and how much", () => {
    assert.deepEqual([0, 59.9, 61, 3600, 90_061].map(duration), ["0s", "59s", "1m 1s", "1h", "1d 1h"]);
    assert.deepEqual([null, 0, 12.34, 1234.5, 0.0123].map(amount), ["–", "0", "12.3", "1,235", "0.012"]);
  });

  test("knows its views by their addresses alone", () => {
    assert.deepEqual(["", "#accounts", "#toString", "#<img>"].map(viewOf), [
      "overview",
      "accounts",
      "overview",
      "overview",
    ]);
  });
});
