/**
 * A code in the address, as somebody was handed it: `#invite=CODE`, or `#reset=USER:CODE`.
 *
 * Owns the form of it. What stands behind `#` never goes to a server; it is taken out of the address at once, so that
 * no history of the browser keeps it.
 */

import { signal } from "@preact/signals";
import { Client } from "sparrow-client";

import { type Problem, problemOf } from "../model/told.ts";

export type Handed =
  /** An invitation to register. */
  | { readonly kind: "invite"; readonly code: string }
  /** For a new password of `user`. */
  | { readonly kind: "reset"; readonly user: string; readonly code: string };

const INVITE = /^#invite=([a-z2-7-]{1,64})$/i;
const RESET = /^#reset=([a-z0-9._-]{1,64}):([a-z2-7-]{1,64})$/i;

/** Reads what stands in an address; undefined: no code. */
export function parseHanded(hash: string): Handed | undefined {
  const [, invitation] = INVITE.exec(hash) ?? [];
  if (invitation !== undefined) {
    return { kind: "invite", code: invitation };
  }
  const [, user, code] = RESET.exec(hash) ?? [];
  return user === undefined || code === undefined ? undefined : { kind: "reset", user: user.toLowerCase(), code };
}

export const handed = signal<Handed | undefined>(undefined);

/** Take a code out of the address, if there is one. */
export function takeHanded(): void {
  const found = parseHanded(location.hash);
  if (found !== undefined) {
    handed.value = found;
    history.replaceState(history.state, "", location.pathname + location.search);
  }
}

/** Set a new password by a code. Returns what is wrong with it. */
export async function setPassword(user: string, code: string, fresh: string): Promise<Problem | undefined> {
  try {
    await Client.resetPassword(location.origin, user, code, fresh);
    return undefined;
  } catch (error) {
    return problemOf(error);
  }
}
