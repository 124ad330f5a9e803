/** A page beside the list that is no conversation. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { addressOf, type Route } from "../state/route.ts";
import { Icon } from "./icon.tsx";

interface SheetProps {
  readonly title: string;
  readonly back?: Route;
  readonly children: ComponentChildren;
}

export function Sheet({ title, back = { at: "list" }, children }: SheetProps): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // Whoever came by a key goes on here, and whoever listens hears where this is.
    const main = heading.current?.closest("main");
    if (main?.contains(document.activeElement) !== true) {
      heading.current?.focus({ preventScroll: true });
    }
  }, []);
  return (
    <>
      <header class="bar">
        <a class={back.at === "list" ? "button back" : "button"} href={addressOf(back)} aria-label="Back">
          <Icon name="back" />
        </a>
        <h1 ref={heading} tabIndex={-1}>
          <bdi>{title}</bdi>
        </h1>
      </header>
      <div class="sheet">{children}</div>
    </>
  );
}
