/** The project's conformance vectors (tests/vectors), and the two notations in them. */

import { readFileSync } from "node:fs";

import { fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";

import { type Frame, FrameSchema } from "../src/gen/sparrow_pb.js";
import { delimit } from "../src/protocol/framing.ts";
import { ClientSession } from "../src/protocol/session.ts";

export interface Vector {
  readonly name: string;
  readonly from: "client" | "server";
  readonly hex: Hex;
  readonly frame: JsonValue;
  readonly state?: "new" | "logging_in" | "active";
  readonly canonical?: boolean;
  readonly counts?: boolean;
  readonly counted?: number;
}

type Hex = string | readonly (string | { readonly repeat: string; readonly times: number })[];

export function load<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), "utf8")) as T[];
}

export function unhex(hex: Hex): Uint8Array {
  const text =
    typeof hex === "string"
      ? hex
      : hex.map((part) => (typeof part === "string" ? part : part.repeat.repeat(part.times))).join("");
  return new Uint8Array(Buffer.from(text, "hex"));
}

/** The frame of a `frame`. */
export function frame(meaning: JsonValue): Frame {
  return fromJson(FrameSchema, longBytes(meaning));
}

export function bytesOf(meaning: JsonValue): Uint8Array {
  return delimit(toBinary(FrameSchema, frame(meaning)));
}

function longBytes(value: JsonValue): JsonValue {
  if (typeof value !== "object" || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(longBytes);
  }
  if ("repeat" in value && "times" in value) {
    return Buffer.from((value["repeat"] as string).repeat(Number(value["times"])), "hex").toString("base64");
  }
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, longBytes(each)]));
}

/** A client's session in this state. */
export function sessionIn(state: "new" | "logging_in" | "active"): ClientSession {
  const session = new ClientSession();
  if (state !== "new") {
    session.login("t");
    session.dataToSend();
  }
  if (state === "active") {
    session.receive(bytesOf({ logged_in: { session: "1" } }));
  }
  return session;
}
