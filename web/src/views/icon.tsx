/** Signs on buttons, drawn in the text's colour. Whoever uses one says in words what it does. */

import type { JSX } from "preact";

const PATHS = {
  add: "M12 5v14M5 12h14",
  attach:
    "M20 11.500 12 19.500a5 5 0 0 1-7-7l8.500-8.500a3.300 3.300 0 0 1 4.700 4.700L9.800 17a1.600 1.600 0 0 1-2.300-2.300l7.500-7.500",
  back: "M19 12H5m6-6-6 6 6 6",
  close: "M6 6l12 12M18 6 6 18",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  muted: "M4 4l16 16M10 5a5 5 0 0 1 7 4.500c0 2.500.5 4.200 1.200 5.500M6.800 9.500C6.800 15 5 16 5 17h12M10.500 20h3",
  people: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7ZM2.500 20c.5-4 3-6 6.500-6s6 2 6.500 6M18 8v6M21 11h-6",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16 16l4.500 4.500",
  send: "M4 12 20 4l-5 16-3.500-6.500L4 12Z",
} as const;

export function Icon({ name }: { readonly name: keyof typeof PATHS }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
