/**
 * Files on their way, in the tab that is the device: any tab starts and stops them, all see how far they are.
 *
 * Owns what is under way. What a file is allowed to look like is the view's business.
 */

import type { Client, FileReference } from "sparrow-client";

import { problemOf, type Told } from "./told.ts";

/** How often progress is told, in milliseconds. */
const TELL_EVERY_MS = 100;

export class Transfers {
  readonly #client: Client;
  readonly #tell: (told: Told) => void;
  readonly #ends = new Map<string, AbortController>();

  constructor(client: Client, tell: (told: Told) => void) {
    this.#client = client;
    this.#tell = tell;
  }

  /** Upload a file and send it. `upload` names it to `cancel`. Returns when it is kept as a message, or has failed. */
  async send(upload: string, peer: string, blob: Blob, name: string): Promise<void> {
    const controller = new AbortController();
    this.#ends.set(upload, controller);
    let last = 0;
    const tell = (done: number, total: number, end = ""): void =>
      this.#tell({ type: "upload", upload: { upload, peer, name, done, total, end } });
    const progress = (done: number, total: number): void => {
      if (performance.now() - last >= TELL_EVERY_MS) {
        last = performance.now();
        tell(done, total);
      }
    };
    tell(0, blob.size);
    try {
      await this.#client.sendFile(peer, blob, { name, progress, signal: controller.signal });
      tell(blob.size, blob.size, "sent");
    } catch (error) {
      tell(0, blob.size, controller.signal.aborted ? "cancelled" : problemOf(error).text);
    } finally {
      this.#ends.delete(upload);
    }
  }

  /** Stop an upload: what has arrived is thrown away. */
  cancel(upload: string): Promise<void> {
    this.#ends.get(upload)?.abort();
    return Promise.resolve();
  }

  /** The whole of a file, checked by its digest. Throws as `Files.download`. */
  async download(file: FileReference, most: number): Promise<Blob> {
    return this.#client.files.download(file, { most });
  }
}
