/**
 * The server's time, by which all stamps and mutes go: this machine's clock may be a year off.
 *
 * Owns how far the two are apart, as it was told last.
 */

let offsetMs = 0;

export function setOffset(ms: number): void {
  offsetMs = ms;
}

/** Unix milliseconds. */
export function nowMs(): number {
  return Date.now() + offsetMs;
}
