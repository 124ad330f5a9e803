/** Files that a person drops, pastes or chooses: shown once more before they go. */

import { useSignal } from "@preact/signals";
import type { HTMLAttributes, JSX } from "preact";

import { useDevice } from "./context.ts";
import { Dialog } from "./dialog.tsx";
import { sizeText } from "./size.ts";

interface Offered {
  /** Files lie over the conversation now. */
  readonly isOver: boolean;
  /** What makes an element take them. */
  readonly target: Pick<HTMLAttributes<HTMLElement>, "onDragOver" | "onDragLeave" | "onDrop">;
  readonly dialog: JSX.Element | null;
  readonly offer: (files: readonly File[]) => void;
}

export function useFiles(peer: string): Offered {
  const { app } = useDevice();
  const isOver = useSignal(false);
  const offered = useSignal<readonly File[]>([]);
  const offer = (files: readonly File[]): void => {
    offered.value = files;
  };
  const close = (): void => offer([]);
  const send = (): void => {
    for (const file of offered.value) {
      void app.sendFile(peer, file, file.name || "file");
    }
    close();
  };
  const dialog =
    offered.value.length === 0 ? null : (
      <Dialog
        title={offered.value.length === 1 ? "Send this file?" : `Send ${offered.value.length} files?`}
        onClose={close}
      >
        <ul class="offered">
          {offered.value.map((file, at) => (
            <li key={at}>
              <bdi>{file.name}</bdi> <small>{sizeText(file.size)}</small>
            </li>
          ))}
        </ul>
        <footer>
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="button" class="first" onClick={send}>
            Send
          </button>
        </footer>
      </Dialog>
    );
  return {
    isOver: isOver.value,
    target: {
      onDragOver: (event) => {
        event.preventDefault();
        isOver.value = true;
      },
      onDragLeave: () => (isOver.value = false),
      onDrop: (event) => {
        event.preventDefault();
        isOver.value = false;
        offer([...(event.dataTransfer?.files ?? [])]);
      },
    },
    dialog,
    offer,
  };
}
