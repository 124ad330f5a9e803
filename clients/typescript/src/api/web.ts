/**
 * HTTP to the user API: requests, and what becomes of an answer that is none.
 *
 * Owns the mapping of failures to our errors. Knows no path.
 */

import * as errors from "../errors.ts";

/** For each request. A login takes seconds when it adds a further device. */
const TIMEOUT_MS = 30_000;

const BY_CODE: Readonly<Record<string, new (text: string) => errors.SparrowError>> = {
  wrong_credentials: errors.WrongPasswordError,
  wrong_password: errors.WrongPasswordError,
  invitation_needed: errors.InvitationNeededError,
  wrong_code: errors.WrongCodeError,
  user_taken: errors.AlreadyExistsError,
  oidc_expired: errors.OidcError,
  oidc_refused: errors.OidcError,
  oidc_not_allowed: errors.OidcError,
  oidc_name_unusable: errors.OidcError,
  account_disabled: errors.AccountDisabledError,
  device_removed: errors.DeviceRemovedError,
  history_not_kept: errors.HistoryNotKeptError,
  search_not_offered: errors.SearchNotOfferedError,
  not_found: errors.NotFoundError,
  no_such_conversation: errors.NotFoundError,
  no_such_message: errors.NotFoundError,
  no_such_device: errors.NotFoundError,
  no_such_file: errors.NotFoundError,
  no_such_request: errors.NotFoundError,
  no_such_user: errors.NotFoundError,
  not_member: errors.NotFoundError,
  no_such_member: errors.NotFoundError,
  no_such_invitation: errors.NotFoundError,
  no_such_link: errors.NotFoundError,
  not_allowed_here: errors.NotAllowedHereError,
  not_friend: errors.NotAllowedHereError,
  too_many_groups: errors.NotAllowedHereError,
  too_many_links: errors.NotAllowedHereError,
  invalid_user_id: errors.InvalidIdError,
  no_token: errors.TokenRejectedError,
  invalid_token: errors.TokenRejectedError,
  logged_out: errors.TokenRejectedError,
  invalid_refresh_token: errors.TokenRejectedError,
  refresh_token_reused: errors.TokenRejectedError,
  invalid_dpop_proof: errors.TokenRejectedError,
  wrong_checksum: errors.ChecksumError,
  file_too_large: errors.FileTooLargeError,
  // What has arrived of an upload may still be on its way to the store: ask again where it stands.
  wrong_offset: errors.UnavailableError,
  use_dpop_nonce: errors.UnavailableError,
  unavailable: errors.UnavailableError,
  no_space: errors.UnavailableError,
  history_full: errors.UnavailableError,
  too_many_file_bytes: errors.UnavailableError,
};
/** The same request may succeed later. */
const LATER = new Set([429, 500, 502, 503, 504, 507]);

/** One request. */
export interface Asked {
  readonly method?: string;
  readonly token?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly body?: Blob;
  /** How long it may take, in milliseconds, in place of 30 seconds. */
  readonly timeoutMs?: number;
  /** Ends it: it throws `ClosedError`. */
  readonly signal?: AbortSignal;
}

/** An answer, whatever it is. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
  /** Its JSON object; undefined if it is none. */
  readonly object: Readonly<Record<string, unknown>> | undefined;
}

/** Requests to one base URL. */
export class Web {
  readonly url: string;
  readonly #fetch: typeof fetch;
  readonly #closing = new AbortController();

