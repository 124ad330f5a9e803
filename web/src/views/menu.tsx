/** A button that opens a list of things to do. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
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

export function Menu({ label, choices }: MenuProps): JSX.Element {
  const isOpen = useSignal(false);
  const element = useRef<HTMLSpanElement>(null);
  const id = useId();
  useEffect(() => {
    if (!isOpen.value) {
      return undefined;
    }
    element.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const away = (event: Event): void => {
      if (!(event.target instanceof Node) || element.current?.contains(event.target) !== true) {
        isOpen.value = false;
      }
    };
    addEventListener("pointerdown", away);
    return () => removeEventListener("pointerdown", away);
  }, [isOpen.value]);
  const close = (): void => {
    isOpen.value = false;
    element.current?.querySelector("button")?.focus();
  };
  const move = (event: KeyboardEvent): void => {
    const items = [...(element.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const at = items.findIndex((item) => item === document.activeElement);
    const steps: Readonly<Record<string, number>> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    const to = steps[event.key];
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (to !== undefined && isOpen.value) {
      event.preventDefault();
      items.at(to % items.length)?.focus();
    }
  };
  return (
    <span class="menu" ref={element} onKeyDown={move}>
      <button
        type="button"
        class="plain"
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={isOpen.value}
        aria-controls={isOpen.value ? id : undefined}
        onClick={() => (isOpen.value = !isOpen.value)}
      >
        <Icon name="more" />
      </button>
      {isOpen.value && (
        <span id={id} class="choices" role="menu" aria-label={label}>
          {choices.map(({ text, act, isDangerous }) => (
            <button
              key={text}
              type="button"
              role="menuitem"
              tabIndex={-1}
              class={isDangerous === true ? "danger" : undefined}
              onClick={() => {
                close();
                act();
              }}
            >
              {text}
            </button>
          ))}
        </span>
      )}
    </span>
  );
}
