/**
 * Messages of others that were erased before they came here: nobody waits for them.
 *
 * Owns their names, as many as fit. Knows nothing of what they said.
 */

import type { Message } from "../gen/sparrow_pb.js";
import type { InboundStream, Shown } from "../protocol/inbound.ts";
import { groupOf, keyOf, type StreamKey } from "./streams.ts";

/** What is forgotten for a newer one is waited for, as what is lost. */
const MAX_ERASURES = 4096;

/** Names, oldest first. */
export class Erasures {
  readonly #most: number;
  readonly #names = new Set<string>();

  constructor(most = MAX_ERASURES) {
    this.#most = most;
  }

  get size(): number {
    return this.#names.size;
  }

  /** An ERASE has come: in whose stream its target is waited for no more; undefined: it names none. */
  told(message: Message, streams: ReadonlyMap<StreamKey, InboundStream<Message>>): StreamKey | undefined {
    const { about } = message;
    if (about === undefined) {
      return undefined;
    }
    const key = keyOf(message.fromId, about.fromDevice, groupOf(message), about.stream);
    const stream = streams.get(key);
    for (const number of about.ids) {
      if (stream === undefined || Number(number) >= stream.next) {
        this.#add(`${key}/${number}`);
      }
    }
    return key;
  }

  #add(name: string): void {
    this.#names.add(name);
    if (this.#names.size > this.#most) {
      for (const first of this.#names) {
        this.#names.delete(first);
        return;
      }
    }
  }

  /** Past what is missing in a stream, and paged or erased; what may be shown now, and what was erased. */
  goPast(
    key: StreamKey,
    stream: InboundStream<Message>,
    paged: (number: number) => boolean,
  ): [Shown<Message>[], number[]] {
    const gone: number[] = [];
    if (stream.parked.size === 0) {
      return [[], gone];
    }
    const shown = stream.goPast((number) => {
      if (paged(number)) {
        return true;
      }
      const erased = this.#names.delete(`${key}/${number}`);
      if (erased) {
        gone.push(number);
      }
      return erased;
    });
    return [shown, gone];
  }
}
