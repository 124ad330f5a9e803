/**
 * Timers of a worker: those of a page in the background ring once a minute only.
 *
 * Owns the one policy of the page for what runs: its worker's address, and no other.
 */

import { workerTimers, type WorkerTimers } from "sparrow-client/browser";

/** Where the built worker is (`build.ts`). */
declare const __TIMER__: string;

/** What TypeScript does not know of browsers with Trusted Types. */
interface Policies {
  createPolicy(
    name: string,
    rules: { createScriptURL(address: string): string },
  ): { createScriptURL(address: string): { toString(): string } };
}

const { trustedTypes } = globalThis as { trustedTypes?: Policies };
const policy = trustedTypes?.createPolicy("sparrow", {
  createScriptURL(address) {
    if (address !== __TIMER__) {
      throw new TypeError("nothing else runs in this page");
    }
    return address;
  },
});

export function backgroundTimers(): WorkerTimers {
  return workerTimers(policy?.createScriptURL(__TIMER__) ?? __TIMER__);
}
