/**
 * The sending end of all streams: ids, what is unsettled, windows and when to send again (docs/protocol.md, "Sending").
 *
 * Owns messages until they are settled. Knows no clock and no random number: both are given, in milliseconds. A message
 * gets its stream and id only while its device is logged in: before, somebody else may be this device and give the same
 * ones.
 */

import { create } from "@bufbuild/protobuf";

import { type About, type Message, MessageSchema } from "../gen/sparrow_pb.js";

/** A message that is not settled. A draft until it is numbered. */
export class Outgoing {
  stream: OutboundStream | undefined;
  /** 0: a draft. */
  id = 0;
  /** When it got its id, in milliseconds of the server's Unix time; 0: not known. */
  numberedMs = 0;
  tries = 0;
  /** When to send it again, on the owner's clock. */
  due = 0;
  /** Whatever the owner puts here. */
  tag: unknown;

  constructor(dest: string, kind: number, body: Uint8Array, about?: About, draft = 0, revision = 0, mark = 0n) {
    this.dest = dest;
    this.kind = kind;
    this.body = body;
    this.about = about;
    this.draft = draft;
    this.revision = revision;
    this.mark = mark;
  }

  readonly dest: string;
  readonly kind: number;
  readonly body: Uint8Array;
  readonly about: About | undefined;
  /** Orders drafts, and names one in a journal. */
  readonly draft: number;
  /** Of an EDIT. */
  readonly revision: number;
  /** Of a READ. */
  readonly mark: bigint;

  /** The message as it goes on the wire now; it must be numbered. */
  message(): Message {
    const stream = this.stream as OutboundStream;
    const message = create(MessageSchema, {
      stream: stream.number,
      id: BigInt(this.id),
      settled: BigInt(stream.settled),
      destId: this.dest,
      kind: this.kind,
      body: this.body,
      revision: this.revision,
      mark: this.mark,
    });
    if (this.about !== undefined) {
      message.about = this.about;
    }
    return message;
  }
}

/** A stream of this device to one destination. */
export class OutboundStream {
  readonly number: bigint;
  readonly dest: string;
  nextId: number;
  /** Takes no new messages; the destination's next stream begins when this one has settled. */
  retired: boolean;
  /** Unsettled, in the order of their ids. */
  readonly messages = new Map<number, Outgoing>();
  /** Messages that have not been sent on this connection, in the order of their ids. */
  unsent: Outgoing[] = [];
  /** Ids that the server has told to wait for so long that something may change before. */
  readonly held = new Set<number>();

  constructor(number: bigint, dest: string, nextId = 1, retired = false) {
    this.number = number;
    this.dest = dest;
    this.nextId = nextId;
    this.retired = retired;
  }

  /** All ids below are settled. */
  get settled(): number {
    for (const id of this.messages.keys()) {
      return id;
    }
    return this.nextId;
  }
}

const FIRST_RESEND_MS = 3_000;
const LAST_RESEND_MS = 30_000;
/** Longest wait after a `Failed` that asks for less. */
const LAST_RETRY_MS = 5_000;
/** A wait that is worth a try before its time, when another message of the stream has gone through. */
const LONG_MS = 60_000;

interface Timer {
  readonly at: number;
  readonly stream: bigint;
  readonly id: number;
}

/** All streams of this device. */
export class Outbox {
  readonly streams = new Map<bigint, OutboundStream>();
  readonly #byDest = new Map<string, OutboundStream[]>();
  #ready = new Set<bigint>();
  readonly #timers = new Timers();
  readonly #onWire = new Set<string>();
  #perStream = 256;
  #perConnection = 4096;

  /** Unsettled messages of all streams. */
  get size(): number {
    let sum = 0;
    for (const stream of this.streams.values()) {
      sum += stream.messages.size;
    }
    return sum;
  }

  // Streams and messages.

