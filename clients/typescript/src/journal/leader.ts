/**
 * Which tab of a browser is the device: one at a time, over a Web Lock, and another one when that does not answer.
 *
 * Owns the lock and the channel on which the leading tab answers. Keeps nothing: a tab that was taken over without
 * noticing is stopped by the epoch in `indexeddb`.
 */

import { ConfigError } from "../errors.ts";

/** A leading tab that does not answer for so long has crashed, or is frozen. */
export const ALIVE_MS = 2_000;

export interface LeaderOptions {
  /** This tab is the device from now on: open the journal, and the client. */
  readonly onLead: () => void;
  /** Another tab has taken over: close the client. It is told once, behind `onLead`. */
  readonly onLost: () => void;
  /** How long a leading tab may take to answer, in milliseconds. */
  readonly aliveMs?: number;
  /** Those of the browser, if nothing else is given. */
  readonly locks?: Pick<LockManager, "request">;
  /** Makes the channel of a name; the browser's, if nothing else is given. */
  readonly channel?: (name: string) => BroadcastChannel;
}

/** Of one tab. It waits for its turn from the beginning, until `close`. */
export class Leader {
  /** `waiting` for its turn, `leading`, or at its end: `lost` to another tab, or `closed`. */
  state: "waiting" | "leading" | "lost" | "closed" = "waiting";
  readonly #name: string;
  readonly #options: LeaderOptions;
  readonly #aliveMs: number;
  readonly #locks: Pick<LockManager, "request">;
  readonly #channel: BroadcastChannel;
  #queued = new AbortController();
  #release: () => void = () => undefined;
  #answered = false;
  /** It did not answer, but this tab had slept: what it has said may not have come yet. */
  #doubted = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Its timers and sockets stand still, but what other tabs say still comes. */
  #isFrozen = false;
  readonly #watching = new AbortController();

  /** `name`: of the device's journal; the same in all tabs. Throws `ConfigError` where the browser has no Web Locks. */
  constructor(name: string, options: LeaderOptions) {
    this.#name = `sparrow:${name}`;
    this.#options = options;
    this.#aliveMs = options.aliveMs ?? ALIVE_MS;
    const { locks } = globalThis.navigator as Partial<Navigator>;
    const found = options.locks ?? locks;
    if (found === undefined) {
      throw new ConfigError("this page cannot lock its state: open it over https, or on the machine itself");
    }
    this.#locks = found;
    this.#channel = options.channel?.(this.#name) ?? new BroadcastChannel(this.#name);
    this.#channel.onmessage = (event: MessageEvent<unknown>) => this.#heard(event.data);
    this.#watchFreezing();
    this.#request({ signal: this.#queued.signal });
    this.#ask();
  }

  #watchFreezing(): void {
    const { document } = globalThis as { document?: EventTarget };
    const { signal } = this.#watching;
    document?.addEventListener("freeze", () => (this.#isFrozen = true), { signal });
    document?.addEventListener("resume", () => (this.#isFrozen = false), { signal });
  }

  #request(options: LockOptions): void {
    let had = false;
    const holding = (): Promise<void> => {
      had = true;
      return this.#lead();
    };
    this.#locks.request(this.#name, options, holding).catch(() => {
      // Stolen while we had it; or it was no longer queued for.
      if (had) {
        this.#lost();
      }
    });
  }

  #lead(): Promise<void> {
    if (this.state !== "waiting") {
      return Promise.resolve();
    }
    this.state = "leading";
    clearTimeout(this.#timer);
    this.#options.onLead();
    return new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  #lost(): void {
    if (this.state === "leading") {
      this.state = "lost";
      this.#watching.abort();
      this.#channel.close();
      this.#options.onLost();
    }
  }

  #heard(said: unknown): void {
    if (said === "there?" && this.state === "leading" && !this.#isFrozen) {
      this.#channel.postMessage("here");
    } else if (said === "here") {
      this.#answered = true;
    }
  }

  /** Again and again, while another one leads. */
  #ask(): void {
    if (this.state !== "waiting") {
      return;
    }
    this.#answered = false;
    this.#channel.postMessage("there?");
    const asked = performance.now();
    this.#timer = setTimeout(() => {
      const isLate = performance.now() - asked > 2 * this.#aliveMs;
      if (this.#answered || (isLate && !this.#doubted)) {
        this.#doubted = !this.#answered;
        this.#ask();
      } else if (this.state === "waiting") {
        this.#takeOver();
      }
    }, this.#aliveMs);
  }

  #takeOver(): void {
    this.#queued.abort();
    this.#queued = new AbortController();
    this.#request({ steal: true });
  }

  /** Let another tab have its turn, or wait for none any more. Close the client first. */
  close(): void {
    clearTimeout(this.#timer);
    const was = this.state;
    if (was === "waiting" || was === "leading") {
      this.state = "closed";
      this.#watching.abort();
      this.#channel.close();
      this.#queued.abort();
      this.#release();
    }
  }
}
