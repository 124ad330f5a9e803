/**
 * Groups at the user API: their paths, and its answers as typed values.
 *
 * Owns the form of both. Beside the errors of every request: `GroupsNotOfferedError` of a service that knows none;
 * `NotFoundError` for a group that we are not in (whether there is one or not), and for what is not there (any more);
 * `NotAllowedHereError` for what our role or a limit does not allow. Changes may be repeated, but for `make` and
 * `addLink`. The answer to a change takes about two seconds: until every broker knows of it.
 */

import { GroupsNotOfferedError, InvalidIdError } from "../errors.ts";
import { checkGroupId } from "../protocol/ids.ts";
import { userInPath } from "./answers.ts";
import { list, nullable, object, type Of, or, type Reader, text, whole } from "./shape.ts";
import type { SignedApi, SignedAsked } from "./signed.ts";
import { codeOf } from "./web.ts";

const PATH = "/v1/groups";
const PAGE = "100";

const member = object({ user: text, role: text, since: whole });
const group = object({
  group: text,
  version: whole,
  name: text,
  picture: text,
  who_may_write: text,
  who_may_add: text,
  newcomers_see: text,
  created_ms: whole,
  role: text,
  members: list(member),
});
const myGroup = object({
  group: text,
  version: whole,
  name: text,
  picture: text,
  role: nullable(text),
  left_ms: nullable(whole),
});
const change = object({
  version: whole,
  ms: whole,
  actor: text,
  kind: text,
  user: or(nullable(text), null),
  value: or(nullable(text), null),
});
const invitation = object({ group: text, name: text, by: text, members: whole, ms: whole });
const link = object({ link: text, ends_ms: whole, uses_left: whole, secret: or(text, "") });
const linked = object({ name: text, members: whole });

/** Somebody who is in a group. `since`: the version of the group that made them a member. */
export type Member = Of<typeof member>;
/** A group, as one of its members sees it. `name` is its members' word: show it as text. */
export type Group = Of<typeof group>;
/** An entry in one's list of groups. `left_ms` null: we are in it. */
export type MyGroup = Of<typeof myGroup>;
/** One change of a group, and its own notice. `actor` "": those who run the service. */
export type GroupChange = Of<typeof change>;
/** Into a group, to ourselves. */
export type Invitation = Of<typeof invitation>;
/** Lets whoever has its secret join. The secret is told once, when it is made. */
export type Link = Of<typeof link>;
/** What a link shows of its group. */
export type LinkedGroup = Of<typeof linked>;
/** What of a group is to change, or to be so from the beginning. */
export type GroupSettings = Partial<Pick<Group, "picture" | "who_may_write" | "who_may_add" | "newcomers_see">>;
export type Role = "member" | "admin" | "owner";

export class Groups {
  readonly #api: SignedApi;

  constructor(api: SignedApi) {
    this.#api = api;
  }

  /** All groups that we are in, or were in lately, by id. */
  async list(): Promise<MyGroup[]> {
    const page = object({ groups: list(myGroup), next: or(nullable(text), null) });
    const found: MyGroup[] = [];
    let after: string | null = "";
    while (after !== null) {
      const query: Record<string, string> = { limit: PAGE, ...(after !== "" && { after }) };
      const { groups, next }: Of<typeof page> = await this.#get(page, PATH, { query });
      found.push(...groups);
      after = next;
    }
    return found;
  }

  /** Make a group of ourselves alone. */
  make(name: string, settings: GroupSettings = {}): Promise<Group> {
    return this.#get(group, PATH, { method: "POST", json: { name, ...settings } });
  }

  /** A group that we are in. */
  one(id: string): Promise<Group> {
    return this.#get(group, of(id));
  }

  /** Change what is given. `picture`: the id of a file of ours, "" takes it away. */
  change(id: string, settings: GroupSettings & { readonly name?: string }): Promise<Group> {
    return this.#get(group, of(id), { method: "PATCH", json: settings });
  }

  /** End a group for all of its members. */
  async close(id: string): Promise<void> {
    await this.#send(of(id), { method: "DELETE" });
  }

