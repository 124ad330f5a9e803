/** A button that opens a list of things to do, above all else on the page: the browser closes it by itself. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import { Icon } from "./icon.tsx";

export interface Choice {
  readonly text: string;
  readonly act: () => void;
  readonly isDangerous?: boolean;
}

interface MenuProps {
  readonly label: string;
  readonly choices: readonly Choice[];
}

/** Between a menu and the border of the window, in pixels. */
const MARGIN = 8;

export function Menu({ label, choices }: MenuProps): JSX.Element {
  const isOpen = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  /** The browser has closed it by then, if the button was pressed to close it. */
  const wasOpen = useRef(false);
  const id = useId();
  const show = (): void => {
    if (list.current?.matches(":popover-open") === false) {
      list.current.showPopover();
      place();
    }
  };
  useLayoutEffect(show, [isOpen.value]);
  const close = (): void => {
    list.current?.hidePopover();
    isOpen.value = false;
  };
  const place = (): void => {
    const [from, menu] = [button.current?.getBoundingClientRect(), list.current];
    if (from === undefined || menu === null) {
      return;
    }
    const { width, height } = menu.getBoundingClientRect();
    const top = from.bottom + height + MARGIN > innerHeight ? Math.max(MARGIN, from.top - height) : from.bottom;
    menu.style.top = `${top}px`;
    menu.style.left = `${Math.max(MARGIN, Math.min(from.left, innerWidth - width - MARGIN))}px`;
    menu.querySelector<HTMLElement>("[role=menuitem]")?.focus();
  };
  const move = (event: KeyboardEvent): void => {
    const items = [...(list.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const at = items.findIndex((item) => item === document.activeElement);
    const steps: Readonly<Record<string, number>> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    const to = steps[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items.at(to % items.length)?.focus();
    } else if (event.key === "Tab") {
      close();
    }
  };
  return (
    <>
      <button
        ref={button}
        type="button"
        class="plain menu"
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={isOpen.value}
        onPointerDown={() => (wasOpen.current = isOpen.value)}
        onClick={() => {
          const { current } = wasOpen;
          wasOpen.current = false;
          isOpen.value = !current;
          if (!current) {
            show();
          }
        }}
      >
        <Icon name="more" />
      </button>
      {isOpen.value && (
        <div
          ref={list}
          id={id}
          popover="auto"
          class="choices"
          role="menu"
          aria-label={label}
          onKeyDown={move}
          onToggle={(event) => {
            if (event.newState === "closed") {
              isOpen.value = false;
            }
          }}
        >
          {choices.map(({ text, act, isDangerous }) => (
            <button
              key={text}
              type="button"
              role="menuitem"
              tabIndex={-1}
              class={isDangerous === true ? "danger" : undefined}
              onClick={() => {
                close();
                button.current?.focus();
                act();
              }}
            >
              {text}
            </button>
          ))}
        </div>
      )}
    </>
  );
}
