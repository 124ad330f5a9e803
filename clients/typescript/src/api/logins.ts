/**
 * Registering, logging in, and new tokens: what is asked of the user API without a token.
 *
 * Owns what a login gives. Keeps nothing.
 */

import { DeviceRemovedError, NotFoundError } from "../errors.ts";
import type { Prover } from "./proof.ts";
import { list, object, text } from "./shape.ts";
import { type Answer, codeOf, Web } from "./web.ts";

const PATH = "/v1/login";
const ENTRANCE = "/v1/oidc/login";
const RENEWAL = "/v1/token";
const OF_PROOFS = new Set(["invalid_dpop_proof", "use_dpop_nonce"]);

const LOGIN = object({
  access_token: text,
  refresh_token: text,
  user: text,
  device: text,
  connectors: list(text),
});

/** What a login gives. */
export interface Login {
  readonly token: string;
  /** For the next token, once. */
  readonly refreshToken: string;
  readonly user: string;
  readonly device: string;
  /** At least one: `host:port`, or that behind `tls://`, `ws://` or `wss://`. */
  readonly connectors: readonly string[];
}

/** What a login may have beside user and password. */
export interface LoginExtras {
  /** The id of a device that the user has; without it, it is a new one. */
  readonly device?: string;
  /** What people see of a new device. */
  readonly label?: string;
  /** 16 to 200 random characters that name the login of a new device: who repeats it gets the same device. */
  readonly key?: string;
  /** Where the user has as many devices as allowed, the one whose place it takes, or "silent_longest". */
  readonly replaces?: string;
  /** A refresh token that this device had once, shown if others have guessed passwords too often. */
  readonly proof?: string;
  /** Binds the login to its key. */
  readonly prover?: Prover | undefined;
}

/** The user API, as somebody sees it who is not logged in. */
export class Logins {
  readonly #web: Web;

  constructor(web: Web) {
    this.#web = web;
  }

  /**
   * Make an account. Doing so again with the same password is no error. `invitation`: the code of one, where the service
   * asks for it. Throws `AlreadyExistsError`, `InvalidIdError`, `InvitationNeededError`, `WrongCodeError`,
   * `MisuseError`, and what every request throws.
   */
  async register(user: string, password: string, invitation = ""): Promise<void> {
    // A server of 0.1 knows no such field.
    const json = { user, password, ...(invitation !== "" && { invitation }) };
    this.#web.check(await this.#web.request("/v1/accounts", { method: "POST", json }));
  }

  /**
   * Set a new password by a code that those who run the service have made, and log all the user's devices out. Doing so
   * again with the same password is no error. Throws `WrongCodeError`, `MisuseError`, and what every request throws.
   */
  async resetPassword(user: string, code: string, fresh: string): Promise<void> {
    const json = { user, code, new_password: fresh };
    this.#web.check(await this.#web.request("/v1/password-reset", { method: "POST", json }));
  }

  /**
   * Get a token, for a known device or (without one) for a new one. Throws `WrongPasswordError`, `TooManyDevicesError`,
   * `DeviceRemovedError`, `AccountDisabledError`, and what every request throws.
   */
  async login(user: string, password: string, extras: LoginExtras = {}): Promise<Login> {
    const { device = "", label = "", key = "", replaces = "", proof = "", prover } = extras;
    const isNew = device === "";
    const json = {
      user,
      password,
      ...(isNew ? { ...(label && { label }), ...(replaces && { replaces }) } : { device }),
    };
    const headers: Record<string, string> = {
      ...(isNew && key !== "" && { "Idempotency-Key": key }),
      ...(prover !== undefined && { DPoP: await prover.prove(this.#web.url + PATH) }),
    };
    try {
      let answer = await this.#web.request(PATH, { method: "POST", json, headers });
      if (answer.status === 429 && proof !== "") {
        // Not at once: a server of 0.1 knows no such field.
        answer = await this.#web.request(PATH, { method: "POST", json: { ...json, proof }, headers });
      }
      return this.#login(answer);
    } catch (error) {
      if (error instanceof NotFoundError) {
        throw new DeviceRemovedError(error.message, { cause: error });
      }
      throw error;
    }
  }

  /**
   * The same with a ticket of an OpenID provider, which stands for password and key. `user`: whom it is for, or who
   * somebody wants to be who comes the first time. Throws `OidcError`, `AlreadyExistsError` and `InvalidIdError` for such
   * a name, and as above.
   */
  async enter(user: string, ticket: string, extras: Omit<LoginExtras, "key" | "proof"> = {}): Promise<Login> {
    const { device = "", label = "", replaces = "", prover } = extras;
    const isNew = device === "";
    const json = { ticket, user, ...(isNew ? { ...(label && { label }), ...(replaces && { replaces }) } : { device }) };
    const headers: Record<string, string> =
      prover === undefined ? {} : { DPoP: await prover.prove(this.#web.url + ENTRANCE) };
    try {
      return this.#login(await this.#web.request(ENTRANCE, { method: "POST", json, headers }));
    } catch (error) {
      throw error instanceof NotFoundError ? new DeviceRemovedError(error.message, { cause: error }) : error;
    }
  }

  /**
   * Get a new token without the password; the refresh token is replaced by the one that comes with it.
   *
   * `nonce`: 16 to 200 random characters, drawn, and kept, before this token is presented the first time. Who presents
   * it once more with the same, for want of an answer, is known by it. `prover`: of the key that the login is bound to,
   * or is from now on. Throws `TokenRejectedError` where only the password helps, `AccountDisabledError`, and what every
   * request throws.
   */
  async refresh(refreshToken: string, nonce: string, prover?: Prover): Promise<Login> {
    const json = { refresh_token: refreshToken };
    let answer = await this.#renewed({ ...json, nonce }, refreshToken, prover);
    if (answer.status === 400 && !OF_PROOFS.has(codeOf(answer))) {
      // What a user API of 0.1 says to a field more.
      answer = await this.#web.request(RENEWAL, { method: "POST", json });
    }
    return this.#login(answer);
  }

  async #renewed(json: object, refreshToken: string, prover: Prover | undefined): Promise<Answer> {
    if (prover === undefined) {
      return this.#web.request(RENEWAL, { method: "POST", json });
    }
    const prove = async (nonce: string): Promise<Answer> => {
      const headers = { DPoP: await prover.prove(this.#web.url + RENEWAL, refreshToken, nonce) };
      return this.#web.request(RENEWAL, { method: "POST", json, headers });
    };
    const answer = await prove("");
    // What is to be signed comes from the service, so that no clock of ours matters.
    return codeOf(answer) === "use_dpop_nonce" ? prove(answer.headers.get("DPoP-Nonce") ?? "") : answer;
  }

  #login(answer: Answer): Login {
    const found = this.#web.object(answer);
    let read;
    try {
      read = LOGIN(found);
    } catch {
      throw this.#web.strange(answer.status);
    }
    if (read.connectors.length === 0) {
      throw this.#web.strange(answer.status);
    }
    const { access_token: token, refresh_token: refreshToken, user, device, connectors } = read;
    return { token, refreshToken, user, device, connectors };
  }
}

/** Asks something of a user API, once. Throws what `ask` throws. */
export async function withLogins(api: string, ask: (logins: Logins) => Promise<void>): Promise<void> {
  const web = new Web(api);
  try {
    await ask(new Logins(web));
  } finally {
    web.close();
  }
}
