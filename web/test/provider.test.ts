import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { parseOidcAnswer } from "sparrow-client";

import { parseRoute } from "../src/state/route.ts";

suite("what a provider has sent back", () => {
  test("is read from behind ? or #", () => {
    const answer = { state: "s.t-a_te", code: "c/o+de", error: "", issuer: "https://id.example.net/x" };
    const part = new URLSearchParams({ state: "s.t-a_te", code: "c/o+de", iss: "https://id.example.net/x" }).toString();
    for (const mark of ["#", "?"]) {
      assert.deepEqual(parseOidcAnswer(mark + part), answer);
    }
    assert.deepEqual(parseOidcAnswer("#state=s&error=access_denied"), {
      state: "s",
      code: "",
      error: "access_denied",
      issuer: "",
    });
  });

  test("is nothing else in an address", () => {
    for (const part of ["", "#", "?", "#/chat/bob", "#state=s", "?code=c", "#invite=abcd", "#/search/code=c&state="]) {
      assert.equal(parseOidcAnswer(part), undefined);
    }
    assert.deepEqual(parseRoute("#state=s&code=c"), { at: "list" });
  });
});
