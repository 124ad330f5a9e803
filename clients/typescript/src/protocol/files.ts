/**
 * What the body of a FILE message holds (docs/protocol.md, "Files").
 *
 * Owns its form, on both sides. Touches no file.
 */

import { FileReferenceError } from "../errors.ts";

const MAX_BODY_BYTES = 8192;
/** Characters (code points). */
const MAX_NAME = 255;
const ID = /^[0-9a-f]{32}$/;
const MEDIA_TYPE = /^[A-Za-z0-9_.+-]{1,60}\/[A-Za-z0-9_.+-]{1,60}$/;
const SHA256 = /^[0-9a-f]{64}$/;

/** A file that was uploaded, as its sender describes it: a stranger's word. */
export interface FileReference {
  /** The file's id at the user API. */
  readonly file: string;
  /** What its sender calls it: to be shown as text, and made safe before it touches a disk. */
  readonly name: string;
  /** What its sender says that it is, such as `image/jpeg`. */
  readonly media_type: string;
  /** How long it is, in bytes. */
  readonly size: number;
  /** The SHA-256 of its bytes, hexadecimal. */
  readonly sha256: string;
}

/** The body of a FILE message: JSON in UTF-8. Throws `FileReferenceError` for a field that it cannot have. */
export function encodeFileReference(reference: FileReference): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(checked({ ...reference })));
}

/** Read a body, which may be anything. Throws `FileReferenceError`. */
export function parseFileReference(body: Uint8Array): FileReference {
  if (body.length > MAX_BODY_BYTES) {
    throw new FileReferenceError(`a FILE message's body has ${body.length} bytes, more than ${MAX_BODY_BYTES}`);
  }
  let value: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    value = JSON.parse(text);
    if (hasRepeats(text)) {
      throw new TypeError("a field is there twice");
    }
  } catch {
    throw new FileReferenceError("a FILE message's body is not JSON in UTF-8 with each field once");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FileReferenceError("a FILE message's body is no JSON object");
  }
  return checked(value as Record<string, unknown>);
}

/** What else there is is of a later version. */
function checked(value: Readonly<Record<string, unknown>>): FileReference {
  const name = value["name"];
  const size = value["size"];
  if (typeof name !== "string" || Array.from(name).length > MAX_NAME || !name.isWellFormed()) {
    throw new FileReferenceError(`a FILE message's name is no text of up to ${MAX_NAME} characters`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new FileReferenceError("a FILE message's size is no whole number from 0 to 2^53 - 1");
  }
  return {
    file: matching("file", ID, value["file"]),
    name,
    media_type: matching("media_type", MEDIA_TYPE, value["media_type"]),
    size,
    sha256: matching("sha256", SHA256, value["sha256"]),
  };
}

function matching(name: string, pattern: RegExp, value: unknown): string {
  if (typeof value !== "string" || !pattern.test(value)) {
    throw new FileReferenceError(`a FILE message's ${name} does not match ${pattern.source}`);
  }
  return value;
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/g;

/** Whether an object in this text, which is JSON, has a field twice: `JSON.parse` keeps the last and says nothing. */
function hasRepeats(text: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{" || token === "[") {
      open.push(token === "{" ? new Set() : undefined);
    } else if (token === "}" || token === "]") {
      open.pop();
    } else if (token === ":") {
      const fields = open.at(-1);
      const name = JSON.parse(last) as string;
      if (fields?.has(name) === true) {
        return true;
      }
      fields?.add(name);
    }
    last = token;
  }
  return false;
}
