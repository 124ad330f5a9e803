/**
 * A worker that keeps time, for a page whose own timers a browser slows down: the other half of `workerTimers`.
 *
 * Owns its timers alone. It is a program, not a module to import: the page's origin serves it as a file.
 */

import type { TimerRequest } from "../timers.ts";

const timers = new Map<number, ReturnType<typeof setTimeout>>();

addEventListener("message", ({ data: { id, ms } }: MessageEvent<TimerRequest>) => {
  clearTimeout(timers.get(id));
  timers.delete(id);
  if (ms !== undefined) {
    const ring = (): void => {
      timers.delete(id);
      postMessage(id);
    };
    timers.set(id, setTimeout(ring, ms));
  }
});
