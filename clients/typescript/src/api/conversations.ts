/**
 * Kept conversations at the user API: its paths, and its answers as typed values.
 *
 * Owns the form of both. All but mutes throws `HistoryNotKeptError` where conversations are not kept.
 */

import type { Target } from "../core/changes.ts";
import { HistoryNotKeptError, NotFoundError } from "../errors.ts";
import { Kind } from "../gen/sparrow_pb.js";
import { isGroupId } from "../protocol/ids.ts";
import { conversationInPath } from "./answers.ts";
import { big, list, nullable, object, type Of, or, record, text, whole } from "./shape.ts";
import type { SignedApi, SignedAsked } from "./signed.ts";

/** Messages that one page may have. */
export const MAX_PAGE = 500;
/** Conversations that are listed, and whose unread messages are counted, at once. */
const MAX_IDS = 100;
/** Ten years, with their leap days. */
const MAX_MUTE_S = 10 * 366 * 86_400;
const PATH = "/v1/conversations";

const line = object({
  author: text,
  device: text,
  stream: big,
  id: big,
  stamp: big,
  kind: whole,
  text: or(text, ""),
  /** Base64. */
  body: or(text, ""),
  revision: or(whole, 0),
  edited_stamp: or(big, 0n),
  erased_by: or(text, ""),
});
const listed = object({
  id: text,
  newest: or(nullable(line), null),
  mark: or(big, 0n),
  read_by_other: or(big, 0n),
  unread: or(whole, 0),
  muted_until_ms: or(whole, 0),
});
const muted = object({ muted_until_ms: whole });
const listOfMutes = object({ mutes: list(object({ id: text, muted_until_ms: whole })) });
const pageOfLists = object({ conversations: list(listed), next: or(nullable(text), null) });
const pageOfLines = object({ messages: list(line), next: or(nullable(text), null) });
const foundLine = object({ conversation: or(text, "") });

/** A message as it reads now. */
export interface HistoryLine {
  /** The other user of the conversation, or the group. */
  readonly peer: string;
  readonly author: string;
  readonly device: string;
  readonly stream: bigint;
  readonly id: number;
  readonly stamp: bigint;
  readonly kind: number;
  /** Empty of what was erased. */
  readonly body: Uint8Array;
  /** Of the edit that counts; 0: it was not edited. */
  readonly revision: number;
  readonly editedStamp: bigint;
  /** Not empty: it was erased, by this user, or "operator". */
  readonly erasedBy: string;
}

/** A conversation as the user API lists it. */
export interface Conversation {
  /** The other user, or the group. */
  readonly peer: string;
  readonly newest: HistoryLine | undefined;
  /** Up to which stamp we have read it. */
  readonly mark: bigint;
  /** Up to which stamp they have, as far as they show it. */
  readonly readByOther: bigint;
  /** Messages of others behind `mark`, counted up to 100. */
  readonly unread: number;
  /** Until when it is muted, in Unix milliseconds of the service's clock; 0: it is not. */
  readonly mutedUntilMs: number;
}

/** Messages, newest first; `next`: for what is older, undefined: there is nothing. A page may be short, or empty. */
export interface Page {
  readonly messages: readonly HistoryLine[];
  readonly next: string | undefined;
}

export class Conversations {
  readonly #api: SignedApi;
  readonly #paged: (lines: readonly HistoryLine[]) => Promise<void>;

  /** `paged`: is told what has come in pages, before who asked is. */
  constructor(api: SignedApi, paged: (lines: readonly HistoryLine[]) => Promise<void>) {
    this.#api = api;
    this.#paged = paged;
  }

