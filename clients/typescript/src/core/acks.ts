/**
 * When the next ack is due: at once, but for messages of groups, which may be acked late (docs/protocol.md, A5).
 *
 * Owns that decision. Sends nothing and knows no message.
 */

/** Of groups, unacked. */
export const MOST_FRAMES = 64;
/** Of their messages, unacked. */
export const MOST_BYTES = 65_536;
/** From the first of them on. */
export const WAIT_MS = 30_000;
/** Where the server's window is small, only so much of it stands unacked: groups have half of it, to go on with. */
const PART = 4;

/** Of one connection at a time. `now` is in milliseconds of the core's steady clock. */
export class Acks {
  /** Of groups, unacked. */
  frames = 0;
  /** When to ack if nothing else comes; undefined: nothing came since the last ack. */
  due: number | undefined;
  #bytes = 0;
  #most = MOST_FRAMES;

  /** A new connection: its count begins anew. */
  connected(): void {
    this.frames = this.#bytes = 0;
    this.due = undefined;
  }

  /** The server sends no more frames than this beyond an ack; 0: it does not say. */
  window(maxUnacked: number): void {
    this.#most = maxUnacked > 0 ? Math.max(1, Math.min(MOST_FRAMES, Math.floor(maxUnacked / PART))) : MOST_FRAMES;
  }

  /** A frame has come that is to be acked at once. */
  counted(now: number): void {
    this.due = now;
  }

  /** A group's message of so many bytes has come. */
  countedLate(size: number, now: number): void {
    this.frames++;
    this.#bytes += size;
    if (this.frames >= this.#most || this.#bytes >= MOST_BYTES) {
      this.due = now;
    } else {
      this.due ??= now + WAIT_MS;
    }
  }

  /** Whether to ack now. */
  isDue(now: number): boolean {
    return this.due !== undefined && this.due <= now;
  }

  /** All that came is acked. */
  acked(): void {
    this.connected();
  }
}
