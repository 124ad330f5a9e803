/** Who somebody is, in a circle; and whether they are there. */

import type { JSX } from "preact";

import { useDevice } from "./context.ts";

const COLOURS = 8;

/** The first letter of a name, in a colour of the id's own. */
export function Face({ name, id }: { readonly name: string; readonly id: string }): JSX.Element {
  let sum = 0;
  for (const char of id) {
    sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 1_000_003;
  }
  const [first = { segment: "?" }] = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(name.trim());
  return (
    <span class={`face face-${sum % COLOURS}`} aria-hidden="true">
      {first.segment.toLocaleUpperCase()}
    </span>
  );
}

/** A dot beside a friend who is online. */
export function Presence({ user }: { readonly user: string }): JSX.Element | null {
  const { circle } = useDevice();
  const isOnline = circle.friend(user)?.online === true;
  return isOnline ? <span class="online" role="img" aria-label="online" /> : null;
}
