/** One conversation: who it is with, its messages, and where one writes. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { isGroupId } from "sparrow-client";

import type { Line } from "../model/line.ts";
import { emptyRow } from "../model/told.ts";
import { addressOf, go } from "../state/route.ts";
import { isMuted } from "../state/rows.ts";
import { Composer } from "./composer.tsx";
import { useDevice } from "./context.ts";
import { Confirm } from "./dialog.tsx";
import { Face, Presence } from "./face.tsx";
import { useFiles } from "./files.tsx";
import { Menu } from "./menu.tsx";
import { isolated } from "./text.tsx";
import { Timeline } from "./timeline.tsx";
import { Uploads } from "./uploads.tsx";
import { Icon } from "./icon.tsx";

export function Conversation({ peer }: { readonly peer: string }): JSX.Element {
  const editing = useSignal<Line | undefined>(undefined);
  const files = useFiles(peer);
  return (
    <section class={files.isOver ? "conversation is-over" : "conversation"} aria-label="Conversation" {...files.target}>
      <Head peer={peer} />
      <Timeline peer={peer} onEdit={(line) => (editing.value = line)} />
      <Uploads peer={peer} />
      <Composer key={peer} peer={peer} editing={editing} onFiles={files.offer} />
      {files.dialog}
    </section>
  );
}

function Head({ peer }: { readonly peer: string }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const row = app.rows.all.value.get(peer) ?? emptyRow(peer);
  const hiding = useSignal(false);
  const name = peer === tab.user ? "Notes to myself" : circle.nameOf(peer);
  const muted = isMuted(row);
  const choices = [
    { text: isGroupId(peer) ? "About this group" : "About this person", act: () => go({ at: "about", peer }) },
    { text: "Search here", act: () => go({ at: "search", peer }) },
    ...(muted
      ? [{ text: "Unmute", act: () => void app.mute(peer, 0) }]
      : [
          { text: "Mute for 8 hours", act: () => void app.mute(peer, 8 * 3_600_000) },
          { text: "Mute", act: () => void app.mute(peer, undefined) },
        ]),
    { text: "Hide this conversation", act: () => (hiding.value = true) },
  ];
  return (
    <header class="bar">
      <a class="button back" href={addressOf({ at: "list" })} aria-label="Back to the list">
        <Icon name="back" />
      </a>
      <a class="me" href={addressOf({ at: "about", peer })}>
        <span class="with-presence">
          <Face name={name} id={peer} />
          {!isGroupId(peer) && <Presence user={peer} />}
        </span>
        <span class="names">
          <h1>
            <bdi>{name}</bdi>
            {muted && (
              <span role="img" aria-label="muted">
                <Icon name="muted" />
              </span>
            )}
          </h1>
          <State peer={peer} />
        </span>
      </a>
      <Menu label="More" choices={choices} />
      {hiding.value && (
        <Confirm
          title="Hide this conversation?"
          text="It leaves the list until somebody writes there again. Nothing is erased."
          yes="Hide"
          onYes={() => void app.hide(peer)}
          onClose={() => (hiding.value = false)}
        />
      )}
    </header>
  );
}

/** Who is typing, or what else is known of the other. */
function State({ peer }: { readonly peer: string }): JSX.Element {
  const { app, circle } = useDevice();
  const typing = (app.typing.value.get(peer) ?? []).map((user) => isolated(circle.nameOf(user)));
  useEffect(() => circle.learn([peer]), [peer]);
  if (typing.length > 0) {
    const text = isGroupId(peer)
      ? `${typing.slice(0, 3).join(", ")} ${typing.length > 1 ? "are" : "is"} typing…`
      : "typing…";
    return (
      <small class="state" aria-live="polite">
        {text}
      </small>
    );
  }
  if (isGroupId(peer)) {
    return (
      <small class="state">
        {(circle.groups.value.get(peer)?.left_ms ?? null) === null ? "group" : "you have left"}
      </small>
    );
  }
  const friend = circle.friend(peer);
  const told = friend?.online === true ? "online" : circle.names.value.get(peer) ? peer : "";
  return <small class="state">{told}</small>;
}
