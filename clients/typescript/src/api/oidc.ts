/**
 * Logging in with an OpenID provider: what is asked of the user API before there is a ticket, and what comes back.
 *
 * Owns the verifier of PKCE (RFC 7636), and what an answer of the provider looks like in an address. Goes nowhere, and
 * keeps nothing: that is the program's.
 */

import { ConfigError, OidcError } from "../errors.ts";
import { flag, nullable, object, text } from "./shape.ts";
import { Web } from "./web.ts";

const WAYS = object({ passwords: flag, registration: text, oidc_name: nullable(text) });
const STARTED = object({ authorization_url: text, state: text });
const VOUCHED = object({ ticket: text, user: nullable(text), is_new: flag, proposed: text });
/** Of a user API of before 0.2, which has no other way. */
const OLD = { passwords: true, registration: "open", oidcName: "" };

/** How people log in at a service. */
export interface LoginWays {
  /** With name and password. */
  readonly passwords: boolean;
  /** Who makes accounts with a password: "open", "invitation", "admin", or "elsewhere". */
  readonly registration: string;
  /** What people call the OpenID provider; empty: there is none. */
  readonly oidcName: string;
}

/** A login that was begun: to be kept until somebody comes back, where nobody else sees it. */
export interface OidcBegun {
  /** Where to go, in a browser. */
  readonly url: string;
  readonly state: string;
  readonly verifier: string;
}

/** What the provider has sent back. */
export interface OidcAnswer {
  readonly state: string;
  /** Empty: it says no, and `error` says why. */
  readonly code: string;
  readonly error: string;
  /** Who the answer says that it is from; empty: it does not say. */
  readonly issuer: string;
}

/** That the provider vouches for somebody. `ClientOptions.ticket` takes the ticket, within five minutes, once. */
export interface OidcTicket {
  readonly ticket: string;
  /** Whose account it is, or will be; empty: they come the first time, and choose a name. */
  readonly user: string;
  readonly isNew: boolean;
  /** A name for who chooses one; empty: none. */
  readonly proposed: string;
}

/** How people log in there. Throws what every request throws. */
export function waysToLogIn(api: string): Promise<LoginWays> {
  return withWeb(api, async (web) => {
    const answer = await web.request("/v1/login");
    if (answer.status === 404 || answer.status === 405) {
      return OLD;
    }
    const found = read(web, WAYS, web.object(answer));
    return { passwords: found.passwords, registration: found.registration, oidcName: found.oidc_name ?? "" };
  });
}

/**
 * Begin a login with the OpenID provider: go to `url`, and keep the rest until somebody comes back to `redirect`, which
 * the service has to know. Throws `MisuseError` where it does not, and what every request throws.
 */
export function beginOidc(api: string, redirect: string): Promise<OidcBegun> {
  return withWeb(api, async (web) => {
    const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
    const json = { redirect_uri: redirect, code_challenge: base64url(new Uint8Array(digest)) };
    const found = read(web, STARTED, web.object(await web.request("/v1/oidc/start", { method: "POST", json })));
    const url = URL.canParse(found.authorization_url) ? new URL(found.authorization_url) : undefined;
    // Nobody is sent to what would run here.
    if (url?.protocol !== "https:" && url?.protocol !== "http:") {
      throw web.strange();
    }
    return { url: url.href, state: found.state, verifier };
  });
}

/** Reads the part of an address behind `?` or `#`; undefined: it is no provider's answer. */
export function parseOidcAnswer(part: string): OidcAnswer | undefined {
  const told = new URLSearchParams(part.replace(/^[?#]/, ""));
  const [state, code, error] = [told.get("state") ?? "", told.get("code") ?? "", told.get("error") ?? ""];
  return state === "" || (code === "" && error === "")
    ? undefined
    : { state, code, error: code === "" ? error : "", issuer: told.get("iss") ?? "" };
}

/**
 * Show the service what has come back, and get a ticket. Throws `OidcError` where nobody is vouched for, or they may not
 * come, `AccountDisabledError`, and what every request throws.
 */
export function redeemOidc(api: string, begun: OidcBegun, answer: OidcAnswer): Promise<OidcTicket> {
  return withWeb(api, async (web) => {
    if (answer.state !== begun.state) {
      throw new OidcError("this login was not begun here: begin it again");
    }
    if (answer.code === "") {
      throw new OidcError(`the provider says no: ${answer.error.slice(0, 80)}`);
    }
    const json = {
      state: answer.state,
      code: answer.code,
      code_verifier: begun.verifier,
      ...(answer.issuer !== "" && { iss: answer.issuer }),
    };
    const found = read(web, VOUCHED, web.object(await web.request("/v1/oidc/ticket", { method: "POST", json })));
    return { ticket: found.ticket, user: found.user ?? "", isNew: found.is_new, proposed: found.proposed };
  });
}

function read<T>(web: Web, reader: (value: unknown) => T, value: unknown): T {
  try {
    return reader(value);
  } catch {
    throw web.strange();
  }
}

async function withWeb<T>(api: string, ask: (web: Web) => Promise<T>): Promise<T> {
  if (typeof crypto.subtle === "undefined") {
    throw new ConfigError("this page came over plain HTTP, where browsers have no cryptography");
  }
  const web = new Web(api);
  try {
    return await ask(web);
  } finally {
    web.close();
  }
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
}
