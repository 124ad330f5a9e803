/**
 * Pictures that are shown in messages, as addresses of blobs.
 *
 * Owns how many are kept: the least lately seen go first. What is no raster picture by its own bytes is not shown.
 */

import type { FileReference } from "sparrow-client";

import { type Picture, pictureOf } from "../model/pictures.ts";
import type { Tab } from "../model/tab.ts";

/** A picture up to this is shown by itself. */
export const BY_ITSELF_BYTES = 4 * 1024 * 1024;
/** One up to this is shown when somebody asks for it. */
export const MOST_BYTES = 32 * 1024 * 1024;
const KEPT_BYTES = 96 * 1024 * 1024;

export interface Preview extends Picture {
  /** Of a blob of that type, and of no other. */
  readonly address: string;
  readonly bytes: number;
}

/** Whether its sender says that it is a picture of a kind that is shown. */
export function saysPicture({ media_type: type, size }: FileReference): boolean {
  return ["image/png", "image/jpeg", "image/gif", "image/webp"].includes(type) && size > 0 && size <= MOST_BYTES;
}

export class Previews {
  readonly #tab: Tab;
  readonly #kept = new Map<string, Promise<Preview | undefined>>();
  readonly #sizes = new Map<string, number>();

  constructor(tab: Tab) {
    this.#tab = tab;
  }

  /** The picture of a file; undefined: it is none. Throws what downloading throws. */
  async get(file: FileReference): Promise<Preview | undefined> {
    const name = `${file.file} ${file.sha256}`;
    const kept = this.#kept.get(name) ?? this.#load(file);
    // Seen last, it goes last.
    this.#kept.delete(name);
    this.#kept.set(name, kept);
    this.#sizes.set(name, file.size);
    this.#forget();
    try {
      return await kept;
    } catch (error) {
      this.#kept.delete(name);
      throw error;
    }
  }

  async #load(file: FileReference): Promise<Preview | undefined> {
    const blob = await this.#tab.transfers.download(file, MOST_BYTES);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const picture = pictureOf(bytes);
    if (picture === undefined) {
      return undefined;
    }
    const address = URL.createObjectURL(new Blob([bytes], { type: picture.type }));
    return { ...picture, address, bytes: bytes.length };
  }

  #forget(): void {
    let sum = [...this.#kept.keys()].reduce((all, name) => all + (this.#sizes.get(name) ?? 0), 0);
    for (const [name, kept] of this.#kept) {
      if (sum <= KEPT_BYTES) {
        return;
      }
      sum -= this.#sizes.get(name) ?? 0;
      this.#kept.delete(name);
      this.#sizes.delete(name);
      void kept.then((preview) => preview && URL.revokeObjectURL(preview.address)).catch(() => undefined);
    }
  }
}
