/**
 * Varint length-delimited frames over a byte stream (docs/protocol.md, "Framing").
 *
 * Owns the bytes between frames. Knows nothing of what is inside one.
 */

import { FrameError, FrameTooLargeError } from "../errors.ts";

const MAX_LENGTH_BYTES = 5;

/** The first byte of a `Frame` that is a `Message`: field 2, length-delimited. */
export const MESSAGE_TAG = 0x12;
/** The same of a `Hint`: field 13. */
export const HINT_TAG = 0x6a;
/** The same of a `Signal`: field 14. */
export const SIGNAL_TAG = 0x72;

/** One frame on the wire. */
export function delimit(payload: Uint8Array): Uint8Array {
  const length: number[] = [];
  let rest = payload.length;
  while (rest > 0x7f) {
    length.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  length.push(rest);
  const out = new Uint8Array(length.length + payload.length);
  out.set(length);
  out.set(payload, length.length);
  return out;
}

/** All of them in one. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) {
    return first;
  }
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Cuts a byte stream into payloads. After an error it stays broken and returns nothing more. */
export class FrameReader {
  /** Why the stream is broken; set behind the last good frame. */
  error: FrameError | undefined;
  readonly #limit: number;
  #parts: Uint8Array[] = [];
  #size = 0;
  /** No frame is whole with fewer bytes than this. */
  #need = 0;

  /** `maxFrameBytes`: a longer frame is an error, found before its bytes are read. */
  constructor(maxFrameBytes: number) {
    this.#limit = maxFrameBytes;
  }

  /** Bytes of a frame that is not whole yet. */
  get buffered(): number {
    return this.#size;
  }

  /** The payloads that `data` completes. They are views: who keeps one for long copies it. */
  receive(data: Uint8Array): Uint8Array[] {
    if (this.error !== undefined || data.length === 0) {
      return [];
    }
    this.#parts.push(data);
    this.#size += data.length;
    if (this.#size < this.#need) {
      return [];
    }
    const whole = concat(this.#parts);
    const frames: Uint8Array[] = [];
    const rest = this.#cut(whole, frames);
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#size = rest.length;
    return frames;
  }

  /** Puts whole payloads into `frames`; returns what is behind them. */
  #cut(data: Uint8Array, frames: Uint8Array[]): Uint8Array {
    let offset = 0;
    this.#need = 0;
    for (;;) {
      const parsed = this.#length(data, offset);
      if (parsed === undefined) {
        break;
      }
      const [length, start] = parsed;
      if (length > this.#limit) {
        this.error = new FrameTooLargeError(`a frame of ${length} bytes; the limit is ${this.#limit}`);
        break;
      }
      if (start + length > data.length) {
        this.#need = start + length - offset;
        break;
      }
      frames.push(data.subarray(start, start + length));
      offset = start + length;
    }
    return data.subarray(offset);
  }

  /** Length and start of the payload; undefined if the varint is not whole, or not one. */
  #length(data: Uint8Array, offset: number): [number, number] | undefined {
    let length = 0;
    for (let count = 0; count < MAX_LENGTH_BYTES; count++) {
      const byte = data[offset + count];
      if (byte === undefined) {
        return undefined;
      }
      length += (byte & 0x7f) * 2 ** (7 * count);
      if (byte < 0x80) {
        return [length, offset + count + 1];
      }
    }
    this.error = new FrameError("a frame's length is not a varint of at most 5 bytes");
    return undefined;
  }
}
