/** Files that a person drops, pastes or chooses: shown once more before they go, and pictures without what tells more. */

import { useSignal } from "@preact/signals";
import type { HTMLAttributes, JSX } from "preact";

import { pictureOf, withoutMetadata } from "../model/pictures.ts";
import { MOST_BYTES } from "../state/previews.ts";
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
  const isOver = useSignal(false);
  const offered = useSignal<readonly File[]>([]);
  const offer = (files: readonly File[]): void => {
    offered.value = files;
  };
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
    dialog: offered.value.length === 0 ? null : <Offer peer={peer} files={offered.value} onClose={() => offer([])} />,
    offer,
  };
}

interface OfferProps {
  readonly peer: string;
  readonly files: readonly File[];
  readonly onClose: () => void;
}

function Offer({ peer, files, onClose }: OfferProps): JSX.Element {
  const { app } = useDevice();
  const asIs = useSignal(false);
  const send = (): void => {
    for (const file of files) {
      void app.try(async () => {
        const blob = asIs.value ? file : await alone(file);
        await app.sendFile(peer, blob, file.name || "file");
      });
    }
    onClose();
  };
  const hasPictures = files.some(({ type }) => type.startsWith("image/"));
  return (
    <Dialog title={files.length === 1 ? "Send this file?" : `Send ${files.length} files?`} onClose={onClose}>
      <ul class="offered">
        {files.map((file, at) => (
          <li key={at}>
            <bdi>{file.name}</bdi> <small>{sizeText(file.size)}</small>
          </li>
        ))}
      </ul>
      {hasPictures && (
        <label class="check">
          <input
            type="checkbox"
            checked={asIs.value}
            onChange={(event) => (asIs.value = event.currentTarget.checked)}
          />
          Leave in pictures where and when they were taken
        </label>
      )}
      <footer>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="first" onClick={send}>
          Send
        </button>
      </footer>
    </Dialog>
  );
}

/** A picture without its metadata; anything else as it is. */
async function alone(file: File): Promise<Blob> {
  if (!file.type.startsWith("image/") || file.size > MOST_BYTES) {
    return file;
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const picture = pictureOf(bytes);
  return picture === undefined ? file : new Blob([withoutMetadata(bytes, picture)], { type: picture.type });
}
