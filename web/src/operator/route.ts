/** Which view is open, as the address says behind its `#`. */

import { signal } from "@preact/signals";

export const VIEWS = ["overview", "accounts", "groups", "reports", "settings"] as const;
export type View = (typeof VIEWS)[number];

export const view = signal<View>("overview");

export function viewOf(hash: string): View {
  const named = hash.replace(/^#/, "");
  return VIEWS.find((each) => each === named) ?? "overview";
}

export function followAddress(): void {
  const follow = (): void => {
    view.value = viewOf(location.hash);
  };
  addEventListener("hashchange", follow);
  follow();
}
