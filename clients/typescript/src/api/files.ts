/**
 * Files: uploads that go on after a broken connection (tus 1.0), and downloads that do (ranges), checked by digest.
 *
 * Owns the transfers. A file goes in pieces; of an upload no more than one is in memory at a time.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { ChecksumError, FileTooLargeError, MisuseError, NotFoundError, UnavailableError } from "../errors.ts";
import type { FileReference } from "../protocol/files.ts";
import { checkDestId } from "../protocol/ids.ts";
import { conversationInPath } from "./answers.ts";
import { flag, object, type Of, text, whole } from "./shape.ts";
import { type SignedApi, sleep } from "./signed.ts";
import type { Answer } from "./web.ts";

/** What is sent, or asked for, at a time. */
const PIECE_BYTES = 1024 * 1024;
/** For one piece: 9 KiB a second is enough. */
const PIECE_TIMEOUT_MS = 120_000;
/** So many in a row that bring nothing further, and a transfer is given up. */
const TRIES = 10;
const FIRST_WAIT_MS = 200;
const LAST_WAIT_MS = 10_000;
const ANY_TYPE = "application/octet-stream";
const TUS = { "Tus-Resumable": "1.0.0" };

const file = object({
  file: text,
  owner: text,
  name: text,
  media_type: text,
  size: whole,
  complete: flag,
  sha256: text,
  expires_ms: whole,
});

/** A file at the user API. `name` and `media_type` are its owner's words. */
export type File = Of<typeof file>;

/** How a transfer is done. */
export interface TransferOptions {
  /** Told of the bytes that are done, and those of the whole file. */
  readonly progress?: (done: number, total: number) => void;
  /** Ends it: it throws `ClosedError`. */
  readonly signal?: AbortSignal;
}

export interface UploadOptions extends TransferOptions {
  /** What readers are to call it, up to 255 characters on one line. */
  readonly name: string;
  /** Such as `image/jpeg`; without one, the blob's. */
  readonly mediaType?: string;
  /** Users and groups that may download it beside us. */
  readonly readers?: readonly string[];
}

/** What a FILE message tells of a file. */
export function referenceTo({ file: id, name, media_type, size, sha256: digest }: File): FileReference {
  return { file: id, name, media_type, size, sha256: digest };
}

/** Files, as one user sees them. Beside their own errors, all throw those of every request. */
export class Files {
  readonly #api: SignedApi;

  constructor(api: SignedApi) {
    this.#api = api;
  }

  /**
   * Upload a file. It goes on by itself after a broken connection. In Node, `fs.openAsBlob` makes a blob of a path.
   * Throws `FileTooLargeError`, `ChecksumError` if it was changed meanwhile, `InvalidIdError`, `MisuseError`.
   */
  async upload(blob: Blob, options: UploadOptions): Promise<File> {
    const digest = await digestOf(blob, options.signal);
    const told = {
      filename: options.name,
      filetype: options.mediaType ?? (blob.type || ANY_TYPE),
      sha256: digest,
      readers: (options.readers ?? []).map(checkDestId).join(","),
    };
    const headers = { ...TUS, "Upload-Length": String(blob.size), "Upload-Metadata": metadata(told) };
    const begun = await this.#api.send("/v1/files", { method: "POST", headers });
    // In a browser, the header can be read only where the user API is of the page's own origin.
    const id = /\/v1\/files\/([0-9a-f]{32})$/.exec(begun.headers.get("Location") ?? "")?.[1];
    if (id === undefined) {
      throw new UnavailableError("the user API does not say where the upload is to go");
    }
    try {
      return await this.#insist(pathOf(id), blob, options);
    } catch (error) {
      // What has arrived is of no use to anybody.
      this.#api.send(pathOf(id), { method: "DELETE", headers: TUS, accept: [404] }).catch(() => undefined);
      throw error;
    }
  }

