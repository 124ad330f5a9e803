/**
 * What a client logs in with: token, device, and where to. Kept in the journal.
 *
 * Owns getting a token and getting a new one, one at a time, for the chat connection and for requests to the user API
 * alike. Opens no connection to a connector.
 */

import {
  AlreadyExistsError,
  ConfigError,
  DeviceRemovedError,
  type SparrowError,
  TokenRejectedError,
  UnavailableError,
  WrongPasswordError,
} from "../errors.ts";
import type { Login, Logins } from "./logins.ts";
import { type KeepingKeys, type Prover, proverOf } from "./proof.ts";

const TOKEN = "token";
const REFRESH = "refresh";
const NONCE = "refresh_nonce";
const CONNECTORS = "connectors";
const KEY = "login_key";

/** Where credentials are kept. */
export interface Keeping {
  readonly user: string;
  readonly device: string;
  value(key: string): string | undefined;
  putValue(key: string, value: string | undefined): void;
  isDevice(user: string, device: string): void;
  /** Of what logins are bound to. */
  readonly keyPair?: KeepingKeys;
  /** Returns when what was put is kept. */
  keep(): Promise<void>;
}

export interface CredentialOptions {
  readonly password?: string | undefined;
  /** Forget the password once it was used. */
  readonly isPasswordForOnce?: boolean | undefined;
  /** Of an OpenID provider, in place of a password; used once. */
  readonly ticket?: string | undefined;
  /** Make the account, with this password, if there is none. */
  readonly register?: boolean | undefined;
  /** The code of an invitation, where the service asks for one. */
  readonly invitation?: string | undefined;
  /** The id of a device that the user has. */
  readonly device?: string | undefined;
  /** Whose place a new device takes where there are too many. */
  readonly replaces?: string | undefined;
  readonly label?: string | undefined;
  /** Where to connect, in place of what the user API tells. */
  readonly connectors?: readonly string[] | undefined;
}

/** Of one device. */
export class Credentials {
  readonly user: string;
  /** Empty until it is known. */
  device: string;
  readonly #options: CredentialOptions;
  readonly #logins: Logins;
  readonly #keeping: Keeping;
  #password: string | undefined;
  #ticket: string | undefined;
  #token: string;
  #refresh: string;
  /** The token of an earlier run. */
  #earlier: string;
  /** A refresh token that was good once. */
  #proof = "";
  #connectors: readonly string[];
  #prover: Promise<Prover | undefined> | undefined;
  /** A refresh token is good once: nobody else may have it in hand. */
  #renewing: Promise<unknown> = Promise.resolve();
  /** A connector has refused the last token that it was shown. */
  #refused = false;
  /** A login with the password was asked for, and may have counted without our having its token. */
  #unanswered = false;

  /** Throws `ConfigError` if this can never log in. */
  constructor(user: string, options: CredentialOptions, logins: Logins, keeping: Keeping) {
    this.user = user;
    this.#options = options;
    this.#logins = logins;
    this.#keeping = keeping;
    if (keeping.user !== "" && keeping.user !== user) {
      throw new ConfigError(`the state is ${keeping.user}'s, not ${user}'s: name another one`);
    }
    const asked = options.device ?? "";
    if (asked !== "" && keeping.device !== "" && asked !== keeping.device) {
      throw new ConfigError(`the state is device ${keeping.device}'s, not ${asked}'s: name another one`);
    }
    this.device = asked || keeping.device;
    this.#password = options.password;
    this.#ticket = options.ticket;
    this.#token = this.#earlier = keeping.value(TOKEN) ?? "";
    this.#refresh = keeping.value(REFRESH) ?? "";
    this.#connectors = this.#fixed ?? addressesOf(keeping.value(CONNECTORS));
    if (!this.canRenew) {
      throw new ConfigError("give a password, or a ticket: no login is kept from an earlier time");
    }
  }

