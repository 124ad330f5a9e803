/** What is known of a person or a group, and what can be done about them. */

import type { JSX } from "preact";
import { isGroupId } from "sparrow-client";

import { AboutGroup } from "./about_group.tsx";
import { AboutPerson } from "./about_person.tsx";

export function About({ peer }: { readonly peer: string }): JSX.Element {
  return isGroupId(peer) ? <AboutGroup group={peer} /> : <AboutPerson user={peer} />;
}