  /** Put back a stream that was kept, with its unsettled messages; oldest stream of a destination first. */
  restore(stream: OutboundStream): void {
    this.streams.set(stream.number, stream);
    this.#queue(stream.dest).push(stream);
  }

  #queue(dest: string): OutboundStream[] {
    let queue = this.#byDest.get(dest);
    if (queue === undefined) {
      queue = [];
      this.#byDest.set(dest, queue);
    }
    return queue;
  }

  /** The stream that takes new messages for `dest`; if there is none, a new one of this number. */
  streamFor(dest: string, newNumber: () => bigint): OutboundStream {
    const queue = this.#queue(dest);
    const last = queue.at(-1);
    if (last !== undefined && !last.retired) {
      return last;
    }
    const stream = new OutboundStream(newNumber(), dest);
    queue.push(stream);
    this.streams.set(stream.number, stream);
    return stream;
  }

  /** Put a message at the end of a stream. */
  number(outgoing: Outgoing, stream: OutboundStream): void {
    outgoing.stream = stream;
    outgoing.id = stream.nextId++;
    stream.messages.set(outgoing.id, outgoing);
    stream.unsent.push(outgoing);
    this.#ready.add(stream.number);
  }

  /** Take no more messages into any stream: this state is not the one that the server last knew. */
  retireAll(): OutboundStream[] {
    const retired = [...this.streams.values()].filter((stream) => !stream.retired);
    for (const stream of retired) {
      stream.retired = true;
    }
    return retired;
  }

  /** Forget retired streams that have settled; returns them. */
  dropSettled(): OutboundStream[] {
    const done = [...this.streams.values()].filter((stream) => stream.retired && stream.messages.size === 0);
    for (const stream of done) {
      this.streams.delete(stream.number);
      const queue = this.#queue(stream.dest);
      queue.splice(queue.indexOf(stream), 1);
      const [first] = queue;
      if (first !== undefined) {
        this.#ready.add(first.number);
      } else {
        this.#byDest.delete(stream.dest);
      }
    }
    return done;
  }

  // Sending.

  /** A new connection, and its windows: everything unsettled is sent again. */
  connected(perStream: number, perConnection: number): void {
    this.#perStream = perStream;
    this.#perConnection = perConnection;
    this.#onWire.clear();
    this.#timers.clear();
    for (const stream of this.streams.values()) {
      stream.unsent = [...stream.messages.values()];
      stream.held.clear();
      for (const outgoing of stream.unsent) {
        outgoing.tries = 0;
      }
      if (stream.unsent.length > 0) {
        this.#ready.add(stream.number);
      }
    }
  }

  /** What to send now, in order; each is taken to be sent when it is returned. */
  due(now: number): Outgoing[] {
    const found: Outgoing[] = [];
    for (let timer = this.#timers.take(now); timer !== undefined; timer = this.#timers.take(now)) {
      const outgoing = this.streams.get(timer.stream)?.messages.get(timer.id);
      if (outgoing !== undefined && outgoing.due <= now) {
        found.push(this.#sent(outgoing, now));
      }
    }
    const ready = this.#ready;
    this.#ready = new Set();
    for (const number of ready) {
      const stream = this.streams.get(number);
      if (stream !== undefined && this.#queue(stream.dest)[0] === stream) {
        this.#unsent(stream, now, found);
      }
    }
    return found;
  }

  #unsent(stream: OutboundStream, now: number, found: Outgoing[]): void {
    let at = 0;
    for (; at < stream.unsent.length; at++) {
      const outgoing = stream.unsent[at] as Outgoing;
      if (!stream.messages.has(outgoing.id)) {
        continue;
      }
      if (outgoing.id >= stream.settled + this.#perStream) {
        break;
      }
      if (this.#onWire.size >= this.#perConnection) {
        this.#ready.add(stream.number);
        break;
      }
      found.push(this.#sent(outgoing, now));
    }
    stream.unsent.splice(0, at);
  }

  #sent(outgoing: Outgoing, now: number): Outgoing {
    const { number } = outgoing.stream as OutboundStream;
    this.#onWire.add(nameOf(number, outgoing.id));
    outgoing.due = now + Math.min(FIRST_RESEND_MS * 2 ** outgoing.tries, LAST_RESEND_MS);
    outgoing.tries = Math.min(outgoing.tries + 1, 16);
    this.#timers.put({ at: outgoing.due, stream: number, id: outgoing.id });
    return outgoing;
  }

  /** When `due` will have something again, if nothing but time passes; undefined: never. */
  nextDue(): number | undefined {
    return this.#timers.first;
  }

  // Answers.

  /** SENT (`sent`) or a final Failed; undefined if it was settled before. */
  settle(number: bigint, id: number, sent = false): Outgoing | undefined {
    const stream = this.streams.get(number);
    const outgoing = stream?.messages.get(id);
    if (stream === undefined || outgoing === undefined) {
      return undefined;
    }
    stream.messages.delete(id);
    this.#onWire.delete(nameOf(number, id));
    stream.held.delete(id);
    if (sent && stream.held.size > 0) {
      // Where this one went through, there may be room again: the oldest tries it.
      const first = [...stream.held].reduce((a, b) => Math.min(a, b));
      stream.held.delete(first);
      stream.unsent.unshift(stream.messages.get(first) as Outgoing);
    }
    if (stream.unsent.length > 0) {
      this.#ready.add(number);
    }
    return outgoing;
  }

  /**
   * Failed for now: send it again after this time, or longer if it failed before.
   * Undefined if it was settled, or not sent on this connection.
   */
  retry(number: bigint, id: number, now: number, afterMs: number): Outgoing | undefined {
    const stream = this.streams.get(number);
    const outgoing = stream?.messages.get(id);
    if (stream === undefined || outgoing === undefined || !this.#onWire.has(nameOf(number, id))) {
      return undefined;
    }
    // What is away stays away for seconds, and then all who were refused would come every second.
    const longerMs = Math.min(afterMs * 2 ** Math.max(0, outgoing.tries - 1), LAST_RETRY_MS);
    outgoing.due = now + Math.max(afterMs, longerMs);
    if (afterMs >= LONG_MS) {
      stream.held.add(id);
    }
    this.#timers.put({ at: outgoing.due, stream: number, id });
    return outgoing;
  }
}

