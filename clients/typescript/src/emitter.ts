/**
 * Who listens to what a client tells.
 *
 * Owns the listeners. One that fails hurts nobody else.
 */

import type { ClientEvents } from "./events.ts";

export type Listener<K extends keyof ClientEvents> = (event: ClientEvents[K]) => void;

export class Emitter {
  readonly #listeners = new Map<string, Set<(event: never) => void>>();

  /** Be told of an event; returns what ends that. */
  on<K extends keyof ClientEvents>(name: K, listener: Listener<K>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  tell<K extends keyof ClientEvents>(name: K, event: ClientEvents[K]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        (listener as Listener<K>)(event);
      } catch (error) {
        console.error(`a listener of ${name} has failed:`, error);
      }
    }
  }
}
