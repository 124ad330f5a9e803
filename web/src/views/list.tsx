/** The list of conversations: who, the last message, what is unread. */

import { useComputed, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { isGroupId } from "sparrow-client";

import { lineMs } from "../model/line.ts";
import type { Row } from "../model/told.ts";
import { addressOf, go, route } from "../state/route.ts";
import { isMuted } from "../state/rows.ts";
import { useDevice } from "./context.ts";
import { Face, Presence } from "./face.tsx";
import { summaryOf } from "./summary.ts";
import { Tick } from "./tick.tsx";
import { shortTime } from "./time.ts";
import { Icon } from "./icon.tsx";

export function List(): JSX.Element {
  const { app, tab, circle } = useDevice();
  const filter = useSignal("");
  const rows = useComputed(() => {
    const wanted = filter.value.trim().toLowerCase();
    const all = app.rows.sorted.value;
    return wanted === ""
      ? all
      : all.filter(({ peer }) => peer.includes(wanted) || circle.nameOf(peer).toLowerCase().includes(wanted));
  });
  const me = circle.me.value?.display_name || tab.user;
  const asking = circle.requests.value.filter(({ asks }) => asks).length + circle.invitations.value.length;
  return (
    <>
      {route.value.at === "list" && <h1 class="unseen">Conversations</h1>}
      <header class="bar">
        <a class="me" href={addressOf({ at: "settings" })}>
          <Face name={me} id={tab.user} />
          <span class="names">
            <span class="unseen">Settings of </span>
            <bdi>{me}</bdi>
          </span>
        </a>
        <a class="button" href={addressOf({ at: "search", peer: "" })} aria-label="Search messages">
          <Icon name="search" />
        </a>
        <a
          class="button"
          href={addressOf({ at: "people" })}
          aria-label={asking > 0 ? `People: ${asking} ask` : "People"}
        >
          <Icon name="people" />
          {asking > 0 && <span class="count">{asking}</span>}
        </a>
      </header>
      <div class="filter">
        <input
          type="search"
          aria-label="Find a conversation"
          placeholder="Find a conversation"
          value={filter.value}
          onInput={(event) => (filter.value = event.currentTarget.value)}
        />
      </div>
      <ul class="rows">
        {rows.value.map((row) => (
          <Entry key={row.peer} row={row} />
        ))}
      </ul>
      {app.rows.isLoaded.value && rows.value.length === 0 && (
        <p class="empty">
          {filter.value === "" ? "No conversations yet." : "No such conversation."}{" "}
          <button type="button" class="plain" onClick={() => go({ at: "people" })}>
            Find somebody
          </button>
        </p>
      )}
    </>
  );
}

function Entry({ row }: { readonly row: Row }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const { peer, newest, unread } = row;
  const name = circle.nameOf(peer);
  const typing = app.typing.value.get(peer) ?? [];
  const at = route.value;
  const isOpen = at.at === "chat" && at.peer === peer;
  return (
    <li>
      <a class="row" href={addressOf({ at: "chat", peer })} aria-current={isOpen ? "page" : undefined}>
        <span class="with-presence">
          <Face name={name} id={peer} />
          {!isGroupId(peer) && <Presence user={peer} />}
        </span>
        <span class="names">
          <bdi class="name">{peer === tab.user ? "Notes to myself" : name}</bdi>
          <span class="last">
            {newest?.author === tab.user && <Tick progress={newest.progress} />}
            {typing.length > 0 ? (
              <em>typing…</em>
            ) : (
              newest !== undefined && (
                <>
                  {isGroupId(peer) && newest.author !== tab.user && (
                    <>
                      <bdi>{circle.nameOf(newest.author)}</bdi>:{" "}
                    </>
                  )}
                  <bdi>{summaryOf(newest)}</bdi>
                </>
              )
            )}
          </span>
        </span>
        <span class="at">
          <span>{newest === undefined || newest.stamp === 0n ? "" : shortTime(lineMs(newest))}</span>
          {unread > 0 && (
            <span class={isMuted(row) ? "count is-muted" : "count"} aria-label={`${unread} unread`}>
              {unread > 99 ? "99+" : unread}
            </span>
          )}
        </span>
      </a>
    </li>
  );
}