  /** All conversations, by the other's id, with what is unread in them. */
  async list(): Promise<Conversation[]> {
    const found: Conversation[] = [];
    let after: string | null = "";
    while (after !== null) {
      const query: Record<string, string> = { limit: String(MAX_IDS), ...(after !== "" && { after }) };
      const page: Of<typeof pageOfLists> = this.#api.read(pageOfLists, await this.#get(PATH, { query }));
      const counts = await this.#unread(page.conversations.map(({ id }) => id));
      for (const one of page.conversations) {
        found.push({ ...this.#conversation(one), unread: counts.get(one.id) ?? 0 });
      }
      after = page.next;
    }
    return found;
  }

  async #unread(ids: readonly string[]): Promise<ReadonlyMap<string, number>> {
    if (ids.length === 0) {
      return new Map();
    }
    const answer = await this.#get(`${PATH}/unread`, { query: { ids: ids.join(",") } });
    return this.#api.read(object({ unread: record(whole) }), answer).unread;
  }

  /** One conversation; one without anything if nothing was ever written there. */
  async one(peer: string): Promise<Conversation> {
    try {
      const answer = await this.#api.object(`${PATH}/${conversationInPath(peer)}`);
      return this.#conversation(this.#api.read(listed, answer));
    } catch (error) {
      if (error instanceof NotFoundError) {
        const mutedUntilMs = (await this.mutes()).get(peer) ?? 0;
        return { peer, newest: undefined, mark: 0n, readByOther: 0n, unread: 0, mutedUntilMs };
      }
      throw error;
    }
  }

  /**
   * One page, from the newest message or `before` a place back; `before` is the `next` of another page. What was paged
   * does not come as a message any more. A name may come on two pages, and as a message before: drop what is there.
   */
  async messages(peer: string, before = "", limit = 50): Promise<Page> {
    const query = { limit: String(Math.min(limit, MAX_PAGE)), ...(before !== "" && { before }) };
    const answer = await this.#get(`${PATH}/${conversationInPath(peer)}/messages`, { query });
    const { messages, next } = this.#api.read(pageOfLines, answer);
    const lines = messages.map((each) => this.#line(each, peer));
    await this.#paged(lines);
    return { messages: lines, next: next ?? undefined };
  }

  /** Say how far we have read, to our own devices. */
  async mark(peer: string, stamp: bigint): Promise<void> {
    const asked = { method: "PUT", json: { stamp: String(stamp) } };
    await this.#api.send(`${PATH}/${conversationInPath(peer)}/mark`, asked);
  }

  /** Take a conversation out of the list until something newer is written. Nothing is erased. */
  async hide(peer: string): Promise<void> {
    await this.#api.send(`${PATH}/${conversationInPath(peer)}`, { method: "DELETE" });
  }

  /**
   * Mute a conversation, for all of one's devices, until a time of this machine's clock, or for ever; resolves to until
   * when, by the service's clock. Messages come as before: applications leave out what would disturb.
   */
  async mute(peer: string, untilMs?: number): Promise<number> {
    const left = untilMs === undefined ? null : Math.ceil((untilMs - Date.now()) / 1000);
    const json = { for_s: left === null ? null : Math.min(Math.max(left, 1), MAX_MUTE_S) };
    const answer = await this.#api.object(`${PATH}/${conversationInPath(peer)}/mute`, { method: "PUT", json });
    return this.#api.read(muted, answer).muted_until_ms;
  }

  /** Mute it no more. */
  async unmute(peer: string): Promise<void> {
    await this.#api.send(`${PATH}/${conversationInPath(peer)}/mute`, { method: "DELETE" });
  }

  /** All that are muted, also where nothing was ever written: the other, or the group, and until when. */
  async mutes(): Promise<ReadonlyMap<string, number>> {
    try {
      const { mutes } = this.#api.read(listOfMutes, await this.#api.object("/v1/mutes"));
      return new Map(mutes.map((one) => [one.id, one.muted_until_ms]));
    } catch (error) {
      if (error instanceof NotFoundError) {
        return new Map(); // a service of 0.1 mutes nothing
      }
      throw error;
    }
  }

  /** Report what another has written to those who run the service. */
  async report(target: Target, why: string): Promise<void> {
    const { path, query } = this.#path(target);
    await this.#api.send(`${path}/report`, { method: "POST", json: { text: why }, query });
  }

  /** Erase somebody's message in a group that we own, for all. One's own are erased by `Client.erase`. */
  async takeDown(target: Target): Promise<void> {
    const { path, query } = this.#path(target);
    await this.#api.send(path, { method: "DELETE", query });
  }

  #path(target: Target): { path: string; query: Record<string, string> } {
    const { peer, author, device, stream, id } = target;
    const path = `${PATH}/${conversationInPath(peer)}/messages/${device}/${stream}/${id}`;
    return { path, query: isGroupId(peer) ? { author } : {} };
  }

  /** Texts with these words, newest first. Throws `SearchNotOfferedError` where the service has no search. */
  async search(words: string, peer = "", limit = 50): Promise<HistoryLine[]> {
    const found: HistoryLine[] = [];
    let before: string | null = "";
    while (before !== null && found.length < limit) {
      const size = String(Math.min(limit - found.length, 100));
      const where = peer === "" ? {} : { conversation: peer };
      const query = { q: words, limit: size, ...where, ...(before !== "" && { before }) };
      const answer = await this.#get("/v1/search", { query });
      const { messages, next } = this.#api.read(pageOfLines, answer);
      const { messages: places } = this.#api.read(object({ messages: list(foundLine) }), answer);
      found.push(...messages.map((each, at) => this.#line(each, places[at]?.conversation || peer)));
      before = next;
    }
    return found.slice(0, limit);
  }

  /** Of a path that every server has which keeps conversations. */
  async #get(path: string, asked: SignedAsked): Promise<Readonly<Record<string, unknown>>> {
    try {
      return await this.#api.object(path, asked);
    } catch (error) {
      if (error instanceof NotFoundError) {
        throw new HistoryNotKeptError(error.message, { cause: error }); // by a service of 0.1
      }
      throw error;
    }
  }

  #conversation(one: Of<typeof listed>): Conversation {
    const newest = one.newest === null ? undefined : this.#line(one.newest, one.id);
    const { mark, read_by_other: readByOther, unread, muted_until_ms: mutedUntilMs } = one;
    return { peer: one.id, newest, mark, readByOther, unread, mutedUntilMs };
  }

  #line(one: Of<typeof line>, peer: string): HistoryLine {
    const { author, device, stream, stamp, kind, revision } = one;
    const names = { peer, author, device, stream, id: Number(one.id), stamp, kind };
    const body = one.erased_by === "" ? this.#body(one) : new Uint8Array();
    return { ...names, body, revision, editedStamp: one.edited_stamp, erasedBy: one.erased_by };
  }

  #body(one: Of<typeof line>): Uint8Array {
    if (one.kind === Kind.TEXT) {
      return new TextEncoder().encode(one.text);
    }
    return this.#api.read((value) => Uint8Array.from(atob(String(value)), (char) => char.charCodeAt(0)), one.body);
  }
}
