/**
 * Answers as typed values.
 *
 * Owns how an answer of another form becomes an error. Sends nothing.
 */

import { InvalidIdError } from "../errors.ts";
import { checkDestId, checkUserId } from "../protocol/ids.ts";
import type { Reader } from "./shape.ts";
import type { Web } from "./web.ts";

/** Reads answers of one user API. */
export class TypedAnswer {
  protected readonly web: Web;

  constructor(web: Web) {
    this.web = web;
  }

  /** `value` in this form. Throws `ApiError`. */
  read<T>(reader: Reader<T>, value: unknown): T {
    try {
      return reader(value);
    } catch {
      throw this.web.strange();
    }
  }
}

/** A user id as a part of a path. Throws `InvalidIdError`. */
export function userInPath(user: string): string {
  return notDots(checkUserId(user));
}

/** The same of a user, or of a group. */
export function conversationInPath(other: string): string {
  return notDots(checkDestId(other));
}

/** Such ids may be there since 0.1. In a path they would be steps, also escaped: `fetch` cannot name them. */
function notDots(id: string): string {
  if (id === "." || id === "..") {
    throw new InvalidIdError(`user id "${id}": it cannot stand in a URL`);
  }
  return id;
}
