/**
 * Logging in with an OpenID provider: going there, and what has come back from it in the address.
 *
 * Owns what is kept of such a login while the person is there: in this tab's session storage, until it is taken out
 * once. The answer is taken out of the address at once, so that no history of the browser keeps it.
 */

import { signal } from "@preact/signals";
import {
  beginOidc,
  type LoginWays,
  type OidcAnswer,
  type OidcBegun,
  type OidcTicket,
  parseOidcAnswer,
  redeemOidc,
  waysToLogIn,
} from "sparrow-client";

import { type Problem, problemOf } from "../model/told.ts";

const KEPT = "sparrow:oidc";

/** How people log in here; undefined: not known yet. */
export const ways = signal<LoginWays | undefined>(undefined);

/** What came of it. */
export type Returned =
  | { readonly at: "none" }
  /** The service is being shown what has come back. */
  | { readonly at: "asking" }
  | { readonly at: "vouched"; readonly ticket: OidcTicket }
  | { readonly at: "refused"; readonly problem: Problem };

export const returned = signal<Returned>({ at: "none" });

/** Ask the service how people log in; without an answer, with a password. */
export async function learnWays(): Promise<void> {
  try {
    ways.value = await waysToLogIn(location.origin);
  } catch {
    ways.value ??= { passwords: true, registration: "open", oidcName: "" };
  }
}

/** Go to the provider. Returns what is wrong with it. */
export async function goToProvider(): Promise<Problem | undefined> {
  try {
    const begun = await beginOidc(location.origin, `${location.origin}/`);
    sessionStorage.setItem(KEPT, JSON.stringify(begun));
    location.assign(begun.url);
    return undefined;
  } catch (error) {
    return problemOf(error);
  }
}

/** Take the provider's answer out of the address, if there is one. */
export function takeAnswer(): void {
  const behind = parseOidcAnswer(location.hash);
  const answer = behind ?? parseOidcAnswer(location.search);
  if (answer === undefined) {
    return;
  }
  history.replaceState(history.state, "", location.pathname + (behind === undefined ? location.hash : ""));
  const begun = takeBegun();
  // One that this tab has not begun is somebody else's.
  if (begun?.state === answer.state) {
    void redeem(begun, answer);
  }
}

/** Nothing of it counts any more. */
export function forgetAnswer(): void {
  returned.value = { at: "none" };
}

function takeBegun(): OidcBegun | undefined {
  const kept = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  try {
    return kept === null ? undefined : (JSON.parse(kept) as OidcBegun);
  } catch {
    return undefined;
  }
}

async function redeem(begun: OidcBegun, answer: OidcAnswer): Promise<void> {
  returned.value = { at: "asking" };
  try {
    returned.value = { at: "vouched", ticket: await redeemOidc(location.origin, begun, answer) };
  } catch (error) {
    returned.value = { at: "refused", problem: problemOf(error) };
  }
}
