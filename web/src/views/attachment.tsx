/** A file in a message: its name and size, to be saved. Nothing of it is opened here. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { FileReference } from "sparrow-client";

import { useDevice } from "./context.ts";
import { sizeText } from "./size.ts";

/** A browser has to hold a file as a whole to check it. */
const MOST_BYTES = 2 ** 31;

export function Attachment({ file }: { readonly file: FileReference }): JSX.Element {
  const { app, tab } = useDevice();
  const busy = useSignal(false);
  const save = async (): Promise<void> => {
    busy.value = true;
    await app.try(async () => saveAs(await tab.transfers.download(file, MOST_BYTES), file.name));
    busy.value = false;
  };
  return (
    <div class="attachment">
      <span class="names">
        <bdi class="name">{file.name}</bdi>
        <small>{sizeText(file.size)}</small>
      </span>
      <button type="button" disabled={busy.value} onClick={() => void save()}>
        {busy.value ? "Loading…" : "Save"}
      </button>
    </div>
  );
}

/** Let the browser save it. Its type is nobody's word: nothing opens it in this page's name. */
function saveAs(blob: Blob, name: string): void {
  const address = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
