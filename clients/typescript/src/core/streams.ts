/**
 * Which streams of others are remembered: who begins many is forgotten first, and what strangers cause is bounded.
 *
 * Owns the counts, the order in which streams were last heard of, and what names a stream and a message. Knows nothing
 * of what messages say.
 */

import type { Message } from "../gen/sparrow_pb.js";
import { isGroupId } from "../protocol/ids.ts";

/**
 * from_id, from_device and stream, by slashes. In a group, its id stands behind the device: whoever uses one stream for
 * a group and for something else has two, which cannot get into each other's way.
 */
export type StreamKey = string;
/** A `StreamKey` and an id: what names a message for ever. */
export type MessageName = string;

/** The parts of a `StreamKey`. */
export interface StreamName {
  readonly author: string;
  readonly device: string;
  /** Empty: between two users. */
  readonly group: string;
  readonly stream: bigint;
}

/** Of one author, all their devices and restarts together. */
export const MAX_STREAMS_OF_USER = 1_000;
/** Of all authors; beyond it whoever has most gives way. */
export const MAX_STREAMS = 100_000;

/** The group that a message was written to; empty: it is between two users. */
export function groupOf(message: Message): string {
  return message.destId.startsWith("~") && isGroupId(message.destId) ? message.destId : "";
}

export function keyOf(author: string, device: string, group: string, stream: bigint): StreamKey {
  return `${author}/${device}${group}/${stream}`;
}

/** The stream of a message. */
export function streamKey(message: Message): StreamKey {
  return keyOf(message.fromId, message.fromDevice, groupOf(message), message.stream);
}

export function messageName(message: Message): MessageName {
  return `${streamKey(message)}/${message.id}`;
}

/** The parts of a key. */
export function splitKey(key: StreamKey): StreamName {
  const last = key.lastIndexOf("/");
  const first = key.lastIndexOf("/", last - 1);
  const device = key.slice(first + 1, last);
  const tilde = device.indexOf("~");
  return {
    author: key.slice(0, first),
    device: tilde < 0 ? device : device.slice(0, tilde),
    group: tilde < 0 ? "" : device.slice(tilde),
    stream: BigInt(key.slice(last + 1)),
  };
}

function authorOf(key: StreamKey): string {
  return key.slice(0, key.lastIndexOf("/", key.lastIndexOf("/") - 1));
}

/** Streams by author, those that were silent longest first. Who we are ourselves has as many as we have friends. */
export class Streams {
  readonly #ofUser: number;
  readonly #inAll: number;
  #count = 0;
  readonly #byAuthor = new Map<string, Set<StreamKey>>();

  constructor(keys: Iterable<StreamKey> = [], ofUser = MAX_STREAMS_OF_USER, inAll = MAX_STREAMS) {
    this.#ofUser = ofUser;
    this.#inAll = inAll;
    for (const key of keys) {
      this.#add(key);
    }
  }

  get size(): number {
    return this.#count;
  }

  #add(key: StreamKey): Set<StreamKey> {
    const author = authorOf(key);
    let mine = this.#byAuthor.get(author);
    if (mine === undefined) {
      mine = new Set();
      this.#byAuthor.set(author, mine);
    }
    this.#count += mine.delete(key) ? 0 : 1;
    mine.add(key);
    return mine;
  }

  /** It is alive. */
  heard(key: StreamKey): void {
    this.#add(key);
  }

  /**
   * What to forget for this stream, which is new; undefined: nothing. Of one that is `busy` more is expected.
   * `me` is our own user, whose streams count only in all.
   */
  tooMany(key: StreamKey, me: string, busy: (key: StreamKey) => boolean): StreamKey | undefined {
    const mine = this.#add(key);
    if (mine.size > this.#ofUser && authorOf(key) !== me) {
      return this.#forget(mine, key, busy);
    }
    if (this.#count > this.#inAll) {
      const most = [...this.#byAuthor.values()].reduce((a, b) => (b.size > a.size ? b : a));
      return this.#forget(most, key, busy);
    }
    return undefined;
  }

  #forget(streams: Set<StreamKey>, fresh: StreamKey, busy: (key: StreamKey) => boolean): StreamKey | undefined {
    for (const key of streams) {
      if (key !== fresh && !busy(key)) {
        streams.delete(key);
        this.#count--;
        return key;
      }
    }
    return undefined;
  }
}
