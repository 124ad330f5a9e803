/**
 * What is looked at, as the part of the address behind `#`: Back works, and a reload comes back to it.
 *
 * Owns the form of it.
 */

import { signal } from "@preact/signals";

import { takeHanded } from "./handed.ts";
import { takeAnswer } from "./provider.ts";

export type Route =
  | { readonly at: "list" }
  | { readonly at: "chat"; readonly peer: string }
  | { readonly at: "about"; readonly peer: string }
  | { readonly at: "people" }
  | { readonly at: "settings" }
  | { readonly at: "search"; readonly peer: string };

/** Reads an address; what is none is the list. */
export function parseRoute(hash: string): Route {
  const [at = "", ...rest] = hash.replace(/^#\/?/, "").split("/");
  let peer;
  try {
    peer = decodeURIComponent(rest.join("/"));
  } catch {
    return { at: "list" };
  }
  if ((at === "chat" || at === "about") && /^(~[a-z2-7]{24}|[a-z0-9._-]{1,64})$/.test(peer)) {
    return { at, peer };
  }
  if (at === "people" || at === "settings") {
    return { at };
  }
  return at === "search" ? { at, peer } : { at: "list" };
}

export function addressOf(route: Route): string {
  return "peer" in route ? `#/${route.at}/${encodeURIComponent(route.peer)}` : `#/${route.at}`;
}

export const route = signal<Route>({ at: "list" });

/** Follow the address from now on; returns what ends that. */
export function followAddress(): () => void {
  const look = (): void => {
    takeHanded();
    takeAnswer();
    route.value = parseRoute(location.hash);
  };
  look();
  addEventListener("hashchange", look);
  return () => removeEventListener("hashchange", look);
}

export function go(to: Route, replace = false): void {
  if (replace) {
    location.replace(addressOf(to));
  } else {
    location.hash = addressOf(to);
  }
}