  /** `fetcher`: the platform's, if nothing else is given. Throws `ConfigError` for what is no URL of a server. */
  constructor(url: string, fetcher: typeof fetch = (...asked) => globalThis.fetch(...asked)) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    if (parsed === undefined || !["http:", "https:"].includes(parsed.protocol) || parsed.search || parsed.hash) {
      throw new errors.ConfigError(`api ${JSON.stringify(url)}: give a URL such as http://127.0.0.1:7480`);
    }
    this.url = parsed.href.replace(/\/+$/, "");
    this.#fetch = fetcher;
  }

  /** Nothing is asked any more: requests throw `ClosedError`. */
  close(): void {
    this.#closing.abort();
  }

  /** One request and its answer. Throws `UnreachableError`, `UntrustedError`, `ClosedError`. */
  async request(path: string, asked: Asked = {}): Promise<Answer> {
    try {
      const response = await this.#send(path, asked);
      const bytes = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, headers: response.headers, bytes, object: objectOf(response, bytes) };
    } catch (error) {
      throw this.#failure(error, asked.signal);
    }
  }

  #send(path: string, asked: Asked): Promise<Response> {
    const query = asked.query === undefined ? "" : `?${new URLSearchParams(asked.query)}`;
    const headers: Record<string, string> = { ...asked.headers };
    if (asked.token !== undefined) {
      headers["Authorization"] = `Bearer ${asked.token}`;
    }
    if (asked.json !== undefined) {
      headers["Content-Type"] = "application/json";
    }
    const signals = [this.#closing.signal, AbortSignal.timeout(asked.timeoutMs ?? TIMEOUT_MS)];
    if (asked.signal !== undefined) {
      signals.push(asked.signal);
    }
    return this.#fetch(this.url + path + query, {
      method: asked.method ?? "GET",
      headers,
      body: asked.json === undefined ? (asked.body ?? null) : JSON.stringify(asked.json),
      signal: AbortSignal.any(signals),
      // A token is not for wherever somebody may send us.
      redirect: "error",
      credentials: "omit",
      cache: "no-store",
    });
  }

  #failure(error: unknown, signal: AbortSignal | undefined): errors.SparrowError {
    if (this.#closing.signal.aborted || signal?.aborted === true) {
      return new errors.ClosedError("it was closed", { cause: error });
    }
    if (error instanceof DOMException && error.name === "TimeoutError") {
      return new errors.UnreachableError(`${this.url} does not answer`, { cause: error });
    }
    const cause: unknown = error instanceof Error ? error.cause : undefined;
    const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
    if (/CERT|SIGNATURE|ISSUER/.test(code)) {
      return new errors.UntrustedError(`the certificate of ${this.url} is not trusted: ${code}`, { cause: error });
    }
    return new errors.UnreachableError(`cannot reach ${this.url}${code && `: ${code}`}`, { cause: error });
  }

  /** `answer`, if it is a success or its status is one of `accept`. Otherwise throws the error that it tells. */
  check(answer: Answer, accept: readonly number[] = []): Answer {
    const { status, object } = answer;
    if ((status >= 200 && status < 300) || accept.includes(status)) {
      return answer;
    }
    const code = object?.["code"];
    const detail = object?.["detail"];
    if (typeof code === "string" && typeof detail === "string") {
      if (code === "too_many_devices") {
        throw new errors.TooManyDevicesError(detail, devicesOf(object?.["devices"]));
      }
      const kind = Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : undefined;
      if (kind !== undefined) {
        throw new kind(detail);
      }
    }
    if (LATER.has(status)) {
      const why = typeof detail === "string" ? detail : "the service cannot do this now";
      throw new errors.UnavailableError(`${this.url}: ${why}`);
    }
    if (typeof code !== "string" || typeof detail !== "string") {
      throw this.strange(status);
    }
    throw new errors.MisuseError(detail);
  }

  /** The JSON object in a success. Throws the error that anything else tells, or `ApiError`. */
  object(answer: Answer): Readonly<Record<string, unknown>> {
    const { object, status } = this.check(answer);
    if (object === undefined) {
      throw this.strange(status);
    }
    return object;
  }

  /** What to throw for an answer that is none of a user API. */
  strange(status = 200): errors.ApiError {
    return new errors.ApiError(`${this.url} does not answer like a user API (status ${status}): is the address right?`);
  }
}

/** The `code` of a problem; empty if there is none. */
export function codeOf(answer: Answer): string {
  const code = answer.object?.["code"];
  return typeof code === "string" ? code : "";
}

function objectOf(response: Response, bytes: Uint8Array): Record<string, unknown> | undefined {
  if (!(response.headers.get("Content-Type") ?? "").includes("json")) {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function devicesOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject).filter((one) => typeof one["device"] === "string") : [];
}
