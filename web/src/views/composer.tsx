/** Where one writes. The text is the browser's own: nothing else is drawn anew by a key. */

import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { TEXT } from "sparrow-client";

import type { Line } from "../model/line.ts";
import { useDevice } from "./context.ts";
import { Icon } from "./icon.tsx";

const DRAFT = "sparrow:draft:";

interface ComposerProps {
  readonly peer: string;
  /** What is being edited, if anything is. */
  readonly editing: Signal<Line | undefined>;
  readonly onFiles: (files: readonly File[]) => void;
}

export function Composer({ peer, editing, onFiles }: ComposerProps): JSX.Element {
  const { app, tab } = useDevice();
  const box = useRef<HTMLTextAreaElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const draft = DRAFT + peer;
  const edited = editing.value;

  // Before anything more can be typed.
  useLayoutEffect(() => {
    const element = box.current;
    if (element !== null) {
      element.value = edited === undefined ? (localStorage.getItem(draft) ?? "") : edited.text;
      if (edited !== undefined || matchMedia("(pointer: fine)").matches) {
        element.focus();
      }
    }
  }, [edited]);

  const send = async (): Promise<void> => {
    const element = box.current;
    const text = element?.value.trim() ?? "";
    if (element === null || text === "") {
      return;
    }
    element.value = "";
    if (edited !== undefined) {
      editing.value = undefined;
      if (text !== edited.text) {
        await app.try((device) => device.chat.edit(edited, text));
      }
      return;
    }
    if (await app.send(peer, text)) {
      keepDraft(draft, box.current?.value ?? ""); // not before: it is kept by now
    } else {
      element.value = [text, element.value].filter((part) => part !== "").join("\n");
    }
  };
  const wrote = (): void => {
    const text = box.current?.value ?? "";
    if (edited === undefined) {
      keepDraft(draft, text);
      if (text !== "") {
        tab.chat.typing(peer).catch(() => undefined);
      } else {
        tab.chat.stoppedTyping(peer).catch(() => undefined);
      }
    }
  };
  const pressed = (event: KeyboardEvent): void => {
    const isPlain = !event.shiftKey && !event.isComposing && matchMedia("(pointer: fine)").matches;
    if (event.key === "Enter" && isPlain) {
      event.preventDefault();
      void send();
    } else if (event.key === "Escape" && edited !== undefined) {
      editing.value = undefined;
    } else if (event.key === "ArrowUp" && box.current?.value === "" && edited === undefined) {
      event.preventDefault();
      const mine = app.timeline(peer).lines.peek();
      editing.value = mine.findLast(
        ({ author, kind, stamp, erasedBy }) => author === tab.user && kind === TEXT && stamp !== 0n && erasedBy === "",
      );
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {edited !== undefined && (
        <p class="editing">
          Editing a message
          <button type="button" class="plain" onClick={() => (editing.value = undefined)}>
            Cancel
          </button>
        </p>
      )}
      <button type="button" class="plain" aria-label="Send a file" onClick={() => chooser.current?.click()}>
        <Icon name="attach" />
      </button>
      <input
        ref={chooser}
        type="file"
        multiple
        hidden
        aria-hidden="true"
        tabIndex={-1}
        onChange={(event) => {
          onFiles([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = "";
        }}
      />
      <textarea
        ref={box}
        rows={1}
        aria-label="Message"
        placeholder="Message"
        dir="auto"
        enterkeyhint="send"
        onInput={wrote}
        onKeyDown={pressed}
        onBlur={() => void tab.chat.stoppedTyping(peer).catch(() => undefined)}
        onPaste={(event) => {
          const files = [...(event.clipboardData?.files ?? [])];
          if (files.length > 0) {
            event.preventDefault();
            onFiles(files);
          }
        }}
      />
      <button type="submit" class="first" aria-label={edited === undefined ? "Send" : "Save"}>
        <Icon name="send" />
      </button>
    </form>
  );
}

function keepDraft(key: string, text: string): void {
  try {
    if (text === "") {
      localStorage.removeItem(key);
    } else {
      localStorage.setItem(key, text);
    }
  } catch {
    // No room: what is written is still in the box.
  }
}
