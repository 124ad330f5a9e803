/**
 * What rings when time has passed: the platform's timers, and those of a worker, which no browser slows down.
 *
 * Owns the worker that it starts. Decides nothing about when to ring.
 */

/** As the platform's `setTimeout` and `clearTimeout` do. */
export interface Timers {
  /** Call `ring` once, in so many milliseconds; returns what ends that, as long as it has not. */
  start(ring: () => void, ms: number): () => void;
}

/** The platform's. In a browser's background they may ring once a minute only. */
export const platformTimers: Timers = {
  start(ring, ms) {
    const timer = setTimeout(ring, ms);
    return () => clearTimeout(timer);
  },
};

/** What a page says to the worker: ring in `ms`, or do not. */
export interface TimerRequest {
  readonly id: number;
  readonly ms: number | undefined;
}

/** The timers of a worker, and the worker. */
export interface WorkerTimers extends Timers {
  /** End the worker; then they are the platform's. */
  close(): void;
}

/**
 * Timers that ring in the background, too. `url`: where the page's own origin serves `sparrow-client/worker/timer`,
 * bundled or not; a string, a `URL`, or a `TrustedScriptURL` where the page's policy wants one.
 *
 * Where the worker cannot be started, now or later, they ring as the platform's do: each is set there, too, and the
 * first of both rings.
 */
export function workerTimers(url: { toString(): string }): WorkerTimers {
  const rings = new Map<number, () => void>();
  let worker: Worker | undefined;
  let last = 0;
  const close = (): void => {
    worker?.terminate();
    worker = undefined;
  };
  try {
    worker = new Worker(url as string | URL, { type: "module", name: "sparrow-timer" });
    worker.onmessage = ({ data }: MessageEvent<number>) => rings.get(data)?.();
    worker.onerror = close;
  } catch {
    // There are no workers here, or the page's policy has something against this one.
  }
  const ask = (request: TimerRequest): void => worker?.postMessage(request);

  return {
    close,
    start(ring, ms) {
      const id = ++last;
      const stop = (): void => {
        rings.delete(id);
        stopOwn();
        ask({ id, ms: undefined });
      };
      const once = (): void => {
        stop();
        ring();
      };
      rings.set(id, once);
      const stopOwn = platformTimers.start(once, ms);
      ask({ id, ms });
      return stop;
    },
  };
}
