/** What the views are made of. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Dialog } from "../views/dialog.tsx";
import { wordsOf } from "./api.ts";
import type { Code } from "./told.ts";
import { when } from "./words.ts";

export { Dialog };

/** What somebody has called something: it may hold anything, and turns no line around. */
export function Name({ text }: { readonly text: string }): JSX.Element {
  return <bdi class="name">{text}</bdi>;
}

export function Wrong({ text }: { readonly text: string }): JSX.Element | null {
  return text === "" ? null : (
    <p class="wrong" role="alert">
      {text}
    </p>
  );
}

/** Scrolls by itself where it is wider than the window. */
export function Table({ label, children }: { label: string; children: ComponentChildren }): JSX.Element {
  return (
    <div class="table" role="group" aria-label={label} tabIndex={0}>
      <table>{children}</table>
    </div>
  );
}

/** The next page of a list, where there is one. */
export function More({ busy, onMore }: { busy: boolean; onMore: (() => void) | undefined }): JSX.Element | null {
  return onMore === undefined ? null : (
    <button type="button" disabled={busy} onClick={onMore}>
      More
    </button>
  );
}

interface Loaded<T> {
  readonly items: readonly T[];
  readonly trouble: string;
  /** Undefined at the end of the list. */
  readonly more: (() => void) | undefined;
  readonly busy: boolean;
  readonly again: () => void;
}

/** A list that comes in pages; `key`: another list is another key. */
export function usePages<T>(
  key: string,
  load: (cursor: string) => Promise<{ items: readonly T[]; next: string | null }>,
): Loaded<T> {
  const items = useSignal<readonly T[]>([]);
  const next = useSignal<string | null>("");
  const trouble = useSignal("");
  const busy = useSignal(false);
  const turn = useRef(0);
  const fetchPage = async (cursor: string): Promise<void> => {
    const mine = ++turn.current;
    busy.value = true;
    try {
      const page = await load(cursor);
      if (mine === turn.current) {
        items.value = cursor === "" ? page.items : [...items.value, ...page.items];
        next.value = page.next;
        trouble.value = "";
      }
    } catch (error) {
      if (mine === turn.current) {
        trouble.value = wordsOf(error);
      }
    } finally {
      if (mine === turn.current) {
        busy.value = false;
      }
    }
  };
  const again = (): void => void fetchPage("");
  useEffect(again, [key]);
  const cursor = next.value;
  return {
    items: items.value,
    trouble: trouble.value,
    more: cursor === null || cursor === "" ? undefined : () => void fetchPage(cursor),
    busy: busy.value,
    again,
  };
}

interface ActionProps {
  readonly label: string;
  readonly danger?: boolean;
  readonly onDo: () => Promise<void>;
}

/** A button that does something, and cannot be pressed twice meanwhile. */
export function Action({ label, danger = false, onDo }: ActionProps): JSX.Element {
  const busy = useSignal(false);
  const run = async (): Promise<void> => {
    busy.value = true;
    await onDo();
    busy.value = false;
  };
  return (
    <button type="button" class={danger ? "danger" : undefined} disabled={busy.value} onClick={() => void run()}>
      {label}
    </button>
  );
}

interface SureProps {
  readonly title: string;
  readonly text: string;
  /** What has to be typed first. */
  readonly word: string;
  readonly yes: string;
  readonly onYes: () => Promise<void>;
  readonly onClose: () => void;
}

/** Asks before something that cannot be taken back. */
export function Sure({ title, text, word, yes, onYes, onClose }: SureProps): JSX.Element {
  const typed = useSignal("");
  const trouble = useSignal("");
  const run = async (): Promise<void> => {
    try {
      await onYes();
      onClose();
    } catch (error) {
      trouble.value = wordsOf(error);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{text}</p>
      <label>
        <span>
          Type <code>{word}</code> to go on
        </span>
        <input
          value={typed.value}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          onInput={(event) => (typed.value = event.currentTarget.value)}
        />
      </label>
      <Wrong text={trouble.value} />
      <footer>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="danger" disabled={typed.value !== word} onClick={() => void run()}>
          {yes}
        </button>
      </footer>
    </Dialog>
  );
}

/** A code that is told this once. */
export function ShownCode({ title, code, onClose }: { title: string; code: Code; onClose: () => void }): JSX.Element {
  return (
    <Dialog title={title} onClose={onClose}>
      <p>
        It is shown this once, and good until {when(code.ends_ms)}. Whoever has it can use it: hand it to its person by
        a way that you trust.
      </p>
      <Copied label="Code" text={code.code} />
      {code.link !== "" && <Copied label="Link" text={code.link} />}
      <footer>
        <button type="button" class="first" onClick={onClose}>
          Done
        </button>
      </footer>
    </Dialog>
  );
}

function Copied({ label, text }: { label: string; text: string }): JSX.Element {
  const done = useSignal(false);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    done.value = true;
  };
  return (
    <p class="copied">
      <span class="faint">{label}</span>
      <code>{text}</code>
      <button type="button" onClick={() => void copy()}>
        {done.value ? "Copied" : "Copy"}
      </button>
    </p>
  );
}
