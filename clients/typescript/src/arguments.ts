/**
 * What an application gives to the client, looked at before anything is kept of it.
 *
 * Owns the refusals: what a server would answer with `NOT_ALLOWED`, and what no message can hold. Pure functions.
 */

import { InvalidIdError, MessageTooLargeError, MisuseError } from "./errors.ts";
import { Kind } from "./gen/sparrow_pb.js";
import { FIRST_OWN_KIND, isDeviceId, MAX_ID, MAX_KIND } from "./protocol/ids.ts";
import { carriesSignal } from "./signals.ts";

/** Stream, ids, kind and the lengths of fields take at most this in a message. */
const FIELD_BYTES = 48;
/** What names the target of a change takes at most so much, and its revision. */
export const ABOUT_BYTES = 64;
/** Body of a signal. */
const MAX_SIGNAL_BYTES = 1024;
const encoder = new TextEncoder();

/** The bytes of a message of this kind. Throws `MisuseError`. */
export function content(body: string | Uint8Array, kind: number): Uint8Array {
  const isOwn = Number.isInteger(kind) && kind >= FIRST_OWN_KIND && kind <= MAX_KIND;
  if (kind !== Kind.TEXT && kind !== Kind.FILE && !isOwn) {
    throw new MisuseError(`kind ${kind}: use TEXT, FILE, or a number of your own from ${FIRST_OWN_KIND} up`);
  }
  if (typeof body === "string") {
    if (!body.isWellFormed()) {
      throw new MisuseError("the text holds half a surrogate pair, which UTF-8 cannot carry");
    }
    return encoder.encode(body);
  }
  if (!(body instanceof Uint8Array)) {
    throw new MisuseError("a body is a text or a Uint8Array");
  }
  if (kind === Kind.TEXT) {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(body);
    } catch {
      throw new MisuseError(`a TEXT is UTF-8: other bytes have a kind of their own, from ${FIRST_OWN_KIND} up`);
    }
  }
  return body.slice(); // whoever gave it may go on using it
}

/** The bytes of a signal of this kind. Throws `MisuseError`, `MessageTooLargeError`. */
export function signal(kind: number, body: Uint8Array): Uint8Array {
  if (!carriesSignal(kind)) {
    throw new MisuseError(`kind ${kind}: use a SignalKind, or a number of your own from ${FIRST_OWN_KIND} up`);
  }
  if (!(body instanceof Uint8Array)) {
    throw new MisuseError("the body of a signal is a Uint8Array");
  }
  if (body.length > MAX_SIGNAL_BYTES) {
    throw new MessageTooLargeError(`a body of ${body.length} bytes: a signal has room for ${MAX_SIGNAL_BYTES}`);
  }
  return body.slice();
}

/** Throws `MessageTooLargeError` for a body that the server does not take. `about`: bytes of other fields. */
export function fits(body: Uint8Array, dest: string, maxMessage: number, about = 0): void {
  const room = maxMessage - dest.length - FIELD_BYTES - about;
  if (body.length > room) {
    throw new MessageTooLargeError(`a body of ${body.length} bytes: the server takes ${room}`);
  }
}

/** Throws `InvalidIdError` or `MisuseError` for what names no message. */
export function named(device: string, stream: bigint, ids: readonly number[]): void {
  if (!isDeviceId(device)) {
    throw new InvalidIdError("device: use the one that the message names");
  }
  if (typeof stream !== "bigint" || stream < 1n || stream >= 1n << 64n) {
    throw new MisuseError("stream: use the one that the message names");
  }
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 1 || id > MAX_ID) {
      throw new MisuseError(`id ${id}: ids of messages go from 1 to 2^53 - 1`);
    }
  }
}
