/** Files on their way up. */

import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { useDevice } from "./context.ts";
import { sizeText } from "./size.ts";
import { Icon } from "./icon.tsx";

export function Uploads({ peer }: { readonly peer: string }): JSX.Element | null {
  const { app, tab } = useDevice();
  const uploads = [...app.uploads.value.values()].filter((upload) => upload.peer === peer);
  const isUnderWay = [...app.uploads.value.values()].some(({ end }) => end === "");
  useEffect(() => {
    if (!isUnderWay) {
      return undefined;
    }
    const warn = (event: BeforeUnloadEvent): void => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [isUnderWay]);
  if (uploads.length === 0) {
    return null;
  }
  return (
    <ul class="uploads">
      {uploads.map(({ upload, name, done, total, end }) => (
        <li key={upload}>
          <bdi>{name}</bdi>
          {end === "" ? (
            <progress max={Math.max(total, 1)} value={done} aria-label={`Sending ${name}`} />
          ) : (
            <span class="wrong">{end}</span>
          )}
          <small>{sizeText(total)}</small>
          <button
            type="button"
            class="plain"
            aria-label={end === "" ? `Stop sending ${name}` : "Close"}
            onClick={() => {
              if (end === "") {
                void tab.transfers.cancel(upload);
              } else {
                app.forgetUpload(upload);
              }
            }}
          >
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}