  get #fixed(): readonly string[] | undefined {
    const { connectors = [] } = this.#options;
    return connectors.length > 0 ? connectors : undefined;
  }

  /** Whether there is a refresh token, or something to log in with. */
  get canRenew(): boolean {
    return this.#refresh !== "" || this.#canLogIn;
  }

  /** Whether there is a password, or a ticket. */
  get #canLogIn(): boolean {
    return this.#password !== undefined || this.#ticket !== undefined;
  }

  /** A token and the connectors' addresses. Throws what `Logins.login` and `refresh` throw. */
  async get(): Promise<{ readonly token: string; readonly connectors: readonly string[] }> {
    await this.#alone(async () => {
      if (this.#token === "" || this.#connectors.length === 0) {
        await this.#renew();
      }
    });
    return { token: this.#token, connectors: this.#connectors };
  }

  /** Get a token over HTTP. Throws what `Logins.login` and `refresh` throw. */
  renew(): Promise<void> {
    return this.#alone(() => this.#renew());
  }

  /**
   * The token to use after the user API has refused this one, as `expired` or as one of a login that has ended. The
   * same one, if there can be no other. Throws what `renew` throws.
   */
  async insteadOf(token: string, expired: boolean): Promise<string> {
    await this.#alone(async () => {
      // It may have been renewed, or replaced by a new login, while the request was on its way.
      if (expired && token === this.#token && this.canRenew) {
        await this.#renew();
      }
    });
    return this.#token || token;
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#renewing.then(work, work);
    this.#renewing = done.catch(() => undefined);
    return done;
  }

  async #renew(): Promise<void> {
    const login = (await this.#refreshed()) ?? (await this.#anew());
    if (login.user !== this.user) {
      throw new ConfigError(`the user API calls ${this.user} ${login.user}: use that name`);
    }
    this.#token = login.token;
    this.#refresh = login.refreshToken;
    this.#connectors = this.#fixed ?? login.connectors;
    this.#unanswered = false;
    this.#ticket = undefined;
    if (this.#options.isPasswordForOnce === true) {
      this.#password = undefined;
    }
    this.keepDevice(login.device);
    this.#keeping.putValue(TOKEN, login.token);
    this.#keeping.putValue(REFRESH, login.refreshToken);
    this.#keeping.putValue(NONCE, undefined);
    this.#keeping.putValue(CONNECTORS, JSON.stringify(login.connectors));
    await this.#keeping.keep();
  }

  /** With the refresh token; undefined without a good one, if there is something to log in with. */
  async #refreshed(): Promise<Login | undefined> {
    if (this.#refresh === "") {
      return undefined;
    }
    // Kept before it is sent: who repeats it after a restart is known by it, an earlier copy of the state is not.
    const nonce = this.#keeping.value(NONCE) ?? randomText();
    this.#keeping.putValue(NONCE, nonce);
    await this.#keeping.keep();
    try {
      return await this.#logins.refresh(this.#refresh, nonce, await this.#proving());
    } catch (error) {
      if (!(error instanceof TokenRejectedError)) {
        throw error;
      }
      this.#proof = this.#refresh;
      this.#refresh = "";
      if (!this.#canLogIn) {
        throw error;
      }
      return undefined;
    }
  }

  async #anew(): Promise<Login> {
    const [ticket, password] = [this.#ticket, this.#password];
    if (!this.#canLogIn) {
      throw new TokenRejectedError("this device was logged out: log in again");
    }
    this.#unanswered = true;
    try {
      return await (ticket !== undefined ? this.#enter(ticket) : this.#logIn(password ?? ""));
    } catch (error) {
      if (!(error instanceof UnavailableError)) {
        this.#unanswered = false; // otherwise it may have counted
      }
      if (error instanceof DeviceRemovedError) {
        throw deviceRemoved(this.device);
      }
      throw error;
    }
  }

  async #enter(ticket: string): Promise<Login> {
    const prover = await this.#proving();
    const { label = "", replaces = "" } = this.#options;
    return this.#logins.enter(this.user, ticket, { device: this.device, label, replaces, prover });
  }

  async #logIn(password: string): Promise<Login> {
    const prover = await this.#proving();
    const { label = "", replaces = "" } = this.#options;
    const extras = { device: this.device, label, replaces, proof: this.#proof, prover };
    const key = await this.#loginKey();
    try {
      return await this.#logins.login(this.user, password, { ...extras, key });
    } catch (error) {
      if (!(error instanceof WrongPasswordError) || this.#options.register !== true || this.device !== "") {
        throw error;
      }
      try {
        await this.#logins.register(this.user, password, this.#options.invitation);
      } catch (refusal) {
        throw refusal instanceof AlreadyExistsError ? error : refusal;
      }
      return this.#logins.login(this.user, password, { ...extras, key });
    }
  }

  /** With the key that logins are bound to, made before the first one. */
  #proving(): Promise<Prover | undefined> {
    this.#prover ??= proverOf(this.#keeping.keyPair);
    return this.#prover;
  }

  /** What names this device's first login, so that who repeats it gets the same device. */
  async #loginKey(): Promise<string> {
    if (this.device !== "") {
      return "";
    }
    const key = this.#keeping.value(KEY) ?? randomText();
    this.#keeping.putValue(KEY, key);
    await this.#keeping.keep();
    return key;
  }

  /** The device is this one. */
  keepDevice(device: string): void {
    this.device = device;
    this.#keeping.isDevice(this.user, device);
  }

  /** A connector does not take this token. Throws `TokenRejectedError` if there is no other to be had. */
  rejected(token: string, text: string): void {
    if (this.#refused || !this.canRenew) {
      const cure = this.#refused ? "connector and user API do not belong together" : "log in with the password";
      throw new TokenRejectedError(`the server does not take the login token (${text}): ${cure}`);
    }
    this.#refused = true;
    if (token === this.#token) {
      this.#token = "";
    }
  }

  /** Return when no renewal is under way. */
  async atRest(): Promise<void> {
    await this.#renewing;
  }

  /** The login of this token has ended. Whether by a login of our own: then there is another token to be had. */
  loggedOut(token: string): boolean {
    if (this.#token !== "" && this.#token !== token) {
      return true;
    }
    // The answer to our login got lost, but it has ended the one before.
    if (this.#unanswered && this.#canLogIn) {
      this.#token = "";
      return true;
    }
    // It ended before this run, which was given something to log in with.
    if (token === this.#earlier && this.#canLogIn) {
      this.#token = this.#earlier = this.#refresh = "";
      return true;
    }
    return false;
  }

  /** A connector has taken the token; when one is refused later, it has expired. */
  accepted(): void {
    this.#refused = false;
  }

  /** The account has another password. */
  passwordChanged(password: string): void {
    if (this.#password !== undefined) {
      this.#password = password;
    }
  }

  /** The login has ended: only the password helps. Returns when that is kept. */
  async forget(): Promise<void> {
    this.#token = this.#refresh = "";
    this.#keeping.putValue(TOKEN, undefined);
    this.#keeping.putValue(REFRESH, undefined);
    await this.#keeping.keep();
  }
}

/** What to say when a device is no more. */
export function deviceRemoved(device: string): SparrowError {
  return new DeviceRemovedError(
    `device ${device || "of this token"} has been removed: begin with new state, which makes a new device`,
  );
}

function addressesOf(kept: string | undefined): readonly string[] {
  try {
    const value: unknown = JSON.parse(kept ?? "[]");
    return Array.isArray(value) ? value.map(String) : [];
  } catch {
    return [];
  }
}

function randomText(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
