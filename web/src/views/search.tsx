/** Searching in what was written, where the service offers it. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { isGroupId } from "sparrow-client";

import { lineKey, lineMs, type Line } from "../model/line.ts";
import { addressOf } from "../state/route.ts";
import { useDevice } from "./context.ts";
import { Sheet } from "./sheet.tsx";
import { summaryOf } from "./summary.ts";
import { isolated } from "./text.tsx";
import { shortTime } from "./time.ts";

export function Search({ peer }: { readonly peer: string }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const found = useSignal<readonly Line[] | undefined>(undefined);
  const busy = useSignal(false);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => box.current?.focus(), []);
  const search = async (event: Event): Promise<void> => {
    event.preventDefault();
    const words = box.current?.value.trim() ?? "";
    if (words === "") {
      return;
    }
    busy.value = true;
    await app.try(async () => {
      const lines = await tab.chat.search(words, peer);
      circle.learn(lines.flatMap((line) => [line.author, line.peer]));
      found.value = lines;
    });
    busy.value = false;
  };
  return (
    <Sheet
      title={peer === "" ? "Search" : `Search in ${isolated(circle.nameOf(peer))}`}
      {...(peer !== "" && { back: { at: "chat", peer } })}
    >
      <form class="in-line" role="search" onSubmit={(event) => void search(event)}>
        <input ref={box} type="search" required aria-label="Words" placeholder="Words" maxLength={200} />
        <button type="submit" disabled={busy.value}>
          Search
        </button>
      </form>
      {found.value?.length === 0 && (
        <p class="faint">Nothing has these words. What was just written is found some seconds later.</p>
      )}
      {found.value !== undefined && (
        <ul aria-label="Found">
          {found.value.map((line) => (
            <li key={lineKey(line)}>
              <a
                class="row"
                href={addressOf({ at: "chat", peer: line.peer })}
                onClick={() => (app.sought.value = line)}
              >
                <span class="names">
                  <span class="name">
                    <bdi>{circle.nameOf(line.author)}</bdi>
                    {peer === "" && line.peer !== line.author && (
                      <>
                        {isGroupId(line.peer) ? " in " : " to "}
                        <bdi>{circle.nameOf(line.peer)}</bdi>
                      </>
                    )}
                  </span>
                  <bdi class="last">{summaryOf(line)}</bdi>
                </span>
                <span class="at">{shortTime(lineMs(line))}</span>
              </a>
            </li>
          ))}
        </ul>
      )}
    </Sheet>
  );
}