  /** Send what is missing, until all is there. */
  async #insist(path: string, blob: Blob, options: UploadOptions): Promise<File> {
    const patience = new Patience();
    let offset = 0;
    let broken = false;
    for (;;) {
      const before = offset;
      try {
        if (broken) {
          offset = await this.#offset(path);
          broken = false;
        }
        options.progress?.(offset, blob.size);
        while (offset < blob.size) {
          offset = await this.#send(path, blob, offset, options.signal);
          options.progress?.(offset, blob.size);
        }
        const found = this.#api.read(file, await this.#api.object(path));
        if (found.complete) {
          return found;
        }
        throw new UnavailableError("the upload is not complete yet");
      } catch (error) {
        broken = true;
        await patience.wait(error, offset > before);
      }
    }
  }

  /** How far an upload has come. */
  async #offset(path: string): Promise<number> {
    const answer = await this.#api.send(path, { method: "HEAD", headers: TUS, accept: [404] });
    if (answer.status === 404) {
      throw new NotFoundError("the upload is no more: begin it anew");
    }
    return offsetIn(answer);
  }

  async #send(path: string, blob: Blob, offset: number, signal: AbortSignal | undefined): Promise<number> {
    const headers = { ...TUS, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
    const body = blob.slice(offset, offset + PIECE_BYTES, "application/offset+octet-stream");
    const asked = { method: "PATCH", headers, body, timeoutMs: PIECE_TIMEOUT_MS };
    return offsetIn(await this.#api.send(path, { ...asked, ...(signal && { signal }) }));
  }

  /**
   * Download the file that a FILE message is about. It goes on by itself after a broken connection. Show nothing of it
   * that runs: its media type is its sender's word. Throws `NotFoundError` if it is no more, or we may not read it,
   * `ChecksumError` if it is not what its sender has described, and `FileTooLargeError` if it is larger than `most`.
   */
  async download(reference: FileReference, options: TransferOptions & { readonly most?: number } = {}): Promise<Blob> {
    const { size } = reference;
    if (size > (options.most ?? Number.POSITIVE_INFINITY)) {
      throw new FileTooLargeError(`the file has ${size} bytes`);
    }
    const patience = new Patience();
    const digest = sha256.create();
    const pieces: Blob[] = [];
    let done = 0;
    options.progress?.(0, size);
    while (done < size) {
      const before = done;
      try {
        const piece = await this.#fetch(reference, done, options.signal);
        digest.update(piece);
        pieces.push(new Blob([piece as Uint8Array<ArrayBuffer>]));
        done += piece.length;
        options.progress?.(done, size);
      } catch (error) {
        await patience.wait(error, done > before);
      }
    }
    if (hex(digest.digest()) !== reference.sha256) {
      throw new ChecksumError("the file is not what its sender has described: it is not kept");
    }
    return new Blob(pieces, { type: reference.media_type });
  }

  async #fetch(reference: FileReference, from: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const last = Math.min(from + PIECE_BYTES, reference.size) - 1;
    const headers = { Range: `bytes=${from}-${last}`, "If-Range": `"${reference.sha256}"` };
    const asked = { headers, accept: [416], timeoutMs: PIECE_TIMEOUT_MS, ...(signal && { signal }) };
    const answer = await this.#api.send(`${pathOf(reference.file)}/content`, asked);
    if (answer.status !== 206 || answer.bytes.length !== last - from + 1) {
      throw new ChecksumError("the file is not what its sender has described: it is not kept");
    }
    return answer.bytes;
  }

  /** What a file is. Throws `NotFoundError`. */
  async info(id: string): Promise<File> {
    return this.#api.read(file, await this.#api.object(pathOf(id)));
  }

  /** Let a user, or a group, read a file of ours. Throws `NotFoundError`, `MisuseError`. */
  async allow(id: string, user: string): Promise<void> {
    await this.#api.send(`${pathOf(id)}/readers/${conversationInPath(user)}`, { method: "PUT" });
  }

  /** Remove a file of ours. Throws `NotFoundError`. */
  async remove(id: string): Promise<void> {
    await this.#api.send(pathOf(id), { method: "DELETE" });
  }
}

/** Waits between tries that bring nothing further, longer each time. */
class Patience {
  #failures = 0;

  /** After a failed try. Throws its `error` if there were too many, or if trying again is of no use. */
  async wait(error: unknown, cameFurther: boolean): Promise<void> {
    this.#failures = cameFurther ? 0 : this.#failures + 1;
    if (!(error instanceof UnavailableError) || this.#failures >= TRIES) {
      throw error;
    }
    await sleep(Math.random() * Math.min(FIRST_WAIT_MS * 2 ** this.#failures, LAST_WAIT_MS));
  }
}

async function digestOf(blob: Blob, signal: AbortSignal | undefined): Promise<string> {
  const digest = sha256.create();
  for (let offset = 0; offset < blob.size; offset += PIECE_BYTES) {
    signal?.throwIfAborted();
    try {
      digest.update(new Uint8Array(await blob.slice(offset, offset + PIECE_BYTES).arrayBuffer()));
    } catch (error) {
      throw new ChecksumError("the file was changed while it was read", { cause: error });
    }
  }
  return hex(digest.digest());
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function offsetIn(answer: Answer): number {
  const offset = answer.headers.get("Upload-Offset") ?? "";
  if (!/^[0-9]{1,16}$/.test(offset)) {
    throw new UnavailableError("the user API does not say how far the upload has come");
  }
  return Number(offset);
}

/** tus's Upload-Metadata. Throws `MisuseError` for what is no text. */
function metadata(values: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== "");
  return pairs
    .map(([key, value]) => {
      if (!value.isWellFormed()) {
        throw new MisuseError("the file's name is no text: give another");
      }
      return `${key} ${btoa(String.fromCharCode(...new TextEncoder().encode(value)))}`;
    })
    .join(",");
}

function pathOf(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) {
    throw new NotFoundError("there is no such file");
  }
  return `/v1/files/${id}`;
}
