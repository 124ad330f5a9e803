/** A file in a message: to be saved, and shown if it is a picture by its own bytes. Nothing of it runs. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { FileReference } from "sparrow-client";

import { BY_ITSELF_BYTES, type Preview, saysPicture } from "../state/previews.ts";
import { useDevice } from "./context.ts";
import { Dialog } from "./dialog.tsx";
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
      {saysPicture(file) && <Shown file={file} />}
      <div class="attached">
        <span class="names">
          <bdi class="name">{file.name}</bdi>
          <small>{sizeText(file.size)}</small>
        </span>
        <button type="button" disabled={busy.value} onClick={() => void save()}>
          {busy.value ? "Loading…" : "Save"}
        </button>
      </div>
    </div>
  );
}

type Look = "asked" | "loading" | "none" | Preview;

function Shown({ file }: { readonly file: FileReference }): JSX.Element | null {
  const { app } = useDevice();
  const look = useSignal<Look>(file.size <= BY_ITSELF_BYTES ? "loading" : "asked");
  const whole = useSignal(false);
  useEffect(() => {
    if (look.value === "loading") {
      void app.previews
        ?.get(file)
        .then((preview) => (look.value = preview ?? "none"))
        .catch(() => (look.value = "none"));
    }
  }, [look.value]);
  const { value } = look;
  if (value === "none") {
    return null;
  }
  if (value === "asked") {
    return (
      <button type="button" class="picture" onClick={() => (look.value = "loading")}>
        Show the picture
      </button>
    );
  }
  if (value === "loading") {
    return <div class="picture" role="img" aria-label={`${file.name}, loading`} />;
  }
  return (
    <>
      <button type="button" class="picture" aria-label={`Enlarge ${file.name}`} onClick={() => (whole.value = true)}>
        <Image preview={value} name={file.name} />
      </button>
      {whole.value && (
        <Dialog title={file.name} isWide onClose={() => (whole.value = false)}>
          <Image preview={value} name={file.name} />
        </Dialog>
      )}
    </>
  );
}

function Image({ preview, name }: { readonly preview: Preview; readonly name: string }): JSX.Element {
  return <img src={preview.address} width={preview.width} height={preview.height} alt={name} draggable={false} />;
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
