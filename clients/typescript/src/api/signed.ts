/**
 * Requests of a device that is logged in.
 *
 * Owns the access token's renewal when the user API says that it has expired. Knows no path.
 */

import { TypedAnswer } from "./answers.ts";
import type { Credentials } from "./credentials.ts";
import { type Answer, type Asked, codeOf, type Web } from "./web.ts";

/** How often a request waits that was refused because there were too many in a moment. */
const TOO_FAST_WAITS = 3;
const LONGEST_WAIT_MS = 5_000;

/** A request, with statuses that are no errors beside those of success. */
export interface SignedAsked extends Omit<Asked, "token"> {
  readonly accept?: readonly number[];
}

/**
 * The user API, with the token of `credentials`. Everything throws `TokenRejectedError` when only a new login helps,
 * `UnreachableError`, `UntrustedError`, `UnavailableError`, `ApiError`, `ClosedError`, and what the refusals of the
 * request mean.
 */
export class SignedApi extends TypedAnswer {
  readonly #credentials: Credentials;

  constructor(web: Web, credentials: Credentials) {
    super(web);
    this.#credentials = credentials;
  }

  /** One request; a status other than success is an error, unless it is one of `accept`. */
  async send(path: string, asked: SignedAsked = {}): Promise<Answer> {
    const { token } = await this.#credentials.get();
    let answer = await this.#ask(path, { ...asked, token });
    if (answer.status === 401) {
      // An answer to HEAD has no body to say it in.
      const isExpired = ["invalid_token", ""].includes(codeOf(answer));
      const another = await this.#credentials.insteadOf(token, isExpired);
      if (another !== token) {
        answer = await this.#ask(path, { ...asked, token: another });
      }
    }
    return this.web.check(answer, asked.accept);
  }

  /** `answer`, if it is a success. Otherwise throws the error that it tells. */
  check(answer: Answer): Answer {
    return this.web.check(answer);
  }

  async #ask(path: string, asked: Asked): Promise<Answer> {
    for (let waits = 0; ; waits++) {
      const answer = await this.web.request(path, asked);
      if (answer.status !== 429 || waits === TOO_FAST_WAITS) {
        return answer;
      }
      await sleep(retryAfterMs(answer.headers));
    }
  }

  /** A request that is answered with one object. */
  async object(path: string, asked: SignedAsked = {}): Promise<Readonly<Record<string, unknown>>> {
    return this.web.object(await this.send(path, asked));
  }
}

function retryAfterMs(headers: Headers): number {
  const text = headers.get("Retry-After") ?? "";
  return /^[0-9]{1,8}$/.test(text) ? Math.min(Number(text) * 1000, LONGEST_WAIT_MS) : 1_000;
}

/** Return after so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}
