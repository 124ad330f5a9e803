/** Times for people. The server's clock gives them: this machine's may be wrong. */

import { nowMs } from "../state/clock.ts";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const SHORT_DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export function clockTime(ms: number): string {
  return CLOCK.format(ms);
}

export function dayOf(ms: number): string {
  return DAY.format(ms);
}

/** The time of today, the day of other days. */
export function shortTime(ms: number): string {
  return isSameDay(ms, nowMs()) ? CLOCK.format(ms) : SHORT_DAY.format(ms);
}

export function wholeTime(ms: number): string {
  return WHOLE.format(ms);
}

export function isSameDay(one: number, other: number): boolean {
  return new Date(one).toDateString() === new Date(other).toDateString();
}
