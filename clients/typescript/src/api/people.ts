/**
 * Friends, requests to be friends, blocks, profiles and devices.
 *
 * Owns what a program sees of them. What may become of two users, the server decides. Beside its own errors, each
 * method throws those of every request (`SignedApi`). Changes may be repeated: what is so already stays so.
 */

import { checkDeviceId } from "../protocol/ids.ts";
import { userInPath } from "./answers.ts";
import { flag, list, nullable, object, type Of, or, text, whole } from "./shape.ts";
import type { SignedApi, SignedAsked } from "./signed.ts";

const CONTACT = { user: text, friend: flag, asked: flag, asks: flag, blocked: flag, since_ms: whole };

const contact = object(CONTACT);
const friend = object({ ...CONTACT, online: or(nullable(flag), null), last_seen_ms: or(nullable(whole), null) });
const profile = object({ user: text, display_name: text });
const ownProfile = object({
  user: text,
  display_name: text,
  hides_presence: flag,
  created_ms: whole,
  friends_may_add_me: or(flag, false),
});
const device = object({ device: text, label: text, created_ms: whole, logged_in: flag, current: flag });
const page = object({ items: list((value) => value), next: or(nullable(text), null) });

/** How one user stands to another: `asked`: we have asked them; `asks`: they have asked us. Times are Unix ms. */
export type Contact = Of<typeof contact>;
/** A friend. `online` null: they hide it, or nobody can say just now. `last_seen_ms` null: unknown or hidden. */
export type Friend = Of<typeof friend>;
/** What everybody sees of a user. `display_name` is their own word: show it as text. */
export type Profile = Of<typeof profile>;
/** What a user sees of themselves. */
export type OwnProfile = Of<typeof ownProfile>;
/** One of one's own devices. `current`: this one. `logged_in`: it can get new tokens. */
export type Device = Of<typeof device>;
/** What of one's own profile is to change. */
export type ProfileChange = Partial<Pick<OwnProfile, "display_name" | "hides_presence" | "friends_may_add_me">>;

const PAGE = 100;

/** Other people, as one user sees them. */
export class People {
  readonly #api: SignedApi;

  constructor(api: SignedApi) {
    this.#api = api;
  }

  /** All friends, by name. */
  async friends(): Promise<Friend[]> {
    return (await this.#all("/v1/friends")).map((each) => this.#api.read(friend, each));
  }

  /** Whom we have asked to be our friend, and who has asked us. */
  async requests(): Promise<Contact[]> {
    return (await this.#all("/v1/requests")).map((each) => this.#api.read(contact, each));
  }

  /** Whom we have blocked. */
  async blocks(): Promise<Contact[]> {
    return (await this.#all("/v1/blocks")).map((each) => this.#api.read(contact, each));
  }

  /** Ask a user to be our friend; who has asked us is our friend at once. Throws `NotFoundError`, `MisuseError`. */
  ask(user: string): Promise<Contact> {
    return this.#change("PUT", "requests", user);
  }

  /** Accept a user's request. Throws `NotFoundError` if there is none. */
  accept(user: string): Promise<Contact> {
    return this.#change("PUT", "friends", user);
  }

  /** Decline what a user has asked, or take back what we have asked them. */
  decline(user: string): Promise<Contact> {
    return this.#change("DELETE", "requests", user);
  }

  /** Be friends with a user no more. */
  unfriend(user: string): Promise<Contact> {
    return this.#change("DELETE", "friends", user);
  }

  /** Block a user: no message goes either way, and a friendship or a request ends. */
  block(user: string): Promise<Contact> {
    return this.#change("PUT", "blocks", user);
  }

  /** Block a user no more. */
  unblock(user: string): Promise<Contact> {
    return this.#change("DELETE", "blocks", user);
  }

  async #change(method: string, what: string, user: string): Promise<Contact> {
    return this.#api.read(contact, await this.#api.object(`/v1/${what}/${userInPath(user)}`, { method }));
  }

  /** Somebody's profile. Throws `NotFoundError`. */
  async profile(user: string): Promise<Profile> {
    return this.#api.read(profile, await this.#api.object(`/v1/users/${userInPath(user)}`));
  }

  /** Users whose ids begin with a text of two characters or more, by id. Throws `MisuseError` for less. */
  async search(prefix: string, limit = 50): Promise<Profile[]> {
    return (await this.#all("/v1/users", limit, { prefix })).map((each) => this.#api.read(profile, each));
  }

  async #all(path: string, limit = Number.POSITIVE_INFINITY, query: Record<string, string> = {}): Promise<unknown[]> {
    const found: unknown[] = [];
    let cursor: string | null = "";
    while (cursor !== null && found.length < limit) {
      const size = String(Math.min(PAGE, limit - found.length));
      const asked: SignedAsked = { query: { ...query, limit: size, ...(cursor !== "" && { cursor }) } };
      const { items, next } = this.#api.read(page, await this.#api.object(path, asked));
      found.push(...items);
      cursor = next;
    }
    return found;
  }
}

/** One's own account. */
export class Account {
  readonly #api: SignedApi;
  readonly #changed: (password: string) => void;

  /** `changed`: is told of a new password. */
  constructor(api: SignedApi, changed: (password: string) => void) {
    this.#api = api;
    this.#changed = changed;
  }

  /**
   * Change the password. The user's other devices are logged out; this one stays. Throws `WrongPasswordError`, and
   * `MisuseError` for a new one that the service does not allow.
   */
  async changePassword(old: string, password: string): Promise<void> {
    await this.#api.send("/v1/me/password", { method: "PUT", json: { old_password: old, new_password: password } });
    this.#changed(password);
  }

  /** Delete the account, for good: the session ends with it. Throws `WrongPasswordError`. */
  async delete(password: string): Promise<void> {
    await this.#api.send("/v1/me/deletion", { method: "POST", json: { password } });
  }

  /** One's own profile. */
  async profile(): Promise<OwnProfile> {
    return this.#api.read(ownProfile, await this.#api.object("/v1/me"));
  }

  /** Change one's own profile, and return it. Throws `MisuseError` for a name that the service does not take. */
  async change(change: ProfileChange): Promise<OwnProfile> {
    return this.#api.read(ownProfile, await this.#api.object("/v1/me", { method: "PATCH", json: change }));
  }

  /** One's own devices, oldest first. */
  async devices(): Promise<readonly Device[]> {
    const { items } = this.#api.read(object({ items: list(device) }), await this.#api.object("/v1/me/devices"));
    return items;
  }

  /** Give a device another label. Throws `NotFoundError`, `MisuseError`. */
  async renameDevice(id: string, label: string): Promise<Device> {
    const asked = { method: "PATCH", json: { label } };
    return this.#api.read(device, await this.#api.object(`/v1/me/devices/${checkDeviceId(id)}`, asked));
  }

  /** Remove a device, for good: its session is closed, and its tokens end. Throws `NotFoundError`. */
  async removeDevice(id: string): Promise<void> {
    await this.#api.send(`/v1/me/devices/${checkDeviceId(id)}`, { method: "DELETE" });
  }

  /** Log a device out, and keep it, with what waits for it; one's own by `Client.logOut`. Throws `NotFoundError`. */
  async logOutDevice(id: string): Promise<void> {
    await this.#api.send(`/v1/me/devices/${checkDeviceId(id)}/login`, { method: "DELETE" });
  }
}
