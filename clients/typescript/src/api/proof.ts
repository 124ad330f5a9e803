/**
 * Proofs that this client has the key that its login is bound to (RFC 9449), so that a refresh token that somebody has
 * copied is worth nothing.
 *
 * Owns their form. The key is made to stay where it is: scripts of the page can use it while they run, and take it
 * nowhere.
 */

import { StateError } from "../errors.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Where a key pair is kept: what it was, or what `make` makes now; undefined where none can be kept. */
export type KeepingKeys = (make: () => Promise<CryptoKeyPair>) => Promise<CryptoKeyPair | undefined>;

/** A key pair whose private half cannot be read out. */
export async function newKeyPair(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
}

/**
 * What proves with the key that is kept, or is made and kept now; undefined where no key can be kept, or the page is of
 * no secure origin: then logins are bound to none. Throws `StateError` if the state is another's now.
 */
export async function proverOf(keeping: KeepingKeys | undefined): Promise<Prover | undefined> {
  // Missing where the page is not of a secure origin.
  const { subtle } = globalThis.crypto as Partial<Crypto>;
  if (keeping === undefined || subtle === undefined) {
    return undefined;
  }
  try {
    const pair = await keeping(newKeyPair);
    return pair === undefined ? undefined : new Prover(pair);
  } catch (error) {
    if (error instanceof StateError) {
      throw error;
    }
    return undefined; // a browser that makes no such keys
  }
}

/** Of one key. */
export class Prover {
  readonly #pair: CryptoKeyPair;

  constructor(pair: CryptoKeyPair) {
    this.#pair = pair;
  }

  /** A proof for one POST there. `token`: for the renewal of this refresh token, over the nonce that was given. */
  async prove(url: string, token?: string, nonce = ""): Promise<string> {
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", this.#pair.publicKey);
    const header = { typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } };
    const claims = {
      htm: "POST",
      htu: url,
      jti: encoded(crypto.getRandomValues(new Uint8Array(16))),
      iat: Math.floor(Date.now() / 1000),
      ...(token !== undefined && { ath: encoded(await crypto.subtle.digest("SHA-256", bytesOf(token))) }),
      ...(nonce !== "" && { nonce }),
    };
    const said = [header, claims].map((part) => encoded(bytesOf(JSON.stringify(part)))).join(".");
    const signature = await crypto.subtle.sign(ALGORITHM, this.#pair.privateKey, bytesOf(said));
    return `${said}.${encoded(signature)}`;
  }
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Base64, as JWTs have it. */
function encoded(bytes: ArrayBuffer | Uint8Array): string {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