function nameOf(stream: bigint, id: number): string {
  return `${stream}/${id}`;
}

/** A binary heap by time. */
class Timers {
  #heap: Timer[] = [];

  get first(): number | undefined {
    return this.#heap[0]?.at;
  }

  clear(): void {
    this.#heap = [];
  }

  put(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!this.#before(at, up)) {
        return;
      }
      this.#swap(at, up);
      at = up;
    }
  }

  /** The first one, if it is due. */
  take(now: number): Timer | undefined {
    const heap = this.#heap;
    const [top] = heap;
    if (top === undefined || top.at > now) {
      return undefined;
    }
    const last = heap.pop() as Timer;
    if (heap.length > 0) {
      heap[0] = last;
      this.#sink();
    }
    return top;
  }

  #sink(): void {
    let at = 0;
    for (;;) {
      let least = at;
      for (const down of [2 * at + 1, 2 * at + 2]) {
        if (down < this.#heap.length && this.#before(down, least)) {
          least = down;
        }
      }
      if (least === at) {
        return;
      }
      this.#swap(at, least);
      at = least;
    }
  }

  #before(one: number, other: number): boolean {
    const a = this.#heap[one] as Timer;
    const b = this.#heap[other] as Timer;
    return a.at !== b.at ? a.at < b.at : a.stream !== b.stream ? a.stream < b.stream : a.id < b.id;
  }

  #swap(one: number, other: number): void {
    const heap = this.#heap;
    [heap[one], heap[other]] = [heap[other] as Timer, heap[one] as Timer];
  }
}
