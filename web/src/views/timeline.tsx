/** The messages of a conversation. Only those in view are in the document, however many there are. */

import { useComputed, useSignalEffect } from "@preact/signals";
import type { JSX, Ref } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type GroupChange, isGroupId } from "sparrow-client";
import { VList, type VListHandle, type VListProps } from "virtua";

import type { Line } from "../model/line.ts";
import { Bubble } from "./bubble.tsx";
import { useDevice } from "./context.ts";
import { sentenceOf } from "../state/happenings.ts";
import { type Item, itemsOf } from "../state/items.ts";
import { summaryOf } from "./summary.ts";
import { isolated } from "./text.tsx";
import { dayOf } from "./time.ts";

/** Its types are React's, where a component's ref is no prop of it. */
const Lines = VList as (props: Omit<VListProps<Item>, "ref"> & { readonly ref: Ref<VListHandle> }) => JSX.Element;

/** So near to its end the list stays at its end. In pixels. */
const NEAR_END = 80;
/** So near to its beginning older messages are asked for. */
const NEAR_BEGIN = 600;

/** A message that was searched for is looked for in so many pages. */
const MOST_SOUGHT_PAGES = 200;

interface TimelineProps {
  readonly peer: string;
  readonly onEdit: (line: Line) => void;
}

export function Timeline({ peer, onEdit }: TimelineProps): JSX.Element {
  const { app, tab, circle } = useDevice();
  const timeline = app.timeline(peer);
  const list = useRef<VListHandle>(null);
  const isAtEnd = useRef(true);
  const above = useRef(timeline.above.peek());
  const mark = useRef(app.openedMark.peek());
  const items = useComputed(() => {
    const changes = circle.happenings.all.value.get(peer) ?? [];
    return itemsOf({
      lines: timeline.lines.value,
      changes,
      mark: mark.current,
      user: tab.user,
      hasOlder: timeline.hasOlder.value,
    });
  });
  const version = circle.groups.value.get(peer)?.version ?? 0;
  useEffect(() => {
    if (isGroupId(peer)) {
      void app.try(async () => {
        const changes = await circle.happenings.refresh(peer, version);
        circle.learn(changes.flatMap(({ actor, user }) => [actor, user ?? ""]).filter((each) => each !== ""));
      });
    }
  }, [peer, version]);
  const shown = items.value;
  const hasShifted = above.current !== timeline.above.value;

  const look = (): void => {
    const handle = list.current;
    if (handle === null) {
      return;
    }
    const end = handle.scrollOffset + handle.viewportSize;
    isAtEnd.current = end >= handle.scrollSize - NEAR_END;
    if (handle.scrollOffset < NEAR_BEGIN) {
      void timeline.older();
    }
    if (app.isRead(peer)) {
      const last = lastLine(items.peek(), isAtEnd.current ? items.peek().length - 1 : handle.findItemIndex(end));
      if (last !== undefined) {
        void app.seen(peer, last);
      }
    }
  };

  useLayoutEffect(() => {
    above.current = timeline.above.peek();
    const mine = shown.at(-1);
    // Whoever has just written wants to see it.
    const isOwnNew = mine?.type === "line" && mine.line.draft !== "" && mine.line.progress === "queued";
    if ((isAtEnd.current && !hasShifted) || isOwnNew) {
      list.current?.scrollToIndex(shown.length - 1, { align: "end" });
    }
    look();
  }, [shown]);
  useEffect(() => {
    addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
    return () => {
      removeEventListener("focus", look);
      document.removeEventListener("visibilitychange", look);
    };
  }, [peer]);
  useEffect(() => {
    const sought = app.sought.peek();
    app.sought.value = undefined;
    if (sought?.peer !== peer) {
      return;
    }
    isAtEnd.current = false;
    void timeline.seek(sought.name, MOST_SOUGHT_PAGES).then((isHere) => {
      const at = items.peek().findIndex((item) => item.type === "line" && item.line.name === sought.name);
      if (isHere && at >= 0) {
        isAtEnd.current = false;
        list.current?.scrollToIndex(at, { align: "center" });
      } else {
        app.say("That message lies too far back: scroll there.");
      }
    });
  }, [peer]);
  useSignalEffect(() => {
    // A page that was short does not fill the view: there is nothing to scroll.
    if (!timeline.isLoading.value) {
      queueMicrotask(look);
    }
  });

  return (
    <div class="timeline">
      {timeline.isPartial.value && <p class="hint">Offline: this is what this browser has kept.</p>}
      {timeline.problem.value !== "" && (
        <p class="hint" role="alert">
          {timeline.problem.value}{" "}
          <button type="button" onClick={() => void timeline.begin()}>
            Try again
          </button>
        </p>
      )}
      <Lines
        ref={list}
        data={shown}
        shift={hasShifted}
        onScroll={look}
        role="log"
        aria-live="off"
        aria-label="Messages"
        tabIndex={0}
      >
        {(item: Item, at: number) => (
          <div key={item.key} class={at === shown.length - 1 ? "is-last" : undefined}>
            <Entry item={item} onEdit={onEdit} />
          </div>
        )}
      </Lines>
      <News peer={peer} />
    </div>
  );
}

/** What comes is read out here: the list itself puts old lines into the document, too, as one scrolls. */
function News({ peer }: { readonly peer: string }): JSX.Element {
  const { app, circle } = useDevice();
  const line = app.news.value;
  return (
    <p class="unseen" role="status">
      {line?.peer === peer && `${circle.nameOf(line.author)}: ${summaryOf(line)}`}
    </p>
  );
}

function Entry({ item, onEdit }: { readonly item: Item; readonly onEdit: (line: Line) => void }): JSX.Element {
  if (item.type === "line") {
    return <Bubble line={item.line} isFollowing={item.isFollowing} onEdit={onEdit} />;
  }
  if (item.type === "day") {
    return <p class="day">{dayOf(item.ms)}</p>;
  }
  if (item.type === "happened") {
    return <Happened change={item.change} />;
  }
  return item.type === "new" ? <p class="new">New</p> : <p class="day">Here it begins.</p>;
}

function Happened({ change }: { readonly change: GroupChange }): JSX.Element {
  const { circle } = useDevice();
  return <p class="happened">{sentenceOf(change, (user) => isolated(circle.nameOf(user)))}.</p>;
}

function lastLine(items: readonly Item[], from: number): Line | undefined {
  for (let at = Math.min(from, items.length - 1); at >= 0; at--) {
    const item = items[at];
    if (item?.type === "line" && item.line.stamp !== 0n) {
      return item.line;
    }
  }
  return undefined;
}
