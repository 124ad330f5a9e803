/**
 * What a person is to read once, at the edge of the page.
 *
 * Owns how long it stays, and that the same is not there twice.
 */

import { signal } from "@preact/signals";

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly isError: boolean;
}

const STAYS_MS = 8_000;
const MOST = 4;

export class Toasts {
  readonly all = signal<readonly Toast[]>([]);
  #last = 0;

  say(text: string, isError: boolean): void {
    const id = ++this.#last;
    const others = this.all.value.filter((toast) => toast.text !== text);
    this.all.value = [...others.slice(1 - MOST), { id, text, isError }];
    setTimeout(() => this.unsay(id), STAYS_MS);
  }

  unsay(id: number): void {
    this.all.value = this.all.value.filter((toast) => toast.id !== id);
  }
}