  /** Changes above the version `since`, oldest first. `version` is the group's: above the last one's there are more. */
  changes(id: string, since: number): Promise<{ readonly changes: readonly GroupChange[]; readonly version: number }> {
    const page = object({ changes: list(change), version: whole });
    return this.#get(page, `${of(id)}/changes`, { query: { since: String(since), limit: PAGE } });
  }

  // Members.

  /** Add a user, or ask them whether they want to be in it: then it is undefined. Who is in it already is returned. */
  async add(id: string, user: string): Promise<Member | undefined> {
    const asked = { method: "PUT", json: {} };
    const added = object({ member: or(nullable(member), null) });
    return (await this.#get(added, `${of(id)}/members/${userInPath(user)}`, asked)).member ?? undefined;
  }

  /** Give a member a role. */
  async setRole(id: string, user: string, role: Role): Promise<Member> {
    const asked = { method: "PUT", json: { role } };
    return (await this.#get(object({ member }), `${of(id)}/members/${userInPath(user)}`, asked)).member;
  }

  /** Remove a member; or leave, where `user` is ourselves. */
  async remove(id: string, user: string): Promise<void> {
    await this.#send(`${of(id)}/members/${userInPath(user)}`, { method: "DELETE" });
  }

  // Invitations and links.

  /** All open ones, oldest first. */
  async invitations(): Promise<readonly Invitation[]> {
    return (await this.#get(object({ invitations: list(invitation) }), "/v1/invitations")).invitations;
  }

  /** Say yes to an invitation. */
  accept(id: string): Promise<Group> {
    return this.#get(group, `/v1/invitations/${checkGroupId(id)}`, { method: "POST" });
  }

  /** Say no to an invitation. */
  async decline(id: string): Promise<void> {
    await this.#send(`/v1/invitations/${checkGroupId(id)}`, { method: "DELETE" });
  }

  /** Make a link that ends after so many hours, or uses. */
  addLink(id: string, hours: number, uses: number): Promise<Link> {
    return this.#get(link, `${of(id)}/links`, { method: "POST", json: { hours, uses } });
  }

  /** All links of a group that have not ended. */
  async links(id: string): Promise<readonly Link[]> {
    return (await this.#get(object({ links: list(link) }), `${of(id)}/links`)).links;
  }

  /** End a link. Throws `InvalidIdError` for what is no link's id. */
  async dropLink(id: string, linkId: string): Promise<void> {
    if (!/^[A-Za-z0-9]+$/.test(linkId)) {
      throw new InvalidIdError("link: use the id that the user API gave");
    }
    await this.#send(`${of(id)}/links/${linkId}`, { method: "DELETE" });
  }

  /** What a link leads to. Nobody joins by that. */
  look(secret: string): Promise<LinkedGroup> {
    return this.#get(linked, "/v1/links/look", { method: "POST", json: { secret } });
  }

  /** Join by a link. */
  join(secret: string): Promise<Group> {
    return this.#get(group, "/v1/links/join", { method: "POST", json: { secret } });
  }

  /** Who shows to have read a message of ours, `of` so many who may, in a group of up to 50. */
  readBy(
    id: string,
    device: string,
    stream: bigint,
    number: number,
  ): Promise<{ readonly read_by: readonly string[]; readonly of: number }> {
    return this.#get(object({ read_by: list(text), of: whole }), `${of(id)}/marks/${device}/${stream}/${number}`);
  }

  async #send(path: string, asked: SignedAsked = {}): Promise<Readonly<Record<string, unknown>> | undefined> {
    const answer = await this.#api.send(path, { ...asked, accept: [404] });
    if (codeOf(answer) === "not_found") {
      throw new GroupsNotOfferedError("this service knows no groups: it is an older release");
    }
    return this.#api.check(answer).object;
  }

  async #get<T>(reader: Reader<T>, path: string, asked: SignedAsked = {}): Promise<T> {
    return this.#api.read(reader, await this.#send(path, asked));
  }
}

function of(id: string): string {
  return `${PATH}/${checkGroupId(id)}`;
}
